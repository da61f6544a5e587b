#!/usr/bin/env bash
# into-vendor.sh: puts the package into a vendor's Debian or Ubuntu image, where the first boot installs it, without
# running or mounting the image. For boards that Debian's own kernel does not know: RK3588 with the vendor's system,
# Raspberry Pi 5 with Raspberry Pi OS (64 bit). The vendor's image is only read. Same inputs, same image.
set -euo pipefail
source "$(dirname "$0")/../../cross/platform.sh"
platform_of arm64

here=$(cd "$(dirname "$0")" && pwd)
least_systemd=245 least_libc=2.30

usage() {
    cat <<'USAGE'
into-vendor.sh VENDOR_IMAGE --package DEB --out IMAGE [--claim FILE] [--config FILE]
Makes an image that installs kitchen-agent at its first boot.

  VENDOR_IMAGE     a whole card's image, unpacked: Debian or Ubuntu, arm64, root on ext4
  --package DEB    kitchen-agent's package for arm64 (cross/package.sh makes it)
  --out IMAGE      also written: IMAGE.sha256
  --claim FILE     goes to where the card's /boot is, as kitchen-claim.toml
  --config FILE    goes to where the card's /boot is, as kitchen-agent.toml

  provisioning/image/into-vendor.sh 2025-05-13-raspios-bookworm-arm64-lite.img --claim mh07-000123.toml \
      --package target/debian/kitchen-agent_0.1.0-1_arm64.deb --out mh07-000123.img
USAGE
}

read_arguments() {
    vendor='' package='' out='' claim='' config=''
    while [ $# -gt 0 ]; do
        case $1 in
            --help | -h)
                usage
                exit 0
                ;;
            --package | --out | --claim | --config)
                [ $# -ge 2 ] && [ -n "$2" ] || give_up "$1 needs a value" "see $0 --help" 64
                ;;
            -*) give_up "unknown argument $1" "see $0 --help" 64 ;;
            *)
                [ -z "$vendor" ] || give_up "two vendor's images: $vendor and $1" "name one" 64
                vendor=$1
                shift
                continue
                ;;
        esac
        case $1 in
            --package) package=$2 ;;
            --out) out=$2 ;;
            --claim) claim=$2 ;;
            --config) config=$2 ;;
        esac
        shift 2
    done
    [ -n "$vendor" ] || give_up "which vendor's image?" "name it; see $0 --help" 64
    [ -n "$package" ] || give_up "which package goes into the image?" "name it with --package" 64
    [ -n "$out" ] || give_up "where does the image go?" "name it with --out" 64
}

check_arguments() {
    local file
    for file in "$vendor" "$package" "$claim" "$config"; do
        [ -z "$file" ] || { [ -f "$file" ] && [ -r "$file" ]; } || give_up "$file can't be read" "check its name" 2
    done
    [ -d "$(dirname "$out")" ] || give_up "there is no folder $(dirname "$out")" "make it, or choose another --out" 2
    [ ! "$vendor" -ef "$out" ] || give_up "the vendor's image would be written over" "choose another --out" 64
    [ "$(dpkg-deb -f "$package" Package 2>/dev/null)" = kitchen-agent ] ||
        give_up "$package is no package of kitchen-agent" "make one with cross/package.sh arm64" 2
    [ "$(dpkg-deb -f "$package" Architecture)" = "$debian" ] ||
        give_up "$package is for another machine" "make one with cross/package.sh arm64" 2
}

install_tools() {
    local missing=()
    has sfdisk || missing+=(fdisk)
    has debugfs || missing+=(e2fsprogs)
    has mcopy || missing+=(mtools)
    install_packages "${missing[@]}"
}

check_unpacked() {
    local start unpack=
    start=$(head -c 6 "$vendor" | od -An -tx1 | tr -d ' \n')
    case $start in
        fd377a585a00) unpack=unxz ;;
        1f8b*) unpack=gunzip ;;
        28b52ffd*) unpack=unzstd ;;
        425a68*) unpack=bunzip2 ;;
        504b0304*) unpack=unzip ;;
        377abcaf271c) unpack='7z x' ;;
    esac
    [ -z "$unpack" ] || give_up "$vendor is packed" "unpack it first: $unpack $vendor"
}

# Arrays by a partition's number: start in sectors, UUID of the partition, kind and names of its content.
read_table() {
    local table number start size rest disk_id
    table=$(sfdisk -d "$vendor" 2>/dev/null) ||
        give_up "$vendor is no image of a card: it has no partition table" "take the vendor's image for a card or eMMC"
    disk_id=$(sed -n 's/^label-id: *\(0x\)\?//p' <<<"$table")
    declare -gA starts=() partition_uuids=() kinds=() labels=() uuids=()
    while read -r number start size rest; do
        case $rest, in
            *type=5,* | *type=f,* | *type=85,*) continue ;;
            # What is seen of a GPT whose second copy, at the image's end, is not there.
            *type=ee,*) size=$(stat -c %s "$vendor") ;;
        esac
        [ $(((start + size) * 512)) -le "$(stat -c %s "$vendor")" ] ||
            give_up "$vendor is cut short: partition $number reaches beyond its end" "download or unpack it again"
        starts[$number]=$start
        partition_uuids[$number]=$(sed -n 's/.*uuid=\([^,]*\).*/\1/p' <<<"$rest")
        [ -n "${partition_uuids[$number]}" ] || printf -v "partition_uuids[$number]" '%s-%02x' "$disk_id" "$number"
        kinds[$number]=$(content "$start" TYPE)
        labels[$number]=$(content "$start" LABEL)
        uuids[$number]=$(content "$start" UUID)
    done < <(sed -nE 's/^.*[^0-9]([0-9]+) : start= *([0-9]+), size= *([0-9]+), *(.*)$/\1 \2 \3 \4/p' <<<"$table")
    [ ${#starts[@]} -gt 0 ] || give_up "$vendor has no partitions" "take the vendor's image for a card or eMMC"
}

# content START NAME: what blkid says of what begins at that sector.
content() {
    blkid -p -O $(($1 * 512)) -s "$2" -o value "$vendor" 2>/dev/null || true
}

# part IMAGE NUMBER: a partition as e2fsprogs names it.
part() {
    printf '%s?offset=%s' "$1" $((${starts[$2]} * 512))
}

find_root() {
    local number others=
    root=
    for number in $(printf '%s\n' "${!starts[@]}" | sort -n); do
        case ${kinds[$number]} in
            ext[234]) [ -z "$(show "$(part "$vendor" "$number")" /usr/lib/os-release)" ] || root=${root:-$number} ;;
            btrfs | f2fs | xfs | squashfs | erofs | crypto_LUKS | LVM2_member)
                others="$others, partition $number is ${kinds[$number]}"
                ;;
        esac
    done
    [ -n "$root" ] ||
        give_up "no partition of $vendor is a root on ext4$others" "take the vendor's Debian or Ubuntu on ext4"
    say "the root is partition $root"
}

# installed NAME: its version in the vendor's system; nothing when it is not installed.
installed() {
    awk -v name="$1" '
        /^Package: / { this = $2 == name; ok = 0 }
        this && /^Status: .* installed$/ { ok = 1 }
        this && ok && /^Version: / { print $2; exit }' "$work/status"
}

check_system() {
    local from release program libc systemd
    from=$(part "$vendor" "$root")
    clean "$from" || give_up "the root of $vendor has errors, or was not unmounted: $(tail -1 "$work/e2fsck.log")" \
        "download it again; if it stays so, mend a copy with e2fsck -fy"
    release=$(show "$from" /usr/lib/os-release)
    name=$(sed -n 's/^PRETTY_NAME="\?\([^"]*\)"\?$/\1/p' <<<"$release")
    grep -qE '^(ID|ID_LIKE)="?(.* )?(debian|ubuntu)( |"|$)' <<<"$release" ||
        give_up "this is ${name:-an unknown system}, neither Debian nor Ubuntu" "take the vendor's Debian or Ubuntu"
    for program in /usr/bin/dash /bin/dash; do
        debugfs -R "dump \"$program\" \"$work/dash\"" "$from" >/dev/null 2>&1 || true
        [ ! -s "$work/dash" ] || break
    done
    # ELF, 64 bit, little-endian, of machine 183.
    [ "$(head -c 20 "$work/dash" 2>/dev/null | od -An -tx1 | tr -d ' \n' | sed 's/^\(.\{12\}\).*\(.\{4\}\)$/\1\2/')" = \
        7f454c460201b700 ] || give_up "$name in this image is not for arm64" "take the vendor's 64 bit image"
    show "$from" /var/lib/dpkg/status >"$work/status"
    systemd=$(installed systemd)
    libc=$(installed libc6)
    [ -n "$systemd" ] && dpkg --compare-versions "$systemd" ge "$least_systemd" ||
        give_up "$name has systemd ${systemd:-of no version}; $least_systemd is needed" "take a newer image"
    [ -n "$libc" ] && dpkg --compare-versions "$libc" ge "$least_libc" ||
        give_up "$name has glibc ${libc:-of no version}; $least_libc is needed" "take a newer image of the vendor's"
    [ -z "$(installed kitchen-agent)" ] && ! there "$from" /var/lib/kitchen-install ||
        give_up "kitchen-agent is already in $vendor" "start from the image as the vendor gives it"
    say "$name, systemd $systemd, glibc $libc"
}

# there FILE_SYSTEM PATH
there() {
    debugfs -R "stat \"$2\"" "$1" 2>/dev/null | grep '^Inode:' >/dev/null
}

# The first boot installs without a network: all that the package needs must be there.
check_dependencies() {
    local group dependency wanted relation have met lacking=
    while IFS= read -r group; do
        met=
        while read -r dependency relation wanted; do
            have=$(installed "${dependency%%:*}")
            [ -n "$have" ] || continue
            [ -z "$relation" ] || dpkg --compare-versions "$have" "$relation" "$wanted" || continue
            met=yes
        done < <(tr '|' '\n' <<<"$group" | tr -d '()')
        [ -n "$met" ] || lacking="$lacking,$group"
    done < <(dpkg-deb -f "$package" Pre-Depends Depends | sed 's/^[A-Za-z-]*: *//' | tr ',' '\n' | sed '/^ *$/d')
    [ -z "$lacking" ] ||
        give_up "$name lacks what the package needs:${lacking#,}" "take a newer or fuller image of the vendor's"
}

check_space() {
    local from free_kib needed_kib
    from=$(part "$vendor" "$root")
    free_kib=$(($(field "$from" 'Free blocks') * $(field "$from" 'Block size') / 1024))
    needed_kib=$(($(stat -c %s "$package") / 1024 + $(dpkg-deb -f "$package" Installed-Size) + 16384))
    [ "$free_kib" -ge "$needed_kib" ] ||
        give_up "no space: the root has $((free_kib / 1024)) MiB free, $((needed_kib / 1024)) MiB are needed" \
            "lengthen a copy of the image and its partition, then its file system with resize2fs"
}

# A password that every owner of such a board knows lets anybody in.
warn_of_accounts() {
    local accounts
    accounts=$(show "$(part "$vendor" "$root")" /etc/shadow |
        awk -F: '$2 == "" || $2 ~ /^[$_]/ { print $1 }' | paste -sd' ')
    [ -z "$accounts" ] || say "WARNING: the vendor's password lets in: $accounts. Change or lock it on every box"
}

# mounted_at FOLDER: the number of the partition that the image's fstab mounts there.
mounted_at() {
    local spec folder rest number value
    while read -r spec folder rest; do
        [ "$folder" = "$1" ] || continue
        spec=${spec//\"/}
        value=${spec#*=}
        for number in "${!starts[@]}"; do
            case $spec in
                LABEL=*) [ "$value" = "${labels[$number]}" ] || continue ;;
                UUID=*) [ "${value,,}" = "${uuids[$number],,}" ] || continue ;;
                PARTUUID=*) [ "${value,,}" = "${partition_uuids[$number],,}" ] || continue ;;
                /dev/*) [[ $spec =~ [^0-9]0*"$number"$ ]] || continue ;;
                *) continue ;;
            esac
            echo "$number"
            return
        done
        give_up "$vendor mounts $spec at $1, and has no such partition" "take the vendor's image for a card or eMMC"
    done < <(show "$(part "$vendor" "$root")" /etc/fstab | sed '/^ *#/d')
}

# Where the agent looks for a claim: the FAT partition that a laptop shows, if the card has one.
find_boot() {
    local folder
    boot='' boot_folder=
    for folder in /boot/firmware /boot; do
        boot=$(mounted_at "$folder")
        boot_folder=$folder
        [ -z "$boot" ] || return 0
    done
    boot=$root
    there "$(part "$vendor" "$root")" /boot || give_up "$vendor has no /boot" "take another image of the vendor's"
}

# give NAME FILE: onto the card, for the agent's first boot.
give() {
    [ -n "$2" ] || return 0
    case ${kinds[$boot]} in
        vfat)
            cp "$2" "$work/$1"
            touch -d "@$SOURCE_DATE_EPOCH" "$work/$1"
            TZ=UTC mcopy -m -i "$out.new@@$((${starts[$boot]} * 512))" "$work/$1" "::$1" >&2 ||
                give_up "$1 does not fit onto partition $boot" "take another image of the vendor's"
            ;;
        ext[234])
            if [ "$boot" = "$root" ]; then echo "cd $boot_folder"; fi >"$work/commands"
            place "$2" "$1" 0100600 >>"$work/commands"
            edit "$(part "$out.new" "$boot")" <"$work/commands"
            ;;
        *)
            give_up "$boot_folder of $vendor is on ${kinds[$boot]:-an unknown file system}" \
                "take another image of the vendor's"
            ;;
    esac
    say "$1 lies in $boot_folder of partition $boot"
}

# place FILE NAME MODE: debugfs's commands that put it into the folder it is in.
place() {
    cp "$1" "$work/$2"
    cat <<COMMANDS
write "$work/$2" $2
set_inode_field $2 mode $3
set_inode_field $2 uid 0
set_inode_field $2 gid 0
COMMANDS
}

install_at_first_boot() {
    local to folder
    to=$(part "$out.new" "$root")
    for folder in etc/systemd/system-preset etc/systemd/system/multi-user.target.wants var/lib/kitchen-install; do
        there "$to" "/$folder" || echo "mkdir /$folder"
    done | edit "$to"
    # A vendor's presets may disable what they don't name, and are applied at a first boot.
    echo 'enable kitchen-install.service' >"$work/preset"
    {
        echo 'cd /var/lib/kitchen-install'
        place "$package" kitchen-agent.deb 0100644
        place "$here/vendor/install" install 0100755
        echo 'cd /etc/systemd/system'
        place "$here/vendor/kitchen-install.service" kitchen-install.service 0100644
        echo 'cd /etc/systemd/system-preset'
        place "$work/preset" 00-kitchen-install.preset 0100644
        echo 'cd /etc/systemd/system/multi-user.target.wants'
        echo 'symlink kitchen-install.service ../kitchen-install.service'
    } | edit "$to"
}

check_result() {
    local number
    for number in "$root" "$boot"; do
        case ${kinds[$number]} in
            ext[234]) clean "$(part "$out.new" "$number")" || give_up \
                "partition $number has errors after it was written: $(tail -1 "$work/e2fsck.log")" "check this machine" ;;
        esac
    done
    debugfs -R "dump /var/lib/kitchen-install/kitchen-agent.deb \"$work/back.deb\"" \
        "$(part "$out.new" "$root")" 2>/dev/null
    cmp -s "$package" "$work/back.deb" ||
        give_up "the package did not get into the image whole" "check the free space on this machine, and run it again"
}

tidy() {
    rm -rf "$work"
    [ -z "$out" ] || rm -f "$out.new"
}

read_arguments "$@"
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$repository" log -1 --format=%ct)}
export SOURCE_DATE_EPOCH LC_ALL=C.UTF-8 PATH=$PATH:/usr/sbin:/sbin
umask 077
check_arguments
install_tools
work=$(mktemp -d)
trap tidy EXIT
source "$here/ext4.sh"
check_unpacked
read_table
find_root
check_system
check_dependencies
check_space
find_boot
warn_of_accounts
say "copying $vendor"
cp --sparse=always "$vendor" "$out.new"
install_at_first_boot
give kitchen-claim.toml "$claim"
give kitchen-agent.toml "$config"
check_result
# A claim is worth a box.
[ -n "$claim" ] || chmod 644 "$out.new"
(cd "$(dirname "$out")" && sha256sum <"$(basename "$out").new" | sed "s|-\$|$(basename "$out")|") >"$out.sha256"
mv "$out.new" "$out"
say "$out installs kitchen-agent $(dpkg-deb -f "$package" Version) at its first boot"
echo "$out"
