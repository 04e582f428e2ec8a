# Sourced by peers, relays, policies and filters: installs the peers' packages, builds our programs ($programs), makes a folder for the run
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
trap 'exit 130' INT TERM HUP PIPE

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

# start_opendkim FOLDER PORT signs for example.org as a milter; its process id is in FOLDER/opendkim.pid.
start_opendkim() {
    opendkim-genkey -b 2048 -d example.org -s bench -D "$1"
    chown opendkim "$1/bench.private"
    cat >"$1/opendkim.conf" <<CONFIGURATION
Domain example.org
Selector bench
KeyFile $1/bench.private
Socket inet:$2@127.0.0.1
Mode s
UserID opendkim
InternalHosts 127.0.0.1
Canonicalization relaxed/relaxed
OversignHeaders From
RequireSafeKeys false
CONFIGURATION
    opendkim -f -x "$1/opendkim.conf" >"$1/opendkim.out" 2>&1 &
    started+=($!)
    echo $! >"$1/opendkim.pid"
    await $! "$1/opendkim.out" answers "$2"
}

# start_postfix_in FOLDER PORT starts Postfix with FOLDER/postfix/etc; its process id is in $postfix.
start_postfix_in() {
    postfix -c "$1/postfix/etc" start-fg >"$1/postfix/out" 2>&1 &
    await $! "$1/postfix/out" answers "$2"
    # The shell that started the master stays before it, and would not pass a signal on.
    postfix=$(tr -d ' ' <"$1/postfix/spool/pid/master.pid")
    started+=("$postfix")
}

# start_dovecot_and_postfix NAME MAIL_LOCATION SMTP_PORT IMAP_PORT [LINE…] starts both in $work/NAME with 20 users, whose
# password is $password, and the lines in Postfix's main.cf; their process ids are in $dovecot and $postfix.
start_dovecot_and_postfix() {
    local own=$work/$1 template number
    mkdir -m 0755 -p "$own"/{postfix/{etc,spool},dovecot,mail}
    mkdir -m 0700 "$own/postfix/data"
    chown postfix "$own/postfix/data"
    for number in {0..19}; do
        install -d -m 0700 -o $((61000 + number)) -g $((61000 + number)) "$own/mail/u$number"
        echo "u$number@example.org:$password:$((61000 + number)):$((61000 + number))::$own/mail/u$number::" \
            >>"$own/dovecot/users"
        echo "u$number@example.org u$number" >>"$own/postfix/users"
    done
    chown dovecot "$own/dovecot/users"
    chmod 0600 "$own/dovecot/users"
    for template in main.cf master.cf dovecot.conf; do
        sed -e "s|@WORK@|$own|g; s|@MAIL@|$2|; s|@SMTP_PORT@|$3|; s|@IMAP_PORT@|$4|" "$here/peer/$template" \
            >"$own/postfix/etc/$template"
    done
    mv "$own/postfix/etc/dovecot.conf" "$own/dovecot/dovecot.conf"
    printf '%s\n' "${@:5}" >>"$own/postfix/etc/main.cf"

    dovecot -F -c "$own/dovecot/dovecot.conf" >"$own/dovecot/out" 2>&1 &
    dovecot=$!
    started+=("$dovecot")
    await "$dovecot" "$own/dovecot/out" answers "$4"
    start_postfix_in "$own" "$3"
}
