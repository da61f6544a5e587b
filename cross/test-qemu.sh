#!/usr/bin/env bash
# The ARM build's behaviour, without an ARM machine: unit tests of what decides and of what sees run emulated, with the C
# library of the oldest boxes; then one video is replayed by both builds, which must raise the same alerts.
set -euo pipefail
source "$(dirname "$0")/platform.sh"

video=$repository/agent/kitchen-agent/demo/people.mp4
work=$target/cross/replay

# replay PROGRAM-PREFIX…: alerts as JSON lines.
replay() {
    "$@" replay "$video" --json --config "$work/agent.toml"
}

platform_of x86_64
x86=$("$cross/build.sh" "$machine")
platform_of aarch64
arm=$("$cross/build.sh" "$machine")
source "$tools/environment"

cd "$repository"
say "unit tests for $triple"
cargo test --locked --release --target "$triple" -p kitchen-core -p kitchen-vision --lib

say "replaying $(basename "$video") on both"
mkdir -p "$work"
cat >"$work/agent.toml" <<CONFIGURATION
[device]
id = "replay"
[detector]
models_dir = "$repository/models"
engine = "tract"
[rules.intrusion]
schedule = "00:00-24:00"
CONFIGURATION
# Each program runs where it can: the other machine's under its emulator.
runner=()
[ "$(uname -m)" = aarch64 ] || read -ra runner <<<"$CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER"
replay "$x86" >"$work/x86_64.jsonl"
replay "${runner[@]}" "$arm" >"$work/aarch64.jsonl"
python3 "$cross/same_alerts.py" "$work/x86_64.jsonl" "$work/aarch64.jsonl"
