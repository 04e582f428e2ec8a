# Watches over the PostgreSQL that all test processes of a run share, and takes it away when nobody uses it any
# more, however the users ended. Called as: sh -c "$this" watchdog watch|end FOLDER
#
# Each user has a file named by its process id in FOLDER/users. Renaming that folder closes the server to
# newcomers in one step: whoever registered before the rename is seen after it.
live=$2

used() {
    for user in "$1"/*; do
        kill -0 "${user##*/}" 2>/dev/null && return 0
    done
    return 1
}

works() {
    [ -n "$server" ] && tr '\0' '\n' 2>/dev/null <"/proc/$server/cmdline" | grep -qxF "$live/postgres"
}

end() {
    server=$(head -n 1 "$live/postgres/postmaster.pid" 2>/dev/null)
    # Nothing in it is worth a checkpoint.
    works && kill -QUIT "$server"
    patience=100
    while works && [ "$patience" -gt 0 ]; do
        sleep 0.1
        patience=$((patience - 1))
    done
    works && kill -KILL "$server"
    [ -f "$live/socket" ] && rm -rf -- "$(cat "$live/socket")"
    rm -rf -- "$live"
}

watch() {
    idle=0
    while [ -d "$live/users" ]; do
        sleep 1
        if used "$live/users"; then
            idle=0
            continue
        fi
        # The next test program of the run may be about to start.
        idle=$((idle + 1))
        [ "$idle" -lt 4 ] && continue
        mv "$live/users" "$live/closed" || return
        if used "$live/closed"; then
            mv "$live/closed" "$live/users"
            idle=0
            continue
        fi
        end
    done
}

"$1"
