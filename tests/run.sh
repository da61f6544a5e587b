#!/usr/bin/env bash
# All tests, on real servers. Installs by apt what is missing, makes a Python environment below target/, builds the
# programs and runs the tests. Arguments go to the test runner: tests/run.sh -p kitchen-end-to-end --test survival
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
say "building the programs"
cargo build --workspace --bins
say "running the tests"
# Cargo takes no notice of --package beside --workspace.
scope=(--workspace)
for argument in "$@"; do
    case $argument in -p* | --package*) scope=() ;; esac
done
if cargo nextest --version >/dev/null 2>&1; then
    exec cargo nextest run "${scope[@]}" "$@"
fi
exec cargo test "${scope[@]}" "$@"
