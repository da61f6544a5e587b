#!/usr/bin/env bash
# run.sh [SUITE]: the arm64 package on an emulated ARM box of that Debian release (bookworm), with broker and district
# outside of it. Fails unless the box passes everything in guest.sh and the district has the alert and its pictures.
# As root. Prints what box and district saw, with times; the whole log lies in target/vm/SUITE/boot.log.
set -euo pipefail
source "$(dirname "$0")/../../cross/platform.sh"
source "$(dirname "$0")/servers.sh"
platform_of aarch64

suite=${1:-bookworm}
device=mh07-000123
here=$(cd "$(dirname "$0")" && pwd)
image=$target/vm/$suite
work=$image/work
log=$image/boot.log
district=${KITCHEN_DISTRICT:-$target/debug/kitchen-district}
boot_limit_s=1200

# issue NAME EXTENSION: a key and a certificate with that common name by the test's own authority.
issue() {
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" \
        -keyout "$work/$1.key" -out "$work/$1.csr" 2>/dev/null
    openssl x509 -req -in "$work/$1.csr" -CA "$work/ca.pem" -CAkey "$work/ca.key" -CAcreateserial -days 30 \
        -extfile <(printf 'basicConstraints=CA:FALSE\n%s\n' "$2") -out "$work/$1.pem" 2>/dev/null
}

make_certificates() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj '/CN=test authority' \
        -addext 'keyUsage=critical,keyCertSign,cRLSign' -keyout "$work/ca.key" -out "$work/ca.pem" 2>/dev/null
    # 10.0.2.2 is this machine's loopback as the box sees it.
    issue broker 'subjectAltName=IP:10.0.2.2,IP:127.0.0.1
extendedKeyUsage=serverAuth'
    issue district 'extendedKeyUsage=clientAuth'
    issue "$device" 'extendedKeyUsage=clientAuth'
}

# The box's disk: Debian, the package beside it, and one job.
make_disk() {
    local root=$work/root files units
    mkdir -p "$root"
    tar -xpf "$image/root.tar" -C "$root"
    files=$root/var/tmp/kitchen
    units=$root/etc/systemd/system
    mkdir -p "$files"
    cp "$package" "$files/kitchen-agent.deb"
    cp "$here/guest.sh" "$here/guest-steps.sh" "$files/"
    cp "$work/ca.pem" "$files/district-ca.pem"
    cp "$work/$device.pem" "$files/device.pem"
    cp "$work/$device.key" "$files/device.key"
    install -D -m 644 "$repository/agent/kitchen-agent/demo/people.mp4" "$root/srv/people.mp4"
    sed "s|PORT|$port|; s|DEVICE|$device|" "$here/agent.toml" >"$files/agent.toml"
    cp "$here/job.service" "$units/"
    mkdir -p "$units/multi-user.target.wants"
    ln -sf ../job.service "$units/multi-user.target.wants/job.service"
    ln -sf /lib/systemd/system/multi-user.target "$units/default.target"
    for unit in systemd-udevd.service systemd-udev-trigger.service getty@.service serial-getty@.service \
        systemd-logind.service systemd-resolved.service apt-daily.timer apt-daily-upgrade.timer; do
        ln -sf /dev/null "$units/$unit"
    done
    echo box >"$root/etc/hostname"
    echo '/dev/vda / ext4 defaults,noatime 0 0' >"$root/etc/fstab"
    truncate -s 1G "$work/disk"
    mke2fs -q -F -t ext4 -E lazy_itable_init=1,lazy_journal_init=1 -d "$root" "$work/disk"
    rm -rf "$root"
}

boot() {
    timeout "$boot_limit_s" qemu-system-aarch64 -M virt -cpu cortex-a72 -smp 2 -accel tcg,thread=multi -m 1024 \
        -display none -monitor none -serial stdio -no-reboot \
        -netdev user,id=net -device virtio-net-device,netdev=net \
        -drive "file=$work/disk,format=raw,if=none,id=disk" -device virtio-blk-device,drive=disk \
        -kernel "$image/vmlinuz" -initrd "$image/initrd.gz" \
        -append 'console=ttyAMA0 root=/dev/vda rw quiet loglevel=3 systemd.show_status=0 mitigations=off audit=0' \
        </dev/null | sed -u 's/\r$//' | tee "$log" | grep --line-buffered '^BOX' >&2
}

missing=()
has mosquitto || missing+=(mosquitto)
has openssl || missing+=(openssl)
install_packages "${missing[@]}"
"$here/image.sh" "$suite" >/dev/null
package=$("$cross/package.sh" arm64)
[ -x "$district" ] || (cd "$repository" && cargo build --locked -p kitchen-district)
rm -rf "$work"
mkdir -p "$work"
trap stop_servers EXIT
make_certificates
port=$(free_port)
start_broker "$port" "$work/ca.pem"
start_receiver "$port" "$work/ca.pem"
make_disk
say "booting an emulated box of $suite"
started=$SECONDS
boot || true
say "the box ran for $((SECONDS - started)) s"
grep -q '^BOX .*finished: passed' "$log" ||
    give_up "the box did not pass" "read $log, $work/district.log and $work/broker.log"
seen district.out '"type":"alert.opened"' "district: an alert was opened"
seen district.out '"event":"snapshot"' "district: its picture came"
say "passed"
