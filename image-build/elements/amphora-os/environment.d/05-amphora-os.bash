export DIB_RELEASE=${DIB_RELEASE:-trixie}
export AMPHORA_KERNEL=${AMPHORA_KERNEL:-generic}
# networkd and the config-drive reader do the network.
export DIB_APT_MINIMAL_CREATE_INTERFACES=${DIB_APT_MINIMAL_CREATE_INTERFACES:-0}
