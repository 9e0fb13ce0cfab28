#!/bin/sh
# HAProxy's external check of PING health monitors: one echo, one second.
case ${HAPROXY_SERVER_ADDR:?} in
*:*) exec ping -6 -q -n -c 1 -w 1 "$HAPROXY_SERVER_ADDR" >/dev/null 2>&1 ;;
*) exec ping -4 -q -n -c 1 -w 1 "$HAPROXY_SERVER_ADDR" >/dev/null 2>&1 ;;
esac
