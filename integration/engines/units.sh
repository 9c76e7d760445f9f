# shellcheck shell=bash
# What is asked of a systemd.
unit_dir=/run/systemd/system
# shown PROPERTY UNIT
shown() { systemctl show -P "$1" "$2"; }
# A reload makes systemd write down again what it knows.
reloaded() { systemctl daemon-reload; "$@"; }
gone() { [ "$(systemctl is-active "$1")" = inactive ]; }
export unit_dir
export -f shown reloaded gone
