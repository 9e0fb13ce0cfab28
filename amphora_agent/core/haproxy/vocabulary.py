"""The words of an haproxy.cfg, in tables: what controllers write, what else only shapes traffic, what reaches outside.

A form is a line as it stands in the file: `<name>` is a word of that type, `[word]` may be missing, `a|b` are
alternatives, `<name...>` is the rest of the line. Tables only; `grammar` reads them.

The controllers' forms were taken from what the releases 12 to 19 render (three dialects: 12-14, 15-16, 17-19) for
every kind of listener, pool, monitor, rule and policy, and for HAProxy 1.5 to 3.2. The other tables' source: HAProxy
configuration manual 2.6 to 3.2, chapters 3 to 5.
"""

from __future__ import annotations

LOG_SOCKET = "/run/rsyslog/octavia/log"

GLOBAL = """
daemon
user nobody
group <name>
log <log-socket> <facility> [<level>]
stats socket <stats-socket> mode 0666 level user
server-state-file <servers-state>
maxconn <integer>
nbthread <integer>
cpu-map <cpu-set> <cpu-set>
external-check
external-check command <ping-wrapper>
insecure-fork-wanted
ssl-default-bind-options <tls-flags...>
tune.ssl.cachesize <integer>
"""
DEFAULTS = """
log global
no log
mode http|tcp
retries <integer>
maxconn <integer>
option redispatch
option splice-request
option splice-response
option http-keep-alive
option http-use-htx
"""
PEERS = """
peer <peer> <peer-address>
"""
FRONTEND = """
acl <name> <acl...>
bind <bind-address> <bind-options...>
default_backend <name>
http-request deny <condition...>
http-request reject <condition...>
http-request set-header <header> <log-format> <condition...>
http-response set-header <header> <log-format> <condition...>
log global
log-format <log-format>
maxconn <integer>
mode http|tcp
no log
option dontlognull
option forwardfor
option httplog
option tcplog
redirect code <integer> location|prefix|scheme <text> <condition...>
redirect location|prefix|scheme <text> <condition...>
tcp-request content accept <condition...>
tcp-request inspect-delay <time>
timeout client <time>
use_backend <name> <condition...>
"""
BACKEND = """
balance first|leastconn|roundrobin|source
cookie <name> insert indirect nocache
cookie <name> prefix
external-check command <ping-wrapper>
fullconn <integer>
http-check expect rstatus <text>
http-check expect status <text>
http-check send hdr Host <text>
http-request set-header <header> <log-format> <condition...>
http-reuse always|never|safe|aggressive
load-server-state-from-file global
log global
mode http|tcp
no log
option allbackups
option external-check
option forwardfor
option http-use-htx
option httpchk <method> <text> [<http-version>]
option ssl-hello-chk
option tcp-check
retries <integer>
server <name> <server-address> <server-options...>
stick match <fetch>
stick on <fetch>
stick store-response <fetch>
stick-table type ip|ipv6|string|integer|binary size <size> [peers] [<name>]
stick-table type string len <integer> size <size> [peers] [<name>]
stick-table type ip|ipv6 size <size> expire <time> [peers] [<name>]
timeout check|connect|server <time>
"""
# The exporter that a PROMETHEUS listener is forwarded to: the one thing that binds and asks the loopback address.
EXPORTER_FRONTEND = """
bind 127.0.0.1:9101
http-request reject
http-request use-service prometheus-exporter if { path /metrics }
mode http
no log
option http-use-htx
timeout client|http-request <time>
"""
EXPORTER_BACKEND = """
balance first
mode http
no log
option http-use-htx
server prometheus-internal 127.0.0.1:9102
timeout connect|server <time>
"""
TLS_OPTIONS = """
alpn <protocols>
ca-file <certificate>
ciphers <ciphers>
ciphersuites <ciphers>
crl-file <certificate>
no-sslv3
no-tlsv10
no-tlsv11
no-tlsv12
no-tlsv13
ssl
"""
BIND_OPTIONS = """
crt <certificates>
crt-list <certificate>
verify <verify>
"""
SERVER_OPTIONS = """
addr <address>
backup
check
check-alpn <protocols>
check-send-proxy
check-sni <name>
check-ssl
cookie <name>
crt <certificate>
disabled
downinter <time>
fall <integer>
fastinter <time>
inter <time>
maxconn <integer>
port <port>
rise <integer>
send-proxy
send-proxy-v2
send-proxy-v2-ssl
send-proxy-v2-ssl-cn
sni <fetch>
verify <verify>
weight <integer>
"""

# No controller known to us writes these, and all they can do is to shape the load balancer's own traffic.
TRAFFIC = """
acl <name> <acl...>
backlog <integer>
balance <text...>
bind <bind-address> <bind-options...>
capture cookie <name> len <integer>
capture request|response header <header> len <integer>
clitcpka-cnt|clitcpka-idle|clitcpka-intvl|srvtcpka-cnt|srvtcpka-idle|srvtcpka-intvl <time>
compression <name> <media...>
cookie <plain...>
default_backend <name>
description <plain...>
disabled
enabled
error-log-format <log-format>
force-persist <condition...>
fullconn <integer>
hash-balance-factor <integer>
hash-preserve-affinity <name>
hash-type <plain...>
http-after-response|http-request|http-response add-header|set-header <header> <log-format> <condition...>
http-after-response|http-request|http-response allow|strict-mode|disable-l7-retry <condition...>
http-after-response|http-request|http-response del-header <header> <condition...>
http-after-response|http-request|http-response replace-header|replace-value <header> <text> <log-format> <condition...>
http-after-response|http-request|http-response set-status <integer> <condition...>
http-check connect
http-check disable-on-404
http-check expect <text...>
http-check send <text...>
http-check send-state
http-request add-header <header> <log-format> <condition...>
http-request deny|tarpit|reject <condition...>
http-request deny|tarpit deny_status|status <integer> <condition...>
http-request redirect location|prefix|scheme <text> <condition...>
http-request redirect code <integer> location|prefix|scheme <text> <condition...>
http-request redirect location|prefix|scheme <text> code <integer> <condition...>
http-request replace-path|replace-pathq|replace-uri <text> <log-format> <condition...>
http-request set-method|set-path|set-pathq|set-query|set-uri <log-format> <condition...>
http-request wait-for-body time <time>
http-reuse <plain>
http-response deny <condition...>
http-send-name-header <header>
id <integer>
ignore-persist <condition...>
log-format <log-format>
log-format-sd <log-format>
log-tag <name>
max-keep-alive-queue <integer>
max-session-srv-conns <integer>
maxconn <integer>
mode http|tcp
monitor fail <condition...>
no option <option>
option <option> <plain...>
option httpchk <method> <text> [<text>]
option httpchk <text>
persist rdp-cookie
rate-limit sessions <integer>
redirect location|prefix|scheme <text> [code] [<integer>] <condition...>
redirect code <integer> location|prefix|scheme <text> <condition...>
retries <integer>
retry-on <plain...>
server <name> <server-address> <server-options...>
stick match|on|store-request|store-response <fetch> <condition...>
stick-table type ip|ipv6|string|integer|binary <plain...>
tcp-check connect
tcp-check expect <text...>
tcp-check send <text>
tcp-check send-binary <name>
tcp-request connection|content|session accept|reject <condition...>
tcp-request inspect-delay <time>
tcp-response content accept|reject|close <condition...>
tcp-response inspect-delay <time>
timeout <plain> <time>
unique-id-format <log-format>
unique-id-header <header>
use-server <name> <condition...>
use_backend <name> <condition...>
"""
PROCESS = """
busy-polling
fd-hard-limit <integer>
hard-stop-after <time>
max-spread-checks <time>
maxcompcpuusage <integer>
maxcomprate <integer>
maxconnrate <integer>
maxpipes <integer>
maxsessrate <integer>
maxsslconn <integer>
maxsslrate <integer>
nbthread <integer>
no strict-limits
noepoll
nosplice
spread-checks <integer>
ssl-default-bind-ciphers|ssl-default-bind-ciphersuites|ssl-default-bind-curves|ssl-default-bind-sigalgs <ciphers>
ssl-default-bind-options|ssl-default-server-options <tls-flags...>
ssl-default-server-ciphers|ssl-default-server-ciphersuites|ssl-default-server-curves <ciphers>
strict-limits
thread-groups <integer>
tune.bufsize|tune.maxrewrite|tune.maxaccept|tune.idletimer <integer>
"""
OTHER_PEERS = """
disabled
enabled
"""
OTHER_TLS_OPTIONS = """
allow-0rtt
client-sigalgs <ciphers>
curves <ciphers>
ecdhe <name>
force-sslv3
force-tlsv10
force-tlsv11
force-tlsv12
force-tlsv13
id <integer>
no-alpn
no-tls-tickets
npn <protocols>
proto <name>
sigalgs <ciphers>
ssl-max-ver <name>
ssl-min-ver <name>
tcp-md5sig <name>
tcp-ut <time>
tfo
tls-tickets
"""
OTHER_BIND_OPTIONS = """
accept-netscaler-cip <integer>
accept-proxy
backlog <integer>
ca-ignore-err <ciphers>
crt-ignore-err <ciphers>
defer-accept
idle-ping <time>
maxconn <integer>
mss <integer>
name <name>
nice <integer>
no-ca-names
no-strict-sni
prefer-client-ciphers
shards <name>
strict-sni
thread <ciphers>
v4v6
v6only
"""
OTHER_SERVER_OPTIONS = """
check-proto <name>
enabled
error-limit <integer>
guid <name>
hash-key <name>
idle-ping <time>
log-proto <name>
max-reuse <integer>
maxqueue <integer>
minconn <integer>
no-backup
no-check
no-check-ssl
no-send-proxy
no-send-proxy-v2
no-ssl
no-ssl-reuse
no-verifyhost
non-stick
observe <name>
on-error <name>
on-marked-down <name>
on-marked-up <name>
pool-low-conn <integer>
pool-max-conn <integer>
pool-purge-delay <time>
proxy-v2-options <ciphers>
shard <integer>
slowstart <time>
stick
track <name>
verifyhost <name>
ws <name>
"""

# Directives that reach outside although all their words may look plain.
OUTSIDE_DIRECTIVES = """
acme anonkey ca-base chroot cluster-secret crt-base daemon declare default-path default-server dispatch
email-alert errorfile errorfiles errorloc errorloc302 errorloc303 expose-deprecated-directives
expose-experimental-directives external-check filter force-cfg-parser-pause gid group guid h1-case-adjust
h1-case-adjust-file insecure-fork-wanted insecure-setuid-wanted issuers-chain-path key-base
load-server-state-from-file localpeer log log-profile log-send-hostname log-stderr master-worker monitor-net
monitor-uri mworker-max-reloads mworker-prog-mode node peer peers pidfile presetenv quic-initial resetenv
server-state-base server-state-file server-state-file-name server-template set-dumpable set-var set-var-fmt
setcap setenv shm-stats-file shm-stats-file-max-objects source ssl-dh-param-file ssl-engine
ssl-load-extra-del-ext ssl-load-extra-files ssl-mode-async ssl-passphrase-cmd ssl-propquery ssl-provider
ssl-provider-path ssl-server-verify stats stats-file table trace traces transparent uid unix-bind unsetenv
use-fcgi-app user userlist
"""
OUTSIDE_FAMILIES = (".", "51degrees", "deviceatlas", "httpclient.", "lua", "ocsp-update.", "tune.lua.", "wurfl")
# Further words that do, wherever they stand: other networks, other users, other programs, files.
OUTSIDE_WORDS = """
addr agent-addr agent-check agent-inter agent-port agent-send ca-sign-file ca-sign-pass ca-verify-file
cache-store cache-use check-pool-conn-name check-via-socks4 do-log do-resolve ech errorfile errorfiles expose-fd
external-check file generate-certificates gid group http_proxy init-addr init-state interface ktls level lf-file
mode namespace ocsp-update process quic-socket resolve-net resolve-opts resolve-prefer resolvers severity-output
socks4 source tls-ticket-keys transparent uid unix-sock use-service user usesrc via-socks4
"""
FILE_OPTIONS = frozenset({"crt-list", "crt", "ca-file", "ca-verify-file", "crl-file"})
