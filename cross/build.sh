#!/usr/bin/env bash
# build.sh [aarch64|x86_64]: the box's program, release, stripped, without the demo. Fails when it needs a newer C or C++
# library than the oldest boxes have (Ubuntu 20.04: glibc 2.31, GLIBCXX_3.4.28), or any library besides these.
# Prints the program's path.
set -euo pipefail
source "$(dirname "$0")/platform.sh"
platform_of "${1:-aarch64}"

newest_glibc=2.30
newest_glibcxx=3.4.28
libraries="libc.so.6 libm.so.6 libpthread.so.0 libdl.so.2 librt.so.1 libgcc_s.so.1 libstdc++.so.6 $loader"

# newest GLIBC: the highest version of that name that the program asks for.
newest() {
    readelf -W --version-info "$program" | grep -o "Name: $1_[0-9.]*" | cut -d_ -f2 | sort -V | tail -1
}

check_newest() {
    local name=$1 allowed=$2 found
    found=$(newest "$name")
    [ "$(printf '%s\n' "$found" "$allowed" | sort -V | tail -1)" = "$allowed" ] ||
        give_up "the program needs ${name}_$found; boxes have ${name}_$allowed" \
            "see which crate asks for it: readelf -W --dyn-syms $program | grep ${name}_$found"
    say "needs ${name}_${found:-none}, allowed ${name}_$allowed"
}

check_libraries() {
    local library
    for library in $(readelf -W -d "$program" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
        case " $libraries " in *" $library "*) continue ;; esac
        give_up "the program needs $library" "build the crate that brings it without it, or add it to the package's Depends"
    done
}

"$cross/toolchain.sh" "$machine"
source "$tools/environment"
cd "$repository"
say "building for $triple"
cargo build --locked --release --target "$triple" -p kitchen-agent --no-default-features ${CARGO_JOBS:+-j "$CARGO_JOBS"}
check_libraries
check_newest GLIBC "$newest_glibc"
check_newest GLIBCXX "$newest_glibcxx"
say "$(stat -c %s "$program") bytes"
echo "$program"
