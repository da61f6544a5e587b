#!/usr/bin/env bash
# The long form: every target under libFuzzer, one after the other, each for SECONDS_EACH (300). Needs a nightly compiler;
# installs cargo-fuzz below target/ where it lacks. Prints executions, coverage and crashes; ends with 1 when something
# was found. TARGETS="mp4 transfer" chooses; new inputs gather below target/fuzz/corpus, what was found in target/fuzz/found.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:-300}
target=${CARGO_TARGET_DIR:-$(cd ../.. && pwd)/target}
work=$target/fuzz
export CARGO_TARGET_DIR=$work/build PATH=$work/tools/bin:$PATH

say() {
    printf '== %s\n' "$*" >&2
}

if ! cargo fuzz --version >/dev/null 2>&1; then
    say "installing cargo-fuzz"
    cargo install --quiet --locked --root "$work/tools" cargo-fuzz
fi
all=$(sed -n 's/^name = "\([a-z0-9_]*\)"$/\1/p' libfuzzer/Cargo.toml)
read -r -a chosen <<<"$(tr '\n' ' ' <<<"${TARGETS:-$all}")"
# This code forbids `unsafe`, and the decoder's C++ is not instrumented: the sanitizer would only cost speed.
build=(--fuzz-dir libfuzzer --sanitizer none)
say "building"
for name in "${chosen[@]}"; do
    cargo +nightly fuzz build "${build[@]}" "$name"
done
found=0
for name in "${chosen[@]}"; do
    mkdir -p "$work/corpus/$name" "$work/found/$name"
    log=$work/$name.log
    # Limits: 10 s for one input, 1 GB for the process.
    if ! cargo +nightly fuzz run "${build[@]}" "$name" "$work/corpus/$name" "corpus/$name" -- \
        "-artifact_prefix=$work/found/$name/" "-max_total_time=$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=8192 \
        -print_final_stats=1 >"$log" 2>&1; then
        found=1
    fi
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    coverage=$(grep -o 'cov: [0-9]*' "$log" | tail -1 || true)
    count=$(find "$work/found/$name" -type f | wc -l)
    printf '%-16s %12s executions   %-12s %s found\n' "$name" "${executions:-0}" "${coverage:-cov: ?}" "$count"
done
exit "$found"
