#!/usr/bin/env bash
# The longer checks, for before a release: the tests many times over, 2000 plans of faults, 500 power cuts, 200 kills of a
# recording, 100 simulated months, 1000 years of traffic, 1000 boxes enrolled, ninety lifetimes of certificates, the fuzzers
# (on a nightly compiler), the benchmarks, how they compare with libavcodec and ONNX Runtime, and the ARM build and its
# package under emulators. Several hours, the last part as root.
# With TRAINING_DATA (a folder as models/train/README.md describes it), TRAINING_PYTHON (one with its requirements) and
# GOLDEN_VIDEO also a short run of each model's recipe.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
rounds=${ROUNDS:-10}

tests/run.sh
for round in $(seq "$rounds"); do
    printf '== survival, round %s of %s\n' "$round" "$rounds" >&2
    tests/run.sh --test survival
done
KILLS=1000 tests/run.sh --test kills --no-capture
RECORDING_KILLS=200 tests/run.sh --test recording --no-capture
POWER_CUTS=500 tests/run.sh --test store_power_cuts --no-capture
AGENT_POWER_CUTS=500 tests/run.sh --test agent_power_cuts --run-ignored all --no-capture
EVERY_FAULT=1 tests/run.sh --test disk_faults --no-capture
RENEWAL_ROUNDS=90 tests/run.sh --test identity_cuts --no-capture
ENROL_BOXES=1000 tests/run.sh --test enrolment_load --no-capture
BUDGET_SEEDS=1000 tests/run.sh --test budget_year --no-capture
MONTHS=100 tests/run.sh --test thirty_days --no-capture
PROPTEST_CASES=20000 tests/run.sh --test outbox_model --test scheduler_model --test transfer_model
FAULT_SCHEDULES=2000 FAULT_LINK_ROUNDS=5 tests/run.sh --test broker_schedules --test link
tests/fuzz/run.sh "${FUZZ_SECONDS:-300}"
cargo build --release --workspace --bins
# One of the benchmarks compares with it.
command -v motion >/dev/null || (source cross/platform.sh && install_packages motion)
cargo bench -p kitchen-end-to-end
"$target/test-python/bin/python" tests/end-to-end/benches/reference.py "$target"
if [ -n "${TRAINING_DATA:-}" ]; then
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    common=("$TRAINING_DATA" --scratch "$scratch" --steps 20 --golden-video "$GOLDEN_VIDEO")
    "$TRAINING_PYTHON" models/train/objects.py "${common[@]}" --every 60 --out "$scratch/objects"
    "$TRAINING_PYTHON" models/train/head_attributes.py "${common[@]}" --out "$scratch/head_attributes"
    "$TRAINING_PYTHON" models/train/torso.py "${common[@]}" --out "$scratch/torso"
fi
cross/test-qemu.sh
cross/test-package.sh "$(cross/package.sh amd64)"
tests/vm/run.sh bookworm
provisioning/image/test.sh --package "$(cross/package.sh arm64)"
tests/vm/enrolment.sh
