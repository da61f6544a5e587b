#!/usr/bin/env bash
# test-package.sh PACKAGE.deb: installs the package into a new Debian 12, runs the program there, and purges it again;
# nothing of it may stay. For this machine's own architecture. As root; installs mmdebstrap by apt when missing.
set -euo pipefail
source "$(dirname "$0")/platform.sh"

package=$(realpath "${1:?name a package, as cross/package.sh prints it}")
[ "$(id -u)" = 0 ] || give_up "a Debian root holds files of root" "run this with sudo" 2
has mmdebstrap || install_packages mmdebstrap

# Runs in the new root.
check='set -eu
apt-get install -y -qq /tmp/package.deb >&2
kitchen-agent --version
printf "[device]\nid = \"a-box\"\n" >/tmp/agent.toml
kitchen-agent model verify --config /tmp/agent.toml
id kitchen
[ "$(stat -c %U:%G:%a /etc/kitchen-agent/agent.toml)" = root:kitchen:640 ]
[ -e /etc/systemd/system/multi-user.target.wants/kitchen-agent.service ]
apt-get purge -y -qq kitchen-agent >&2
left=$(find /etc /usr /lib /var/lib -path "*kitchen-agent*" -not -path "*/apt/*" -not -path "*/dpkg/*" -not -path "*/deb-systemd-*")
[ -z "$left" ] || { echo "purged, but still there: $left" >&2; exit 1; }'
mmdebstrap --quiet --mode=root --variant=apt --include=systemd-sysv --customize-hook="cp '$package' \"\$1/tmp/package.deb\"" \
    --customize-hook="chroot \"\$1\" sh -c '${check//\'/\'\\\'\'}'" bookworm /dev/null "deb $(debian_mirror) bookworm main"
say "installed, run and purged: $(basename "$package")"
