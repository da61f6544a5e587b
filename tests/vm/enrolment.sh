#!/usr/bin/env bash
# enrolment.sh [DEB]: cards for a Raspberry Pi, started on an emulated ARM board whose clock is wrong: one with a claim on it,
# one without whose claim comes on a USB stick. They find it, enrol with an authority outside of them, connect to a Mosquitto
# with access rights and a list of revoked certificates, and an alert of each is acknowledged. As root. The logs lie in
# target/vm/enrolment.
set -euo pipefail
source "$(dirname "$0")/image-boot.sh"
source "$vm_folder/servers.sh"

device=mh07-000123
board_serial=10000000deadbeef
other_device=mh07-000124
other_board_serial=10000000cafebabe
work=$target/vm/enrolment
card_work=$work/card
board_clock=2001-01-01T00:00:00
district=${KITCHEN_DISTRICT:-$target/debug/kitchen-district}

# 10.0.2.2 is this machine's loopback as the box sees it.
make_authority() {
    "$district" ca init --store "$work/ca" --url "https://10.0.2.2:$authority_port" --broker "mqtts://10.0.2.2:$broker_port"
    "$district" ca certificate broker --store "$work/ca" --host 10.0.2.2 --host 127.0.0.1 --out "$work"
    "$district" ca certificate district --store "$work/ca" --out "$work"
    printf '标签,乡镇,餐饮单位,许可证号,摄像头\n%s,青山镇,老王火锅,JY13301000001,灶台\n%s,青山镇,小李面馆,JY13301000002,灶台\n' \
        "$device" "$other_device" >"$work/sites.csv"
    "$district" batch "$work/sites.csv" --store "$work/ca" --out "$work/batch"
    "$district" ca import "$work/batch/manifest.json" --store "$work/ca"
    "$district" ca serve --store "$work/ca" --listen "127.0.0.1:$authority_port" --json \
        >"$work/authority.out" 2>"$work/authority.log" &
    servers+=($!)
}

# A camera that is not there is an alert, too.
write_configuration() {
    cat >"$work/agent.toml" <<'CONFIGURATION'
[device]
id = ""
[[camera]]
id = "stove"
url = "rtsp://10.0.2.2:9/none"
CONFIGURATION
}

# start_box DEVICE SERIAL FAT: switches the card on in a board of that serial; the result is to lie in FAT.
start_box() {
    local started=$SECONDS log=$work/$1.log
    name_board "$2"
    say "switching $1 on"
    boot_card "$log" 1500 "$vm_folder/enrolment-guest.sh" || true
    say "the box ran for $((SECONDS - started)) s"
    grep -q '^BOX .*finished: passed' "$log" || give_up "the box did not pass" "read $log, $work/*.log"
    seen authority.out "\"detail\":\"board $2.*\"event\":\"enrolled\"" "authority: the board was enrolled"
    seen district.out "\"device\":\"$1\".*\"type\":\"alert.opened\"" "district: an alert of $1 came"
    mtype -i "$3" ::kitchen-result.txt >&2
}

missing=()
has mosquitto || missing+=(mosquitto)
install_packages "${missing[@]}"
install_board
[ -x "$district" ] || (cd "$repository" && cargo build --locked -p kitchen-district)
package=${1:-$("$cross/package.sh" arm64)}
rm -rf "$work"
mkdir -p "$work" "$card_work"
trap stop_servers EXIT
authority_port=$(free_port) broker_port=$(free_port)
make_authority
start_broker "$broker_port" "$work/ca/ca.pem" "crlfile $work/ca/crl.pem"
start_receiver "$broker_port" "$work/ca/ca.pem"
write_configuration
"$repository/provisioning/image/build.sh" --package "$package" --claim "$work/batch/claims/$device/kitchen-claim.toml" \
    --config "$work/agent.toml" --out "$work/$device.img"

open_card "$work/$device.img"
start_box "$device" "$board_serial" "$card_fat"

open_card "$work/$device.img"
mdel -i "$card_fat" ::kitchen-claim.toml
plug_in_stick "$work/batch/claims/$other_device/kitchen-claim.toml" kitchen-claim.toml
start_box "$other_device" "$other_board_serial" "$stick_fat"

"$district" ca report --enrolment --store "$work/ca" --receiver "$work/store" >&2
say "passed"
