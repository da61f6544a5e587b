#!/usr/bin/env bash
# All tests, on real servers. Installs by apt what is missing, makes a Python environment below target/, builds the
# programs and runs the tests. Arguments go to the test runner: tests/run.sh --test survival
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}

say() {
    printf '== %s\n' "$*" >&2
}

make_python() {
    local folder=$target/test-python wanted=tests/requirements.txt
    cmp -s "$wanted" "$folder/installed.txt" && return 0
    say "making $folder"
    rm -rf "$folder"
    mkdir -p "$target"
    python3 -m venv "$folder"
    "$folder/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: --requirement "$wanted"
    cp "$wanted" "$folder/installed.txt"
}

tests/packages.sh
make_python
# One set of features for all: building a part alone would build its dependencies anew.
say "building programs and tests"
cargo build --workspace --bins --tests
say "running the tests"
if cargo nextest --version >/dev/null 2>&1; then
    exec cargo nextest run --workspace "$@"
fi
exec cargo test --workspace "$@"
