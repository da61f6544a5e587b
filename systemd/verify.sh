#!/usr/bin/env bash
# What systemd says of the units: nothing at all, and an exposure of 2.0 or less.
set -euo pipefail
cd "$(dirname "$0")"

say() {
    printf '== %s\n' "$*" >&2
}

# Verified without the installed program, and below the name under which systemd knows the unit.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for unit in kitchen-agent kitchen-first-boot; do
    sed 's|/usr/bin/kitchen-agent|/bin/true|' "$unit.service" >"$work/$unit.service"
done
version=$(systemd-analyze --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
if [ "$version" -ge 254 ]; then
    cp -r kitchen-agent.service.d "$work/"
fi

# It exits 0 on an unknown key: any output is a failure.
for unit in kitchen-agent kitchen-first-boot; do
    found=$(SYSTEMD_LOG_LEVEL=notice systemd-analyze verify --man=no "$work/$unit.service" 2>&1) || true
    if [ -n "$found" ]; then
        printf '%s\n' "$found" >&2
        say "systemd $version finds fault with systemd/$unit.service: mend what it names"
        exit 1
    fi
done
if ! found=$(systemd-analyze security --offline=true --threshold=20 --no-pager "$work/kitchen-agent.service" 2>&1); then
    printf '%s\n' "$found" >&2
    say "the service is open further than 2.0: close what is marked ✗ above"
    exit 1
fi
say "units: ${found##*→ }"
