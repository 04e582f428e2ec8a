# shellcheck shell=bash
# Sourced by the scripts here, at the root of the checkout: our programs ($programs), built now or taken from
# POSTHORN_PROGRAMS, a folder for the run ($work), and as many open files as may be.

programs=${POSTHORN_PROGRAMS:-}
if [[ -z $programs ]]; then
    cargo build --release --quiet -p posthorn -p posthorn-bench
    programs=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release
fi

# A thousand connections need as many open files on both sides.
ulimit -S -n "$(ulimit -H -n)"

work=$(mktemp -d)
# Servers run as users of their own, and must be able to enter.
chmod 0711 "$work"
