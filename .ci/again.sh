# shellcheck shell=bash
# Sourced by .ci/run: what failed is tried once more, alone. Tests wait for clocks, networks and each other on machines that
# may have other work; one that fails twice has failed, and one that does not is named at the end, to be mended.

# Named where they passed at the second try only.
unstable=()
# More than this is no bad moment.
most_unstable=3

again() { # NAME...: whether these may be tried once more
    if [ $# = 0 ] || [ $((${#unstable[@]} + $#)) -gt $most_unstable ]; then
        echo "failed, too many or unknown: ${*:-no test by name}"
        return 1
    fi
    echo
    echo "---- failed, and tried once more alone: $*"
}

# cargo_tests LOG: all tests; those that fail once more, by name, where they are.
cargo_tests() {
    local log=$1 target failed targets words passed=0
    cargo test --workspace --no-fail-fast 2>&1 | tee "$log" && return
    mapfile -t failed < <(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log" | sort -u)
    mapfile -t targets < <(sed -n 's/^    `\(-p .*\)`$/\1/p' "$log" | sort -u)
    again "${failed[@]}" || return
    for target in "${targets[@]}"; do
        read -r -a words <<<"$target"
        cargo test "${words[@]}" -- --exact "${failed[@]}" 2>&1 | tee "$log.again" || return
        passed=$((passed + $(awk '/^test result: ok\./ { sum += $4 } END { print sum + 0 }' "$log.again")))
    done
    # A name that no target knows is not tested.
    [ $passed -ge ${#failed[@]} ] || return
    unstable+=("${failed[@]}")
}

# interop_tests LOG COMMAND...: the same of programs that we did not write.
interop_tests() {
    local log=$1 failed
    shift
    "$@" 2>&1 | tee "$log" && return
    mapfile -t failed < <(sed -n 's/^FAIL \([a-z0-9_]*\)$/\1/p' "$log")
    # The server itself has no name.
    [ "$(grep -c '^FAIL ' "$log")" = ${#failed[@]} ] || return
    again "${failed[@]}" || return
    "$@" "${failed[@]}" || return
    unstable+=("${failed[@]}")
}
