#!/usr/bin/env bash
# enrolment.sh: a card for a Raspberry Pi with a claim on it, started on an emulated ARM board whose clock is wrong. It finds
# the claim, enrols with an authority outside of it, connects to a Mosquitto with access rights and a list of revoked
# certificates, and an alert of it is acknowledged. As root. The logs lie in target/vm/enrolment.
set -euo pipefail
source "$(dirname "$0")/image-boot.sh"

device=mh07-000123
board_serial=10000000deadbeef
work=$target/vm/enrolment
card_work=$work/card
board_clock=2001-01-01T00:00:00
district=${KITCHEN_DISTRICT:-$target/debug/kitchen-district}
servers=()

stop_servers() {
    local server
    for server in "${servers[@]}"; do
        kill "$server" 2>/dev/null || true
    done
    wait
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# 10.0.2.2 is this machine's loopback as the box sees it.
make_authority() {
    "$district" ca init --store "$work/ca" --url "https://10.0.2.2:$authority_port" --broker "mqtts://10.0.2.2:$broker_port"
    "$district" ca certificate broker --store "$work/ca" --host 10.0.2.2 --host 127.0.0.1 --out "$work"
    "$district" ca certificate district --store "$work/ca" --out "$work"
    printf '标签,乡镇,餐饮单位,许可证号,摄像头\n%s,青山镇,老王火锅,JY13301000001,灶台\n' "$device" >"$work/sites.csv"
    "$district" batch "$work/sites.csv" --store "$work/ca" --out "$work/batch"
    "$district" ca import "$work/batch/manifest.json" --store "$work/ca"
    "$district" ca serve --store "$work/ca" --listen "127.0.0.1:$authority_port" --json \
        >"$work/authority.out" 2>"$work/authority.log" &
    servers+=($!)
}

start_broker() {
    cat >"$work/access" <<'ACCESS'
pattern write kitchen/v1/%u/up/#
pattern read kitchen/v1/%u/down/#

user district
topic read kitchen/v1/+/up/#
topic write kitchen/v1/+/down/#
ACCESS
    cat >"$work/mosquitto.conf" <<BROKER
user root
log_dest stderr
max_packet_size 1048576
listener $broker_port 127.0.0.1
cafile $work/ca/ca.pem
crlfile $work/ca/crl.pem
certfile $work/broker.pem
keyfile $work/broker.key
require_certificate true
use_identity_as_username true
use_username_as_clientid true
allow_anonymous false
acl_file $work/access
BROKER
    PATH="$PATH:/usr/sbin" mosquitto -c "$work/mosquitto.conf" 2>"$work/broker.log" &
    servers+=($!)
}

start_receiver() {
    "$district" --broker "mqtts://127.0.0.1:$broker_port" --store "$work/store" --json --client-id district \
        --ca "$work/ca/ca.pem" --certificate "$work/district.pem" --key "$work/district.key" \
        >"$work/district.out" 2>"$work/district.log" &
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

seen() {
    grep -q "$2" "$1" && say "$3" || give_up "NOT: $3" "read $work/*.log and $log"
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
start_broker
start_receiver
write_configuration
"$repository/provisioning/image/build.sh" --package "$package" --claim "$work/batch/claims/$device/kitchen-claim.toml" \
    --config "$work/agent.toml" --out "$work/$device.img"
open_card "$work/$device.img"
name_board "$board_serial"
log=$work/boot.log
say "switching the box on"
started=$SECONDS
boot_card "$log" 1500 "$vm_folder/enrolment-guest.sh" || true
say "the box ran for $((SECONDS - started)) s"
grep -q '^BOX .*finished: passed' "$log" || give_up "the box did not pass" "read $log, $work/*.log"
seen "$work/authority.out" "\"detail\":\"board $board_serial.*\"event\":\"enrolled\"" "authority: the board was enrolled"
seen "$work/district.out" '"type":"alert.opened"' "district: an alert came"
"$district" ca report --enrolment --store "$work/ca" --receiver "$work/store" >&2
mtype -i "$card_fat" ::kitchen-result.txt >&2
say "passed"
