# Sourced by the scripts beside it, after cross/platform.sh: broker and receiver outside of the emulated box. Expects
# `work`, with broker.pem, broker.key, district.pem and district.key in it, and `district`, the receiver's program.

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

# start_broker PORT CA [LINE…]: as the contract wants it; more lines go into its configuration.
start_broker() {
    local port=$1 ca=$2
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
listener $port 127.0.0.1
cafile $ca
certfile $work/broker.pem
keyfile $work/broker.key
require_certificate true
use_identity_as_username true
use_username_as_clientid true
allow_anonymous false
acl_file $work/access
BROKER
    printf '%s\n' "${@:3}" >>"$work/mosquitto.conf"
    PATH="$PATH:/usr/sbin" mosquitto -c "$work/mosquitto.conf" 2>"$work/broker.log" &
    servers+=($!)
}

# start_receiver PORT CA: what it receives goes to district.out.
start_receiver() {
    "$district" --broker "mqtts://127.0.0.1:$1" --store "$work/store" --json --client-id district \
        --ca "$2" --certificate "$work/district.pem" --key "$work/district.key" \
        >"$work/district.out" 2>"$work/district.log" &
    servers+=($!)
}

# seen FILE TEXT WHAT: whether a server has told of it.
seen() {
    grep -q "$2" "$work/$1" && say "$3" || give_up "NOT: $3" "read $log and $work/*.log"
}
