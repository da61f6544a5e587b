# Runs inside of the emulated box that starts from a card: what such a box must be, one line for each thing seen, with
# the box's uptime; the first failure ends it with the log.
set -uo pipefail
export LANG=C.UTF-8
state=/var/lib/kitchen-agent
partition=/sys/class/block/$(basename "$(readlink -f /dev/disk/by-label/kitchen-state)")
disk=$(dirname "$(readlink -f "$partition")")

show_log() {
    systemctl --no-pager --failed
    journalctl -b --no-pager -o short-monotonic -p warning | tail -60
}

addressed() {
    ip -4 -brief address show scope global | grep -E '^(en|eth)[^ ]* +UP +10\.0\.2\.'
}

routed_by_cable() {
    ip -4 route show default | grep 'proto dhcp.* metric 100'
}

resolves() {
    resolvectl dns | grep '10\.0\.2\.3'
}

mounted() {
    findmnt -no SOURCE,FSTYPE,SIZE "$1" | grep " $2 "
}

# grown: the state's file system ends where the card does.
grown() {
    local state_mib card_mib start_mib
    state_mib=$(($(stat -f -c '%b * %S' "$state") / 1048576))
    card_mib=$(($(cat "$disk/size") / 2048))
    start_mib=$(($(cat "$partition/start") / 2048))
    echo "$state_mib MiB of $card_mib"
    [ "$state_mib" -gt $(((card_mib - start_mib) * 95 / 100)) ]
}

grows_no_more() {
    /usr/lib/kitchen-image/grow-state && [ "$(cat "$partition/size")" = "$before" ]
}

locked() {
    ! grep -vE '^[^:]+:[!*]' /etc/shadow
}

its_own_identity() {
    grep -qE '^[0-9a-f]{32}$' /etc/machine-id && [ -s /etc/machine-id ] && ! findmnt /etc/machine-id
}

clock_is_sane() {
    date -u +%FT%TZ
    [ "$(date +%s)" -ge "$(stat -c %Y /usr/lib/clock-epoch)" ]
}

nothing_failed() {
    local failed
    failed=$(systemctl --failed --plain --no-legend --no-pager)
    [ -z "$failed" ] || { echo "$failed" && false; }
}

no_swap() {
    [ "$(wc -l </proc/swaps)" = 1 ]
}

own_package() {
    dpkg-query -W -f '${db:Status-Status} ${Version}\n' kitchen-agent | grep '^installed'
}

journal_is_kept() {
    [ -d "/var/log/journal/$(cat /etc/machine-id)" ] && journalctl --disk-usage
}

serial_number() {
    tr -d '\0' </proc/device-tree/serial-number
}

first_boot_ran() {
    [ ! -e /usr/lib/systemd/system/kitchen-first-boot.service ] ||
        systemctl show --value -p ActiveEnterTimestampMonotonic -p InactiveExitTimestampMonotonic \
            kitchen-first-boot.service | grep '^[1-9]'
}

tell "the base is up; $(systemctl --version | sed -n '1s/.*(\(.*\))/\1/p'), Linux $(uname -r)"
expect 'it has its serial number' serial_number
expect 'it comes up whole' systemctl start multi-user.target
expect 'nothing failed' nothing_failed
expect 'it has an address' within 60 addressed
expect 'and a route by cable' within 20 routed_by_cable
expect 'and a name server' within 20 resolves
expect 'the clock is watched over' systemctl is-active systemd-timesyncd.service
expect 'the clock does not stand before the image' clock_is_sane
expect 'the firmware partition is mounted' within 60 mounted /boot/firmware vfat
expect 'the state has its partition' within 60 mounted "$state" ext4
expect 'which reaches to the end of the card' within 120 grown
before=$(cat "$partition/size")
expect 'and grows no more' grows_no_more
expect 'the package is installed' own_package
expect 'its service is enabled' systemctl is-enabled kitchen-agent.service
expect 'the first boot was taken care of' within 60 first_boot_ran
expect 'the box has an identity of its own' within 60 its_own_identity
expect 'the journal is kept' within 60 journal_is_kept
expect 'nobody can log in' locked
expect 'nothing is swapped' no_swap
tell "memory used: $(awk '/MemTotal/ { t = $2 } /MemAvailable/ { print int((t - $2) / 1024) }' /proc/meminfo) MiB"
sync
tell 'finished: passed'
