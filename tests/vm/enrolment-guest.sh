# Runs inside of the emulated box that starts from a card with a claim: what an installer and a technician would see, one
# line for each thing, with the box's uptime; the first failure ends it with the log.
set -uo pipefail
export LANG=C.UTF-8 NO_COLOR=1

show_log() {
    journalctl -b --no-pager -o short-monotonic -u kitchen-first-boot -u kitchen-agent | tail -80
}

enrolled() {
    test -e /var/lib/kitchen-agent/identity/current
}

healthy() {
    [ "$(systemctl show --value -p ActiveState kitchen-agent.service)" = active ]
}

# The stick that somebody has plugged in, else the card's own partition.
mount_medium() {
    medium=/boot/firmware
    if [ -b /dev/sda1 ]; then
        within 60 eval '! systemctl is-active -q kitchen-first-boot'
        medium=/mnt
        mount -o ro /dev/sda1 "$medium"
    fi
}

of_kitchen() {
    [ "$(stat -Lc '%U %a' /var/lib/kitchen-agent/identity/device.key)" = 'kitchen 600' ]
}

tell "$(date -u +%FT%TZ) on board $(tr -d '\0' </proc/device-tree/serial-number)"
# The job came before what the box would have started by itself.
systemctl start --no-block multi-user.target
expect 'the box is enrolled' within 300 enrolled
expect 'its clock is right' test "$(date +%Y)" -ge 2026
expect 'its key is for the agent alone' of_kitchen
mount_medium
expect "the used claim is gone from $medium" within 60 test ! -e "$medium/kitchen-claim.toml"
expect 'the result stands beside it' grep -a 'Done.' "$medium/kitchen-result.txt"
expect 'the agent runs' within 120 healthy
expect 'the district acknowledges an alert' within 400 acknowledged
expect 'check enrolment' kitchen-agent check enrolment certificate.expiry --lang en
tell 'finished: passed'
