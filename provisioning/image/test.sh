#!/usr/bin/env bash
# test.sh [--package DEB]: build.sh and into-vendor.sh with real images. The card's image is made twice from nothing and
# compared; vendors' images are made up from a Debian root, GPT and MBR, sound and broken. As root. Without --package it
# is made. Half an hour; a part of it by name: test.sh --package DEB board|vendor
set -euo pipefail
source "$(dirname "$0")/../../cross/platform.sh"
platform_of arm64

here=$(cd "$(dirname "$0")" && pwd)
work=$target/image-test
secret='not-to-be-found-elsewhere-5d1f'
failures=0

# expect WHAT COMMAND…: says whether it came true, and goes on.
expect() {
    local what=$1 said
    shift
    if said=$("$@" 2>&1); then
        say "ok      $what"
    else
        say "FAILED  $what: $*"
        [ -z "$said" ] || sed 's/^/          /' <<<"$said" >&2
        failures=$((failures + 1))
    fi
}

not() {
    ! "$@"
}

# refuses STATUS TEXT COMMAND…: it ends with that status and that text, and leaves nothing half made.
refuses() {
    local status=0 wanted=$1 text=$2
    shift 2
    rm -f "$work"/refused*
    "$@" >"$work/refusal" 2>&1 || status=$?
    cat "$work/refusal"
    [ "$status" = "$wanted" ] && grep -q -- "$text" "$work/refusal" && grep -q '^== next: ' "$work/refusal" &&
        [ -z "$(ls "$work"/refused* 2>/dev/null)" ]
}

# start IMAGE NUMBER and sectors IMAGE NUMBER: of a partition.
start() {
    sfdisk -d "$1" | sed -n "s/.*[^0-9]$2 : start= *\([0-9]*\),.*/\1/p"
}

sectors() {
    sfdisk -d "$1" | sed -n "s/.*[^0-9]$2 : start=.* size= *\([0-9]*\),.*/\1/p"
}

table() {
    sfdisk -d "$1" | sed -n 's/.* : //p'
}

part() {
    printf '%s?offset=%s' "$1" $(($(start "$1" "$2") * 512))
}

fat() {
    printf '%s@@%s' "$1" $(($(start "$1" "${2:-1}") * 512))
}

on_fat() {
    mcopy -n -i "$(fat "$1")" "::$2" -
}

# holds IMAGE NUMBER PATH TEXT: whether a line of that file matches.
holds() {
    show "$(part "$1" "$2")" "$3" | grep -E -- "$4"
}

there() {
    debugfs -R "stat \"$3\"" "$(part "$1" "$2")" 2>/dev/null | grep '^Inode:' >/dev/null
}

# stands IMAGE NUMBER PATH: what debugfs says of it: type, mode, owner, size, and a link's target.
stands() {
    debugfs -R "stat \"$3\"" "$(part "$1" "$2")" 2>/dev/null | sed -n '
        s/^Inode: .*Type: \([a-z]*\) *Mode: *\([0-7]*\).*/\1 \2/p
        s/^User: *\([0-9]*\) *Group: *\([0-9]*\).*Size: \([0-9]*\)/\1:\2 \3/p
        s/^Fast link dest: "\(.*\)"/\1/p' | paste -sd' '
}

is() {
    echo "found: $1"
    [ "$1" = "$2" ]
}

unchanged_parts() {
    local number from
    for number in 2 3; do
        from=$(($(start "$1" $number) * 512))
        cmp -i "$from" -n $(($(sectors "$1" $number) * 512)) "$1" "$2" || return 1
    done
}

listed() {
    debugfs -R "ls -p \"$3\"" "$(part "$1" "$2")" 2>/dev/null | cut -d/ -f6 | grep -vxE '|\.|\.\.|lost\+found'
}

without_secret() {
    ! dd if="$1" bs=1M iflag=skip_bytes skip=$(($(start "$1" 2) * 512)) status=none | grep -aF -- "$secret" >/dev/null
}

nobody_logs_in() {
    not grep -vE '^[^:]+:[!*]' <(show "$(part "$1" 2)" /etc/shadow)
}

# manual SCRIPT IMAGE [VENDOR_IMAGE]: the command of that script as the manual for installers gives it, with these files.
manual() {
    local command
    command=$(sed -n "s|^sudo provisioning/image/$1 |$1 |p" "$here/../README.md")
    command=${command//kitchen-agent_arm64.deb/$package}
    command=${command//vendor.img/${3:-}}
    # shellcheck disable=SC2086
    "$here/"${command//kitchen.img/$2}
}

test_board() {
    local file unit one=$work/one.img two=$work/two.img other=$work/other.img
    build() {
        "$here/build.sh" --package "$package" --config "$work/config.toml" "$@" >/dev/null
    }
    build --claim "$work/claim.toml" --out "$one" --fresh
    build --claim "$work/claim.toml" --out "$two" --fresh
    build --claim "$work/other-claim.toml" --out "$other"
    expect 'same inputs, same image' cmp "$one" "$two"
    expect 'as the manual says' manual build.sh "$work/manual.img"
    expect 'another claim and configuration change nothing but the firmware partition' \
        unchanged_parts "$one" "$work/manual.img"
    expect 'its sum stands beside it' bash -c "cd '$work' && sha256sum -c one.img.sha256"
    expect 'the packages with their versions stand beside it' \
        grep -E '^(kitchen-agent|raspi-firmware|linux-image-.*) [0-9]' "$one.packages"
    expect 'another claim changes nothing but the firmware partition' unchanged_parts "$one" "$other"
    expect 'the table has a FAT and two Linux partitions' is \
        "$(sfdisk -d "$one" | sed -n 's/.*type=\([^,]*\).*/\1/p' | paste -sd' ')" 'c 83 83'
    expect 'the state is last' is \
        $((($(start "$one" 3) + $(sectors "$one" 3)) * 512)) "$(stat -c %s "$one")"
    expect 'the firmware partition is FAT32, and called KITCHEN' is \
        "$(blkid -p -O $(($(start "$one" 1) * 512)) -o value -s VERSION -s LABEL "$one" | sort | paste -sd' ')" \
        'FAT32 KITCHEN'
    for file in start4.elf fixup4.dat config.txt cmdline.txt vmlinuz initrd.img bcm2711-rpi-4-b.dtb \
        bootcode.bin start.elf fixup.dat bcm2837-rpi-3-b.dtb LICENCE.firmware; do
        expect "a board finds $file" grep -aq . <(on_fat "$one" "$file")
    done
    expect 'config.txt is for 64 bit' grep -x arm_64bit=1 <(on_fat "$one" config.txt)
    expect 'the kernel finds its root and comes back after a panic' grep -E 'root=LABEL=kitchen-root .*panic=10' \
        <(on_fat "$one" cmdline.txt)
    expect 'the kernel is one for ARM' is "$(on_fat "$one" vmlinuz 2>/dev/null | od -An -c -j56 -N4 | tr -d ' \n')" ARMd
    expect 'the claim is on the card' cmp "$work/claim.toml" <(on_fat "$one" kitchen-claim.toml)
    expect 'the configuration is on the card' cmp "$work/config.toml" <(on_fat "$one" kitchen-agent.toml)
    expect 'the claim is nowhere else' without_secret "$one"
    expect 'the root is sound' clean "$(part "$one" 2)"
    expect 'the state is sound' clean "$(part "$one" 3)"
    expect 'the root is called kitchen-root' is "$(field "$(part "$one" 2)" 'Filesystem volume name')" kitchen-root
    expect 'the state is called kitchen-state' is "$(field "$(part "$one" 3)" 'Filesystem volume name')" kitchen-state
    expect 'dpkg knows the package' bash -c "$(declare -f show); show '$(part "$one" 2)' /var/lib/dpkg/status |
        sed -n '/^Package: kitchen-agent\$/,/^\$/p' | grep -x 'Status: install ok installed'"
    expect 'the program is there' there "$one" 2 /usr/bin/kitchen-agent
    for unit in kitchen-agent.service systemd-networkd.service; do
        expect "$unit is enabled" there "$one" 2 "/etc/systemd/system/multi-user.target.wants/$unit"
    done
    expect 'the time service is enabled' \
        there "$one" 2 /etc/systemd/system/sysinit.target.wants/systemd-timesyncd.service
    expect 'the first boot is taken care of' bash -c "! dpkg-deb -c '$package' | grep kitchen-first-boot.service ||
        [ -n '$(listed "$one" 2 /etc/systemd/system/multi-user.target.wants | grep kitchen-first-boot || true)' ]"
    expect 'the state grows before it is mounted' there "$one" 2 \
        '/etc/systemd/system/var-lib-kitchen\x2dagent.mount.wants/kitchen-grow-state.service'
    expect 'no timer of apt costs traffic' is "$(stands "$one" 2 /etc/systemd/system/apt-daily.timer)" \
        'symlink 0777 0:0 9 /dev/null'
    expect 'the machine has no identity yet' is "$(stands "$one" 2 /etc/machine-id)" 'regular 0644 0:0 0'
    expect 'nobody can log in' nobody_logs_in "$one"
    expect 'no login server is there' not there "$one" 2 /usr/sbin/sshd
    expect 'no file of a host key' not bash -c "[ -n '$(listed "$one" 2 /etc/ssh | grep ssh_host || true)' ]"
    expect 'no logs' is "$(listed "$one" 2 /var/log)" ''
    expect 'no caches' is "$(listed "$one" 2 /var/cache/apt)$(listed "$one" 2 /var/cache/ldconfig)" ''
    expect 'no sources' is "$(listed "$one" 2 /var/lib/apt)$(listed "$one" 2 /etc/apt/sources.list.d)" ''
    expect 'no random seed' not there "$one" 2 /var/lib/systemd/random-seed
    expect 'nothing is swapped' not holds "$one" 2 /etc/fstab swap
    expect 'the firmware partition is mounted for root alone' \
        holds "$one" 2 /etc/fstab '/boot/firmware +vfat .*umask=0077.*nofail'
    expect 'the journal is kept and small' holds "$one" 2 /etc/systemd/journald.conf.d/kitchen.conf SystemMaxUse=64M
    expect 'dpkg waits for the card' is "$(listed "$one" 2 /etc/dpkg/dpkg.cfg.d)" kitchen
    expect 'nothing tells of the machine that made it' not there "$one" 2 /etc/.resolv.conf.systemd-resolved.bak
    expect 'licences are there' there "$one" 2 /usr/share/doc/libc6/copyright
    expect 'no manuals' not there "$one" 2 /usr/share/man/man1/dpkg.1.gz
    expect 'with a claim, it is for its owner alone' is "$(stat -c %a "$one")" 600
    expect 'a claim that is not there is refused' refuses 2 "can't be read" \
        "$here/build.sh" --package "$package" --claim "$work/nothing" --out "$work/refused"
    expect 'another package is refused' refuses 2 'no package of kitchen-agent' \
        "$here/build.sh" --package "$work/claim.toml" --out "$work/refused"
    expect 'a wrong argument is refused' refuses 64 'unknown argument' "$here/build.sh" --pakage x
    expect 'a private key is refused' refuses 2 'no public key' \
        "$here/build.sh" --package "$package" --ssh-key "$work/claim.toml" --out "$work/refused"
}

# make_vendor IMAGE gpt|mbr ROOT_MIB [SED]: a vendor's image as boards' vendors make them; SED changes dpkg's status.
make_vendor() {
    local image=$1 kind=$2 root_mib=$3 tree=$work/vendor-root boot_start=32768 boot_mib=32
    rm -f "$image" "$image.root" "$image.fat"
    cp "$work/status" "$tree/var/lib/dpkg/status"
    sed -i "${4:-}" "$tree/var/lib/dpkg/status"
    truncate -s ${boot_mib}M "$image.fat"
    truncate -s "${root_mib}M" "$image.root"
    truncate -s $((16 + boot_mib + root_mib + 4))M "$image"
    mkdir -p "$tree/boot/firmware" "$tree/config"
    if [ "$kind" = gpt ]; then
        mkfs.vfat -n CONFIG "$image.fat" >/dev/null
        printf 'LABEL=rootfs / ext4 defaults 0 1\nLABEL=CONFIG /config vfat defaults 0 2\n' >"$tree/etc/fstab"
        printf '%s\n' 'label: gpt' "start=$boot_start, size=${boot_mib}M, name=config, type=uefi" \
            "size=${root_mib}M, name=rootfs, type=linux" | sfdisk -q "$image"
    else
        mkfs.vfat -n BOOTFS "$image.fat" >/dev/null
        printf '%s\n' '# made up' 'proc /proc proc defaults 0 0' 'PARTUUID=c0ffee11-01 /boot/firmware vfat defaults 0 2' \
            'PARTUUID=c0ffee11-02 / ext4 defaults,noatime 0 1' >"$tree/etc/fstab"
        printf '%s\n' 'label: dos' 'label-id: 0xc0ffee11' "start=$boot_start, size=${boot_mib}M, type=c" \
            "size=${root_mib}M, type=83" | sfdisk -q "$image"
    fi
    mke2fs -q -F -t ext4 -L rootfs -d "$tree" "$image.root"
    dd if="$image.fat" of="$image" bs=512 seek=$boot_start conv=notrunc,sparse status=none
    dd if="$image.root" of="$image" bs=512 seek="$(start "$image" 2)" conv=notrunc,sparse status=none
    rm "$image.root" "$image.fat"
}

into() {
    "$here/into-vendor.sh" "$@" --package "$package" --claim "$work/claim.toml" --config "$work/config.toml"
}

vendor_is_refused() {
    local image=$1 text=$2
    refuses 1 "$text" into "$image" --out "$work/refused.img"
}

# What the board would do at its first boot, in a chroot; at the second there is nothing left to do.
installs_itself() {
    local tree=$work/installed
    rm -rf "$tree"
    mkdir "$tree"
    tar -xpf "$root_tar" -C "$tree"
    debugfs -R "rdump /var/lib/kitchen-install $tree/var/lib" "$(part "$1" 2)" 2>/dev/null
    debugfs -R "rdump /etc/systemd/system $tree/etc/systemd" "$(part "$1" 2)" 2>/dev/null
    chroot "$tree" /var/lib/kitchen-install/install
    dpkg-query --admindir="$tree/var/lib/dpkg" -W -f '${db:Status-Status}\n' kitchen-agent | grep -x installed
    [ -L "$tree/etc/systemd/system/multi-user.target.wants/kitchen-agent.service" ]
    [ ! -e "$tree/var/lib/kitchen-install" ]
    [ ! -L "$tree/etc/systemd/system/multi-user.target.wants/kitchen-install.service" ]
}

# A power cut between unpacking and configuring.
goes_on_after_a_cut() {
    local tree=$work/installed
    rm -rf "$tree"
    mkdir "$tree"
    tar -xpf "$root_tar" -C "$tree"
    debugfs -R "rdump /var/lib/kitchen-install $tree/var/lib" "$(part "$1" 2)" 2>/dev/null
    chroot "$tree" dpkg --unpack /var/lib/kitchen-install/kitchen-agent.deb
    chroot "$tree" /var/lib/kitchen-install/install
    dpkg-query --admindir="$tree/var/lib/dpkg" -W -f '${db:Status-Status}\n' kitchen-agent | grep -x installed
}

test_vendor() {
    local kind image made sum
    root_tar=$("$repository/tests/vm/image.sh")/root.tar
    rm -rf "$work/vendor-root"
    mkdir -p "$work/vendor-root"
    tar -xpf "$root_tar" -C "$work/vendor-root" --exclude='./dev/*'
    cp "$work/vendor-root/var/lib/dpkg/status" "$work/status"
    for kind in gpt mbr; do
        image=$work/$kind.img made=$work/$kind-made.img
        make_vendor "$image" $kind 700
        sum=$(sha256sum <"$image")
        expect "$kind: the package goes into it" into "$image" --out "$made"
        expect "$kind: the vendor's image is as it was" is "$(sha256sum <"$image")" "$sum"
        expect "$kind: the same again" into "$image" --out "$made.again"
        expect "$kind: same inputs, same image" cmp "$made" "$made.again"
        expect "$kind: its sum stands beside it" bash -c "cd '$work' && sha256sum -c $kind-made.img.sha256"
        expect "$kind: the table is as it was" is "$(table "$made")" "$(table "$image")"
        expect "$kind: the root is sound" clean "$(part "$made" 2)"
        expect "$kind: the package is in it" \
            cmp "$package" <(show "$(part "$made" 2)" /var/lib/kitchen-install/kitchen-agent.deb)
        expect "$kind: the installer can be run" is \
            "$(stands "$made" 2 /var/lib/kitchen-install/install | cut -d' ' -f1-3)" 'regular 0755 0:0'
        expect "$kind: it is enabled" is \
            "$(stands "$made" 2 /etc/systemd/system/multi-user.target.wants/kitchen-install.service)" \
            'symlink 0777 0:0 26 ../kitchen-install.service'
        expect "$kind: the vendor's own files are there" holds "$made" 2 /etc/fstab ' / '
        expect "$kind: as the manual says" manual into-vendor.sh "$made.again" "$image"
        rm "$made.again" "$made.again.sha256"
    done
    expect 'gpt: the claim lies in /boot, for root alone' is \
        "$(stands "$work/gpt-made.img" 2 /boot/kitchen-claim.toml | cut -d' ' -f1-3)" 'regular 0600 0:0'
    expect 'gpt: it is the claim' \
        cmp "$work/claim.toml" <(show "$(part "$work/gpt-made.img" 2)" /boot/kitchen-claim.toml)
    expect 'mbr: the claim lies where a laptop shows it' \
        cmp "$work/claim.toml" <(on_fat "$work/mbr-made.img" kitchen-claim.toml)
    expect 'mbr: the configuration too' cmp "$work/config.toml" <(on_fat "$work/mbr-made.img" kitchen-agent.toml)
    expect 'mbr: the claim is nowhere else' without_secret "$work/mbr-made.img"
    run_foreign_programs
    expect 'it installs itself, and is gone' installs_itself "$work/mbr-made.img"
    expect 'cut off, it installs itself all the same' goes_on_after_a_cut "$work/mbr-made.img"
    forget_foreign_programs
    test_refusals
}

test_refusals() {
    local image=$work/broken.img
    expect 'an image that has it already is refused' vendor_is_refused "$work/mbr-made.img" 'already in'
    head -c 100000 "$work/gpt.img" | xz -0 >"$image"
    expect 'a packed one is refused' vendor_is_refused "$image" 'is packed'
    expect 'and told how to unpack it' grep unxz "$work/refusal"
    head -c 5000000 /dev/zero >"$image"
    expect 'one without partitions is refused' vendor_is_refused "$image" 'no partition table'
    head -c 300M "$work/gpt.img" >"$image"
    expect 'one cut short is refused' vendor_is_refused "$image" 'is cut short'
    make_vendor "$image" mbr 700 '/^Package: systemd$/,/^$/s/^Version: .*/Version: 241-7/'
    expect 'an old systemd is refused' vendor_is_refused "$image" 'systemd 241-7; 245 is needed'
    make_vendor "$image" mbr 700 '/^Package: libc6$/,/^$/s/^Version: .*/Version: 2.28-10/'
    expect 'an old glibc is refused' vendor_is_refused "$image" 'glibc 2.28-10; 2.30 is needed'
    make_vendor "$image" mbr 700 '/^Package: libstdc++6$/,/^$/d'
    expect 'one that lacks a library is refused' vendor_is_refused "$image" 'lacks what the package needs: libstdc++6'
    cp "$work/mbr.img" "$image"
    printf 'cd /usr/bin\nrm dash\nwrite /bin/dash dash\n' | edit "$(part "$image" 2)"
    expect 'one for another machine is refused' vendor_is_refused "$image" 'not for arm64'
    cp "$work/mbr.img" "$image"
    printf 'ID=fedora\nPRETTY_NAME="Fedora"\n' >"$work/release"
    printf 'cd /usr/lib\nrm os-release\nwrite "%s" os-release\n' "$work/release" | edit "$(part "$image" 2)"
    expect 'another system is refused' vendor_is_refused "$image" 'Fedora, neither Debian nor Ubuntu'
    cp "$work/mbr.img" "$image"
    head -c $(($(field "$(part "$image" 2)" 'Free blocks') * $(field "$(part "$image" 2)" 'Block size') - 4000000)) \
        /dev/urandom >"$work/filler"
    printf 'write "%s" filler\n' "$work/filler" | edit "$(part "$image" 2)"
    rm "$work/filler"
    expect 'a full one is refused' vendor_is_refused "$image" 'no space'
    cp "$work/mbr.img" "$image"
    printf 'clri /usr/bin\n' | edit "$(part "$image" 2)"
    expect 'a damaged one is refused' vendor_is_refused "$image" 'has errors'
    cp "$work/mbr.img" "$image"
    # F2FS by its magic number and version alone.
    dd if=/dev/zero of="$image" bs=512 seek="$(start "$image" 2)" count=8192 conv=notrunc status=none
    printf '\x10\x20\xf5\xf2\x01\x00\x0e\x00' |
        dd of="$image" bs=1 seek=$(($(start "$image" 2) * 512 + 1024)) conv=notrunc status=none
    expect 'a root that is not ext4 is refused, by name' vendor_is_refused "$image" 'partition 2 is f2fs'
    expect 'the image itself is never written over' refuses 64 'written over' into "$work/mbr.img" --out "$work/mbr.img"
    rm -f "$image"
}

parts='board vendor' package=
while [ $# -gt 0 ]; do
    case $1 in
        --package)
            [ $# -ge 2 ] || give_up "--package needs a value" "name a package" 64
            package=$(realpath "$2")
            shift
            ;;
        board | vendor) parts=$1 ;;
        *) give_up "unknown argument $1" "test.sh [--package DEB] [board|vendor]" 64 ;;
    esac
    shift
done
[ "$(id -u)" = 0 ] || give_up "images hold files of root" "run this with sudo" 2
[ -n "$package" ] || package=$("$cross/package.sh" arm64)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$repository" log -1 --format=%ct)}
export SOURCE_DATE_EPOCH LC_ALL=C.UTF-8 PATH=$PATH:/usr/sbin:/sbin
missing=()
has sfdisk || missing+=(fdisk)
has mkfs.vfat || missing+=(dosfstools)
has mcopy || missing+=(mtools)
has qemu-aarch64-static || missing+=(qemu-user-static)
install_packages "${missing[@]}"
mkdir -p "$work"
source "$here/ext4.sh"
source "$cross/foreign.sh"
trap forget_foreign_programs EXIT
printf 'secret = "%s"\n' "$secret" >"$work/claim.toml"
printf 'secret = "another"\n' >"$work/other-claim.toml"
printf '[device]\nid = ""\n' >"$work/config.toml"
for one in $parts; do
    "test_$one"
done
[ "$failures" = 0 ] || give_up "$failures expectations failed" "read them above; the images lie in $work"
rm -rf "$work"
say "passed"
