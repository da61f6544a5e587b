#!/usr/bin/env bash
# The longer checks, for before a release: the tests many times over, the benchmarks, how they compare with libavcodec and
# ONNX Runtime, and the ARM build and its package under emulators. More than an hour, the last part as root.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
rounds=${ROUNDS:-10}

tests/run.sh
for round in $(seq "$rounds"); do
    printf '== survival, round %s of %s\n' "$round" "$rounds" >&2
    tests/run.sh --test survival
done
cargo build --release --workspace --bins
cargo bench -p kitchen-end-to-end
"$target/test-python/bin/python" tests/end-to-end/benches/reference.py "$target"
cross/test-qemu.sh
cross/test-package.sh "$(cross/package.sh amd64)"
tests/vm/run.sh bookworm
