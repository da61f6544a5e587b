#!/usr/bin/env bash
# image.sh [SUITE]: what an emulated ARM box of that Debian release is made of, into target/vm/SUITE: root.tar, vmlinuz,
# initrd.gz. Three minutes the first time, nothing afterwards. As root; installs by apt what is missing.
set -euo pipefail
source "$(dirname "$0")/../../cross/platform.sh"
source "$cross/foreign.sh"
platform_of aarch64

suite=${1:-bookworm}
here=$(cd "$(dirname "$0")" && pwd)
image=$target/vm/$suite
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
mirror=$(debian_mirror)

[ "$(id -u)" = 0 ] || give_up "an image holds files of root" "run this with sudo" 2

make_root() {
    [ ! -s "$image/root.tar" ] || return 0
    say "making a root of $suite for $debian"
    run_foreign_programs
    trap forget_foreign_programs EXIT
    mmdebstrap --quiet --mode=root --variant=essential --architectures="$debian" --keyring="$keyring" \
        --include=systemd-sysv,udev,dbus,libstdc++6 --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' "$suite" "$image/new-root.tar" "deb $mirror $suite main" >&2
    mv "$image/new-root.tar" "$image/root.tar"
}

# Kernel and busybox, with an apt of its own: this system's sources and packages stay as they are.
fetch_kernel() {
    local apt=$image/apt kernel
    [ ! -s "$image/vmlinuz" ] || return 0
    say "fetching the kernel of $suite for $debian"
    mkdir -p "$image/unpacked"
    echo "deb [arch=$debian signed-by=$keyring] $mirror $suite main" | own_apt "$apt" "$debian" >/dev/null
    (
        export APT_CONFIG=$apt/apt.conf
        apt-get update -qq >&2
        kernel=$(apt-cache depends linux-image-arm64 | awk '/Depends: linux-image/ { print $2; exit }')
        cd "$apt"
        apt-get download -qq "$kernel" busybox-static >&2
    )
    for package in "$apt"/*.deb; do
        dpkg-deb -x "$package" "$image/unpacked"
    done
    cp "$image/unpacked"/boot/vmlinuz-* "$image/vmlinuz"
    rm -rf "$apt"
}

# The least that finds the disk and hands over to systemd.
make_initrd() {
    local initrd=$image/initrd module file
    [ "$image/initrd.gz" -nt "$here/initrd-init" ] && return 0
    rm -rf "$initrd"
    mkdir -p "$initrd"/{bin,dev,proc,sys,modules,newroot}
    cp "$image/unpacked/bin/busybox" "$initrd/bin/"
    cp "$here/initrd-init" "$initrd/init"
    chmod 755 "$initrd/init"
    for module in virtio_mmio virtio_blk failover net_failover virtio_net crc32c_generic jbd2 mbcache crc16 ext4; do
        file=$(find "$image/unpacked/lib/modules" -name "$module.ko*" | head -1)
        [ -n "$file" ] || continue
        cp "$file" "$initrd/modules/"
        basename "$file" >>"$initrd/modules/order"
    done
    (cd "$initrd" && find . | cpio -o -H newc --quiet | gzip -1) >"$image/initrd.gz"
}

missing=()
has mmdebstrap || missing+=(mmdebstrap)
has arch-test || missing+=(arch-test)
has cpio || missing+=(cpio)
has mke2fs || missing+=(e2fsprogs)
has qemu-system-aarch64 || missing+=(qemu-system-arm)
has qemu-aarch64-static || missing+=(qemu-user-static)
[ -r "$keyring" ] || missing+=(debian-archive-keyring)
install_packages "${missing[@]}"
mkdir -p "$image"
make_root
fetch_kernel
make_initrd
echo "$image"
