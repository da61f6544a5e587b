#!/usr/bin/env bash
# kernel.sh: what an emulated x86 box boots from, into target/power-cut: vmlinuz, busybox, modules in their order.
# Some seconds the first time, nothing afterwards. Fetches by apt and installs nothing.
set -euo pipefail
source "$(dirname "$0")/../../cross/platform.sh"
platform_of "$(uname -m)"

folder=$target/power-cut
unpacked=$folder/unpacked
modules=(virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk failover net_failover
    virtio_net)

[ "$debian" = amd64 ] || give_up "the emulated box runs this machine's programs, and is an x86" "run this on x86_64" 2

kernel_package() {
    apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends: linux-image/ { print $2; exit }'
}

update_lists() {
    local as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq >&2
}

fetch() {
    local kernel package
    kernel=$(kernel_package)
    if [ -z "$kernel" ]; then
        update_lists
        kernel=$(kernel_package)
    fi
    [ -n "$kernel" ] || give_up "apt knows no linux-image-cloud-amd64" "add Debian's main to apt's sources" 2
    say "fetching $kernel and busybox"
    rm -rf "$unpacked"
    mkdir -p "$unpacked"
    cd "$unpacked"
    apt-get download -qq "$kernel" busybox-static >&2 || { update_lists && apt-get download -qq "$kernel" busybox-static >&2; }
    for package in *.deb; do
        dpkg-deb -x "$package" .
    done
}

arrange() {
    local module file
    rm -rf "$folder/modules"
    mkdir -p "$folder/modules"
    for module in "${modules[@]}"; do
        file=$(find "$unpacked/lib/modules" -name "$module.ko" | head -1)
        # What is not there is built into the kernel.
        [ -n "$file" ] || continue
        cp "$file" "$folder/modules/"
        basename "$file" >>"$folder/modules/order"
    done
    cp "$unpacked/bin/busybox" "$folder/busybox"
    # Last: the kernel says that all is there.
    cp "$unpacked"/boot/vmlinuz-* "$folder/vmlinuz"
    rm -rf "$unpacked"
}

mkdir -p "$folder"
exec 9>"$folder/lock"
flock 9
[ -s "$folder/vmlinuz" ] || { (fetch) && arrange; }
echo "$folder"
