#!/bin/bash
# Runs inside of the emulated box, as its only job: installs the package as an installer would, configures it, waits for
# the district's acknowledgement, updates, removes and purges it. One line for each thing seen, with the box's uptime;
# the first failure ends it with the service's log.
set -uo pipefail
cd /var/tmp/kitchen
source ./guest-steps.sh
export LANG=C.UTF-8 NO_COLOR=1 DEBIAN_FRONTEND=noninteractive
service=kitchen-agent.service
database=/var/lib/kitchen-agent/store

show_log() {
    kitchen-agent status --lang en
    journalctl -u "$service" --no-pager -o short-monotonic | tail -60
}

is() {
    [ "$(systemctl show --value -p "$1" "$service")" = "$2" ]
}

healthy() {
    kitchen-agent status --json >status.json 2>&1
}

exits_with() {
    local wanted=$1 status=0
    shift
    "$@" >said 2>&1 || status=$?
    cat said
    [ "$status" = "$wanted" ]
}

names_what_is_missing() {
    exits_with 1 kitchen-agent config validate --lang en | grep -q 'device.id'
}

runs_as_kitchen() {
    [ "$(stat -c %U "/proc/$(systemctl show --value -p MainPID "$service")")" = kitchen ]
}

private() {
    [ "$(stat -c '%U:%G %a' "$1")" = "$2" ]
}

configure() {
    cp agent.toml district-ca.pem device.pem /etc/kitchen-agent/
    # Only root may read it: the service gets a copy from systemd.
    install -m 600 device.key /etc/kitchen-agent/device.key
    kitchen-agent config validate --lang en
}

restarted() {
    ! is MainPID "$before" && is ActiveState active
}

tell "systemd $(systemctl --version | sed -n '1s/.*(\(.*\))/\1/p'), $(date -u +%FT%TZ)"
expect 'the package installs' dpkg -i kitchen-agent.deb
expect 'it is enabled' systemctl is-enabled "$service"
expect 'not configured, it does not run' is ActiveState inactive
expect 'and that is no failure' is Result exec-condition
expect 'config validate names what is missing' names_what_is_missing
expect 'the configuration is private' private /etc/kitchen-agent/agent.toml root:kitchen\ 640
expect 'a filled in configuration is valid' configure
expect 'the service starts' systemctl restart "$service"
expect 'it is up' is ActiveState active
expect 'it runs as its own user' runs_as_kitchen
expect 'status says that the box is healthy' within 120 healthy
expect 'the district acknowledges an alert' within 300 acknowledged
expect 'its state is private' private /var/lib/kitchen-agent kitchen:kitchen\ 750
said=$(kitchen-agent check --lang en 2>&1) || true
if [[ $said != *'not available in this version'* ]]; then
    expect 'check finds nothing wrong' kitchen-agent check --lang en
fi
tell "memory $(systemctl show --value -p MemoryCurrent "$service") bytes, restarts $(systemctl show --value -p NRestarts "$service")"
before=$(systemctl show --value -p MainPID "$service")
expect 'killed, it comes back' kill -9 "$before"
expect 'as a new process' within 90 restarted
before=$(systemctl show --value -p MainPID "$service")
expect 'an update installs' dpkg -i kitchen-agent.deb
expect 'the new one runs' within 90 restarted
expect 'and is healthy' within 120 healthy
expect 'the configuration is as it was filled in' cmp agent.toml /etc/kitchen-agent/agent.toml
expect 'it is removed' dpkg -r kitchen-agent
expect 'its alerts stay' test -e "$database"
expect 'it is purged' dpkg -P kitchen-agent
expect 'its alerts are gone' test ! -e /var/lib/kitchen-agent
expect 'its secrets are gone' test ! -e /etc/kitchen-agent
tell 'finished: passed'
