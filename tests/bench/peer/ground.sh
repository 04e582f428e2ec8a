# Sourced by peers and relays: installs the peers' packages, builds our programs ($programs), makes a folder for the run
# ($work), and stops what was started when the script ends.

# install_packages PACKAGE… installs what is missing. Debian starts what it installs, unless a policy forbids it.
install_packages() {
    local package missing=() policy=/usr/sbin/policy-rc.d made=
    for package; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    ((${#missing[@]} > 0)) || return 0
    echo "installing ${missing[*]}" >&2
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        made=$policy
    fi
    echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections
    local status=0
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends "${missing[@]}" </dev/null; } >&2 || status=$?
    [[ -z $made ]] || rm -f "$made"
    return "$status"
}

# shellcheck source=../programs.sh
. "$here/programs.sh"
started=()

stop() {
    local pid
    for pid in "${started[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    # Not `wait`: Postfix is a grandchild.
    for pid in "${started[@]}"; do
        for _ in $(seq 200); do
            kill -0 "$pid" 2>/dev/null || continue 2
            sleep 0.1
        done
        echo "peers: process $pid did not stop" >&2
    done
    # A server's children may write there a moment longer.
    rm -rf "$work" 2>/dev/null || { sleep 2; rm -rf "$work"; }
}
trap stop EXIT
trap 'exit 130' INT TERM

# Waits until a command succeeds, as long as the process lives.
await() {
    local pid=$1 log=$2
    shift 2
    for _ in $(seq 600); do
        "$@" 2>/dev/null && return
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    cat "$log" >&2
    exit 1
}

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1"); }

load() { read -r -a averages </proc/loadavg; echo "load average ${averages[*]:0:3}"; }

# ports COUNT prints so many free ports.
ports() {
    python3 -c 'import socket, sys
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(each.getsockname()[1] for each in sockets))' "$1"
}
