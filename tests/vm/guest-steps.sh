# Stands before what an emulated box does: how it tells what it sees. A guest defines show_log, for when something fails.

tell() {
    printf 'BOX %7s s  %s\n' "$(cut -d' ' -f1 /proc/uptime)" "$*"
}

# expect WHAT COMMAND…: says whether it came true, and the first line that it said; when not, all of it, and ends.
expect() {
    local what=$1 said
    shift
    if said=$("$@" 2>&1); then
        tell "ok      $what${said:+: $(head -1 <<<"$said")}"
    else
        tell "FAILED  $what: $*"
        sed 's/^/BOX          /' <<<"$said"
        show_log 2>&1 | sed 's/^/BOX log  /'
        tell 'finished: failed'
        exit 1
    fi
}

# By the kernel's clock since the start: the box may set the other one meanwhile.
uptime_s() {
    cut -d. -f1 /proc/uptime
}

# within SECONDS COMMAND…: asks again until it is true.
within() {
    local until=$(($(uptime_s) + $1))
    shift
    until "$@"; do
        [ "$(uptime_s)" -lt "$until" ] || return 1
        sleep 1
    done
}

# The agent's list of alerts has one that the district has acknowledged.
acknowledged() {
    kitchen-agent alerts list --json 2>/dev/null | tr '{' '\n' |
        grep '"type":"alert.opened"' | grep -q '"receipted_at":"'
}
