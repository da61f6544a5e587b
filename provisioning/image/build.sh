#!/usr/bin/env bash
# build.sh: a Debian image for a card, with the package installed in it. Same inputs, same image, byte for byte.
# Boards: Raspberry Pi 4, 400, CM4, 3, Zero 2, and none of them tried. Not Raspberry Pi 5: neither this Debian's kernel
# (6.1) nor the next one's (6.12) drives RP1, the chip with its network and USB; the first that does is 7.3 in
# trixie-backports. For a Pi 5 use into-vendor.sh on Raspberry Pi OS.
set -euo pipefail
source "$(dirname "$0")/../../cross/platform.sh"
platform_of arm64

here=$(cd "$(dirname "$0")" && pwd)
suite=bookworm
cache=$target/image
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
packages=(systemd-sysv udev dbus systemd-timesyncd systemd-resolved iproute2 kmod fdisk e2fsprogs zstd
    linux-image-arm64 initramfs-tools modemmanager usb-modeswitch)

# The same on every card: nobody carries two of them in one box.
disk_id=4b495443
root_uuid=6b697463-6865-4e00-8000-00000000000a
state_uuid=6b697463-6865-4e00-8000-00000000000b
mib=2048
firmware_start=$((4 * mib)) firmware_mib=256 state_mib=256 headroom_mib=400

usage() {
    cat <<'USAGE'
build.sh --package DEB --out IMAGE [--claim FILE] [--config FILE] [--ssh-key FILE] [--mirror URL] [--fresh]
Makes an image for a Raspberry Pi 4's card, to be written with dd, rpi-imager or balenaEtcher. As root.

  --package DEB    kitchen-agent's package for arm64 (cross/package.sh makes it)
  --out IMAGE      also written: IMAGE.packages (what is in it), IMAGE.sha256
  --claim FILE     goes onto the card as kitchen-claim.toml
  --config FILE    goes onto the card as kitchen-agent.toml
  --ssh-key FILE   public keys that may log in as root; without it nobody can log in
  --mirror URL     of Debian; a snapshot's gives the packages of that day again
  --fresh          makes the root anew, even if the same one lies in target/image

  sudo provisioning/image/build.sh --package target/debian/kitchen-agent_0.1.0-1_arm64.deb \
      --claim mh07-000123.toml --out mh07-000123.img
USAGE
}

read_arguments() {
    package='' out='' claim='' config='' ssh_key='' snapshot='' fresh=''
    mirror=$(debian_mirror)
    while [ $# -gt 0 ]; do
        case $1 in
            --help | -h)
                usage
                exit 0
                ;;
            --fresh)
                fresh=yes
                shift
                continue
                ;;
            --package | --out | --claim | --config | --ssh-key | --mirror) ;;
            *) give_up "unknown argument $1" "see $0 --help" 64 ;;
        esac
        [ $# -ge 2 ] && [ -n "$2" ] || give_up "$1 needs a value" "see $0 --help" 64
        case $1 in
            --package) package=$2 ;;
            --out) out=$2 ;;
            --claim) claim=$2 ;;
            --config) config=$2 ;;
            --ssh-key) ssh_key=$2 ;;
            --mirror) mirror=${2%/} snapshot=yes ;;
        esac
        shift 2
    done
    [ -n "$package" ] || give_up "which package goes into the image?" "name it with --package" 64
    [ -n "$out" ] || give_up "where does the image go?" "name it with --out" 64
}

check_arguments() {
    local file
    [ "$(id -u)" = 0 ] || give_up "an image holds files of root" "run this with sudo" 2
    for file in "$package" "$claim" "$config" "$ssh_key"; do
        [ -z "$file" ] || { [ -f "$file" ] && [ -r "$file" ]; } || give_up "$file can't be read" "check its name" 2
    done
    [ -d "$(dirname "$out")" ] || give_up "there is no folder $(dirname "$out")" "make it, or choose another --out" 2
    [ "$(dpkg-deb -f "$package" Package 2>/dev/null)" = kitchen-agent ] ||
        give_up "$package is no package of kitchen-agent" "make one with cross/package.sh arm64" 2
    [ "$(dpkg-deb -f "$package" Architecture)" = "$debian" ] ||
        give_up "$package is for another machine" "make one with cross/package.sh arm64" 2
    [ -z "$ssh_key" ] || grep -qE '^(ssh|ecdsa|sk)-[^ ]+ [A-Za-z0-9+/=]+' "$ssh_key" ||
        give_up "$ssh_key holds no public key" "name the file that ends in .pub" 2
}

install_tools() {
    local missing=()
    has mmdebstrap || missing+=(mmdebstrap)
    has arch-test || missing+=(arch-test)
    has mke2fs || missing+=(e2fsprogs)
    has sfdisk || missing+=(fdisk)
    has mkfs.vfat || missing+=(dosfstools)
    has mcopy || missing+=(mtools)
    [ -e /usr/libexec/qemu-binfmt/aarch64-binfmt-P ] || [ "$machine" = "$(uname -m)" ] || missing+=(qemu-user-static)
    [ -r "$keyring" ] || missing+=(debian-archive-keyring)
    install_packages "${missing[@]}"
}

tidy() {
    forget_foreign_programs
    rm -rf "$work" "$out.new"
}

# The mirror's lists, with an apt of its own: this system's sources and packages stay as they are.
fetch_lists() {
    say "asking $mirror what $suite is today"
    sources "main non-free-firmware" | own_apt "$work/apt" "$debian" >/dev/null
    APT_CONFIG=$work/apt/apt.conf apt-get update -qq >&2 ||
        give_up "the mirror $mirror does not answer" "check the network, or name another with --mirror" 2
}

# sources COMPONENTS: the release with its repairs.
sources() {
    local options="[arch=$debian signed-by=$keyring${snapshot:+ check-valid-until=no}]"
    echo "deb $options $mirror $suite $1"
    echo "deb $options $mirror $suite-updates $1"
    echo "deb $options ${mirror%/debian*}/debian-security${mirror##*/debian} $suite-security $1"
}

# Everything that the root file system depends on. What a claim or a configuration is does not change it.
key() {
    {
        echo "$SOURCE_DATE_EPOCH"
        cat "$package" "${ssh_key:-/dev/null}" "$here/build.sh" "$here/ext4.sh" "$here/mke2fs.conf"
        (cd "$here/files" && find . -type f -printf '%p %m\n' -exec sha256sum {} + | LC_ALL=C sort)
        cat "$work"/apt/lists/*_InRelease
    } | sha256sum | cut -c1-16
}

# Names of what the package depends on, the first of alternatives.
depends_of() {
    dpkg-deb -f "$1" Pre-Depends Depends | sed 's/^[A-Za-z-]*://; s/([^)]*)//g; s/|[^,]*//g; s/:any//g' |
        tr ',' '\n' | tr -d ' ' | sed '/^$/d'
}

make_root() {
    local include log=$cache/mmdebstrap.log
    include=$({ printf '%s\n' "${packages[@]}" && depends_of "$package"; } | sort -u | paste -sd,)
    [ -z "$ssh_key" ] || include=$include,openssh-server
    say "making a root of $suite for $debian: five minutes and more, its log is $log"
    run_foreign_programs
    export KITCHEN_FILES=$here/files KITCHEN_PACKAGE=$package
    # The kernel's own hook and initramfs-tools' trigger would each make the initrd, which takes minutes: it is made
    # once, at the end. dpkg need not wait for the disk here, but must on a box. The folder of hooks is mmdebstrap's own:
    # with it a merged /usr costs no perl.
    if ! INITRD=No mmdebstrap --mode=root --variant=essential --architectures="$debian" --keyring="$keyring" \
        --format=directory --include="$include" --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
        --dpkgopt=force-unsafe-io --dpkgopt="$here/files/etc/dpkg/dpkg.cfg.d/kitchen" \
        --essential-hook='cp -rT "$KITCHEN_FILES" "$1"' \
        --customize-hook='cp "$KITCHEN_PACKAGE" "$1/var/tmp/kitchen-agent.deb"' \
        --customize-hook='chroot "$1" dpkg -i /var/tmp/kitchen-agent.deb' \
        --customize-hook='chroot "$1" update-initramfs -c -k "$(ls "$1/usr/lib/modules")"' \
        --customize-hook='rm "$1/var/tmp/kitchen-agent.deb" "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap"' \
        "$suite" "$root" - >"$log" 2>&1 < <(sources main); then
        tail -20 "$log" >&2
        give_up "the root could not be made" "read $log; when the mirror was at fault, run it again"
    fi
    enable_units
    settle_identity
    [ -z "$ssh_key" ] || let_in
    forget_traces
}

enable_units() {
    local unit units=(systemd-networkd systemd-resolved systemd-timesyncd kitchen-grow-state)
    [ ! -e "$root/usr/lib/systemd/system/kitchen-first-boot.service" ] || units+=(kitchen-first-boot)
    chroot "$root" systemctl --quiet enable "${units[@]/%/.service}"
    chroot "$root" systemctl --quiet set-default multi-user.target
    # A box pays for its traffic: nothing is fetched unasked.
    for unit in apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service; do
        ln -sf /dev/null "$root/etc/systemd/system/$unit"
    done
}

# No secrets, and nothing by which two boxes or this machine could be told.
settle_identity() {
    rm -f "$root/etc/hostname"
    echo kitchen-box >"$root/etc/hostname"
    printf '127.0.0.1\tlocalhost\n127.0.1.1\tkitchen-box\n::1\tlocalhost\n' >"$root/etc/hosts"
    : >"$root/etc/machine-id"
    rm -f "$root/var/lib/dbus/machine-id" "$root"/etc/ssh/ssh_host_* "$root/var/lib/systemd/random-seed"
    ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
    # Each line's third field is the day on which this was done.
    sed -i -E "s/^root:[^:]*:/root:!*:/; s/^([^:]*:[^:]*:)[0-9]*:/\\1$((SOURCE_DATE_EPOCH / 86400)):/" "$root/etc/shadow"
    # Without a clock of its own the board starts at the image's time, not in 1970.
    : >"$root/usr/lib/clock-epoch"
    mkdir -p "$root/boot/firmware"
    install -d -o "$(owner u)" -g "$(owner g)" -m 750 "$root/var/lib/kitchen-agent"
}

# owner u|g: the agent's number in the new root.
owner() {
    local file=passwd number
    [ "$1" = u ] || file=group
    number=$(sed -n 's/^kitchen:[^:]*:\([0-9]*\):.*/\1/p' "$root/etc/$file")
    echo "${number:-0}"
}

let_in() {
    install -D -m 600 "$ssh_key" "$root/root/.ssh/authorized_keys"
    chmod 700 "$root/root/.ssh"
    echo 'PasswordAuthentication no' >"$root/etc/ssh/sshd_config.d/kitchen.conf"
    mkdir -p "$root/etc/systemd/system/ssh.service.d"
    printf '[Service]\nExecStartPre=\nExecStartPre=/usr/bin/ssh-keygen -A\nExecStartPre=/usr/sbin/sshd -t\n' \
        >"$root/etc/systemd/system/ssh.service.d/keys.conf"
}

forget_traces() {
    find "$root/var/log" "$root/var/cache/apt" "$root/var/lib/apt" "$root/run" "$root/dev" "$root/tmp" \
        "$root/var/tmp" -mindepth 1 -delete
    rm -f "$root/var/cache/ldconfig/aux-cache" "$root"/var/cache/debconf/*-old "$root/etc/apt/sources.list" \
        "$root/etc/.resolv.conf.systemd-resolved.bak" "$root"/etc/{passwd,shadow,group,gshadow,subuid,subgid}- \
        "$root"/var/lib/dpkg/{status,diversions,statoverride}-old "$root"/{vmlinuz,initrd.img}{,.old}
    # Told that they are up to date, systemd's services of the first boot leave the databases alone.
    : >"$root/etc/.updated"
    : >"$root/var/.updated"
}

# Files of the firmware partition that are the same for every box.
gather_firmware() {
    local firmware=$1 kernel dtb unpacked=$work/raspi-firmware
    kernel=$(cd "$root/boot" && echo vmlinuz-*)
    say "fetching the board's firmware"
    (cd "$work" && APT_CONFIG=$work/apt/apt.conf apt-get download -qq raspi-firmware >&2) ||
        give_up "the mirror has no raspi-firmware" "name another with --mirror" 2
    dpkg-deb -x "$work"/raspi-firmware_*.deb "$unpacked"
    mkdir -p "$firmware"
    cp "$unpacked/usr/lib/raspi-firmware"/{bootcode.bin,start.elf,fixup.dat,start4.elf,fixup4.dat} "$firmware/"
    cp "$unpacked/usr/share/doc/raspi-firmware/copyright" "$firmware/LICENCE.firmware"
    cp "$root/boot/$kernel" "$firmware/vmlinuz"
    cp "$root/boot/initrd.img-${kernel#vmlinuz-}" "$firmware/initrd.img"
    for dtb in "$root/usr/lib/linux-image-${kernel#vmlinuz-}"/broadcom/bcm{2711,2837}-*.dtb; do
        cp "$dtb" "$firmware/"
    done
    # The firmware looks for device trees under the names that Debian's kernel gives them.
    cat >"$firmware/config.txt" <<'CONFIG'
arm_64bit=1
upstream_kernel=1
kernel=vmlinuz
initramfs initrd.img followkernel
dtparam=watchdog=on
CONFIG
    echo 'console=tty1 root=LABEL=kitchen-root ro rootwait fsck.repair=yes panic=10' >"$firmware/cmdline.txt"
}

list_packages() {
    {
        dpkg-query --admindir="$root/var/lib/dpkg" -W -f '${Package} ${Version} ${Architecture}\n'
        dpkg-deb -f "$work"/raspi-firmware_*.deb Package Version Architecture | sed 's/^[^ ]* //' | paste -sd' '
    } | LC_ALL=C sort
}

# Room for what is in it, rounded up to a card's erase blocks. Folders count one block each: how long they really are is
# this machine's affair.
root_mib() {
    find "$root" -printf '%y %s\n' | awk -v headroom="$headroom_mib" '
        { blocks += $1 == "f" ? int(($2 + 4095) / 4096) : 1 }
        END { print (int((blocks / 256 * 1.06 + headroom) / 32) + 1) * 32 }'
}

# The two file systems and the firmware's files, below the key of what they are made of.
make_parts() {
    local new=$work/parts state=$work/state
    mkdir -p "$new" "$state"
    root=$work/root
    make_root
    gather_firmware "$new/firmware"
    list_packages >"$new/packages"
    say "writing the file systems"
    make_ext4 "$new/root.ext4" "$(root_mib)" kitchen-root "$root_uuid" "$root" -m 1
    chown "$(owner u):$(owner g)" "$state"
    chmod 750 "$state"
    make_ext4 "$new/state.ext4" "$state_mib" kitchen-state "$state_uuid" "$state" -m 0 -J size=16
    rm -rf "$cache"/parts-*
    mv "$new" "$parts"
}

make_firmware_partition() {
    local fat=$work/firmware.fat file
    truncate -s "${firmware_mib}M" "$fat"
    mkfs.vfat --invariant -i "$disk_id" -F 32 -s 4 -h "$firmware_start" -n KITCHEN "$fat" >/dev/null
    cp -r "$parts/firmware" "$work/firmware"
    [ -z "$claim" ] || cp "$claim" "$work/firmware/kitchen-claim.toml"
    [ -z "$config" ] || cp "$config" "$work/firmware/kitchen-agent.toml"
    touch -d "@$SOURCE_DATE_EPOCH" "$work/firmware"/*
    for file in $(cd "$work/firmware" && LC_ALL=C ls); do
        TZ=UTC mcopy -m -i "$fat" "$work/firmware/$file" "::$file"
    done
}

# put FILE START: into the new image, holes as holes.
put() {
    dd if="$1" of="$out.new" bs=512 seek="$2" conv=notrunc,sparse iflag=fullblock status=none
}

assemble() {
    local root_start root_sectors state_start state_sectors
    make_firmware_partition
    root_start=$((firmware_start + firmware_mib * mib))
    root_sectors=$(($(stat -c %s "$parts/root.ext4") / 512))
    state_start=$((root_start + root_sectors))
    state_sectors=$((state_mib * mib))
    rm -f "$out.new"
    truncate -s $(((state_start + state_sectors) * 512)) "$out.new"
    sfdisk --quiet --no-reread --no-tell-kernel "$out.new" >&2 <<TABLE
label: dos
label-id: 0x$disk_id
unit: sectors
start=$firmware_start, size=$((firmware_mib * mib)), type=c, bootable
start=$root_start, size=$root_sectors, type=83
start=$state_start, size=$state_sectors, type=83
TABLE
    put "$work/firmware.fat" "$firmware_start"
    put "$parts/root.ext4" "$root_start"
    put "$parts/state.ext4" "$state_start"
    cp "$parts/packages" "$out.packages"
    (cd "$(dirname "$out")" && sha256sum <"$(basename "$out").new" | sed "s|-\$|$(basename "$out")|") >"$out.sha256"
    # A claim is worth a box: it is for whoever called sudo, and for nobody else.
    if [ -n "$claim" ]; then
        chmod 600 "$out.new"
        chown "${SUDO_UID:-0}:${SUDO_GID:-0}" "$out.new"
    fi
    mv "$out.new" "$out"
}

read_arguments "$@"
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$repository" log -1 --format=%ct)}
export SOURCE_DATE_EPOCH LC_ALL=C.UTF-8
umask 022
check_arguments
package=$(realpath "$package")
install_tools
mkdir -p "$cache"
work=$(mktemp -d "$cache/work.XXXXXX")
trap tidy EXIT
source "$here/ext4.sh"
source "$cross/foreign.sh"
fetch_lists
parts=$cache/parts-$(key)
[ -z "$fresh" ] || rm -rf "$parts"
if [ -d "$parts" ]; then
    say "the root is the one in $parts"
else
    make_parts
fi
say "putting the image together"
assemble
say "$out: $(($(stat -c %s "$out") / 1048576)) MiB, $(wc -l <"$out.packages") packages"
echo "$out"
