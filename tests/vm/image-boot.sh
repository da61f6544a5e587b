#!/usr/bin/env bash
# image-boot.sh IMAGE: starts the card that provisioning/image/build.sh made on an emulated ARM board: its own kernel,
# initrd, command line and root, on a larger card than the image is long. The first start is cut off while the state
# grows; fails unless the box passes everything in image-guest.sh at the next two. The consoles' logs lie in
# target/vm/image. Sourced, it gives the functions and does nothing: install_board, open_card, put_on_card,
# plug_in_stick, name_board, boot_card, cut_power.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../cross/platform.sh"
platform_of aarch64

vm_folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# What a later boot_card is to use; may be changed in between.
card_work=$target/vm/image
card_mib=4096
board_memory_mib=1024
# What the board's clock says when it is switched on, as for QEMU's -rtc base=. Real boards have none.
board_clock=utc

install_board() {
    local missing=()
    has qemu-system-aarch64 || missing+=(qemu-system-arm)
    has mcopy || missing+=(mtools)
    has fdtput || missing+=(device-tree-compiler)
    has sfdisk || missing+=(fdisk)
    has mkfs.vfat || missing+=(dosfstools)
    install_packages "${missing[@]}"
}

# open_card IMAGE: a copy of it, as long as a card is, and beside it what the board's firmware would load.
open_card() {
    local file sector
    mkdir -p "$card_work"
    sector=$(PATH=$PATH:/usr/sbin:/sbin sfdisk -d "$1" | sed -n 's/.*1 : start= *\([0-9]*\),.*/\1/p' | head -1)
    [ -n "$sector" ] || give_up "$1 is no card's image" "make one with provisioning/image/build.sh" 2
    card_fat=$card_work/card@@$((sector * 512))
    cp --sparse=always "$1" "$card_work/card"
    truncate -s "${card_mib}M" "$card_work/card"
    for file in vmlinuz initrd.img cmdline.txt; do
        mcopy -n -o -i "$card_fat" "::$file" "$card_work/$file"
    done
}

# put_on_card FILE NAME: into the partition that a laptop shows.
put_on_card() {
    mcopy -o -i "$card_fat" "$1" "::$2"
}

# plug_in_stick FILE NAME: a stick in the board's USB port that holds that file alone, from the next boot_card on.
plug_in_stick() {
    local stick=$card_work/stick
    rm -f "$stick"
    truncate -s 64M "$stick"
    echo 'start=2048, type=c' | PATH=$PATH:/usr/sbin:/sbin sfdisk -q "$stick"
    PATH=$PATH:/usr/sbin:/sbin mkfs.vfat --offset 2048 "$stick" $((63 * 1024)) >/dev/null
    stick_fat=$stick@@$((2048 * 512))
    mcopy -i "$stick_fat" "$1" "::$2"
}

board() {
    local stick=()
    [ ! -e "$card_work/stick" ] || stick=(-device qemu-xhci
        -drive "file=$card_work/stick,format=raw,if=none,id=stick" -device usb-storage,drive=stick)
    qemu-system-aarch64 -M "virt$1" -cpu cortex-a72 -smp 2 -accel tcg,thread=multi -m "$board_memory_mib" \
        -display none -monitor none -serial stdio -no-reboot -pidfile "$card_work/board.pid" -rtc "base=$board_clock" \
        -netdev user,id=net -device virtio-net-device,netdev=net \
        -drive "file=$card_work/card,format=raw,if=none,id=card" -device virtio-blk-device,drive=card \
        -drive "file=$card_work/job,format=raw,if=none,id=job,readonly=on" \
        -device virtio-blk-device,drive=job,serial=job \
        "${stick[@]}" "${@:2}"
}

# name_board SERIAL: gives the board a serial number, where a Raspberry Pi has its own.
name_board() {
    : >"$card_work/job"
    board ",dumpdtb=$card_work/board.dtb" 2>/dev/null </dev/null
    fdtput -t s "$card_work/board.dtb" / serial-number "$1"
    fdtput -t s "$card_work/board.dtb" / model 'emulated board'
}

# boot_card LOG SECONDS [JOB [ARGUMENT…]]: starts the card and waits until it has switched itself off, or for so long.
# JOB is a bash script that the box runs as root, behind guest-steps.sh, once its base is up; then it switches itself off. It comes on a disk of
# its own, so that the card stays as it is. More arguments go to the kernel. The host is 10.0.2.2 there. The status says
# nothing: what the job printed is in the log, and lines that begin with BOX are shown.
boot_card() {
    local log=$1 limit_s=$2 job=${3:-} append
    append="$(cat "$card_work/cmdline.txt") console=ttyAMA0 quiet loglevel=3 mitigations=off audit=0 ${*:4}"
    : >"$card_work/job"
    if [ -n "$job" ]; then
        cat "$vm_folder/guest-steps.sh" "$job" >"$card_work/job"
        # The unit is named because the image's own default would be taken instead.
        append+=' systemd.unit=kernel-command-line.target systemd.run="/bin/bash /dev/disk/by-id/virtio-job"'
        append+=' systemd.run_success_action=poweroff systemd.run_failure_action=poweroff'
    fi
    # A script as a disk: lines that are empty fill the last sectors.
    printf '\nexit\n' >>"$card_work/job"
    head -c $((4096 - $(stat -c %s "$card_work/job") % 4096)) /dev/zero | tr '\0' '\n' >>"$card_work/job"
    timeout "$limit_s" "${BASH_SOURCE[0]}" --board "$card_work" "$board_clock" "$board_memory_mib" \
        -dtb "$card_work/board.dtb" -kernel "$card_work/vmlinuz" -initrd "$card_work/initrd.img" -append "$append" \
        </dev/null 2>&1 | sed -u 's/\r$//; s/^.*\[ *[0-9.]*\] bash\[[0-9]*\]: //' |
        tee "$log" | grep --line-buffered '^BOX' >&2
}

# cut_power: the board is gone at once. What its kernel had not written yet is lost.
cut_power() {
    kill -9 "$(cat "$card_work/board.pid")"
}

# cut_off TEXT: starts the box, and cuts its power as soon as the log has that text.
cut_off() {
    local log=$card_work/cut-off.log
    say "switching the box on, and off at: $1"
    boot_card "$log" 600 '' systemd.journald.forward_to_console=1 systemd.mask=serial-getty@ttyAMA0.service || true &
    until grep -q "$1" "$log" 2>/dev/null; do
        kill -0 $! 2>/dev/null || give_up "the box never came to: $1" "read $log"
        sleep 0.05
    done
    cut_power
    wait
}

boot_and_check() {
    local started=$SECONDS log=$card_work/$1.log
    say "switching the box on: $1"
    boot_card "$log" 1200 "$vm_folder/image-guest.sh" || true
    say "the box ran for $((SECONDS - started)) s"
    grep -q '^BOX .*finished: passed' "$log" || give_up "the box did not pass" "read $log"
}

if [ "${BASH_SOURCE[0]}" != "$0" ]; then
    return 0
elif [ "${1:-}" = --board ]; then
    # For timeout, which starts no functions.
    card_work=$2 board_clock=$3 board_memory_mib=$4
    board '' "${@:5}"
    exit
fi
[ $# = 1 ] && [ -r "$1" ] || give_up "which image?" "name one that provisioning/image/build.sh made" 64
install_board
rm -rf "$card_work"
open_card "$1"
name_board 10000000deadbeef
board_clock=2001-01-01T00:00:00
cut_off 'growing .* MiB'
boot_and_check first-boot
boot_and_check second-boot
say "passed"
