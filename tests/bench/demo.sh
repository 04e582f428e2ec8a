# shellcheck shell=bash
# Sourced by the scripts that measure a `posthorn demo`, with `here` set to this folder: starts one, and stops it by its
# process id.

cd "$here/../.." || exit 1
# shellcheck source=programs.sh
. "$here/programs.sh"

bench() { "$programs/posthorn-bench" "$@"; }

demo=

# start_demo DATA: comes back when it serves; its variables are exported.
start_demo() {
    rm -f "$work/env"
    "$programs/posthorn" demo --no-filter --data "$1" --accounts 20 --env "$work/env" >"$work/log" 2>&1 &
    demo=$!
    for _ in $(seq 600); do
        [[ -e $work/env ]] && break
        kill -0 "$demo" 2>/dev/null || break
        sleep 0.1
    done
    [[ -e $work/env ]] || { cat "$work/log" >&2; exit 1; }
    set -a
    # shellcheck source=/dev/null
    . "$work/env"
    set +a
}

stop_demo() {
    [[ -n $demo ]] || return 0
    kill -TERM "$demo" 2>/dev/null || true
    wait "$demo" 2>/dev/null || true
    demo=
}
