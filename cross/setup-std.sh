#!/usr/bin/env bash
# setup-std.sh [aarch64|x86_64]: makes sure that rustc has std for that platform. Prints nothing when its own sysroot has
# it, otherwise the folder of one made below target/: on a machine where rustup can't fetch it, std is built from the
# source of the same version that Debian packages. Changes neither apt's sources nor the toolchain.
set -euo pipefail
source "$(dirname "$0")/platform.sh"
platform_of "${1:-aarch64}"

version=$(rustc --version | cut -d' ' -f2)
rustc_home=$(rustc --print sysroot)
host=$(rustc -vV | sed -n 's/^host: //p')
work=$target/cross/std-$version
private=$work/sysroot
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

has_std() {
    compgen -G "$1/lib/rustlib/$triple/lib/libstd-*.rlib" >/dev/null
}

rustup_brings_it() {
    has rustup || return 1
    say "asking rustup for std of $triple"
    timeout 120 rustup target add "$triple" >&2 && has_std "$rustc_home"
}

# A folder of apt's own, with one suite.
use_suite() {
    local own=$(dpkg --print-architecture)
    export APT_CONFIG
    APT_CONFIG=$(echo "deb [arch=$own signed-by=$keyring] $1 main" | own_apt "$work/apt" "$own")
    apt-get update -qq >&2
}

# Unpacks Debian's rust-src of exactly this version; newer Rust comes to stable Debian under the name rust-web.
fetch_source() {
    local mirror suite package found
    [ -r "$keyring" ] || install_packages debian-archive-keyring
    mirror=$(debian_mirror)
    for suite in "$mirror trixie-backports" "$mirror-security bookworm-security" "$mirror sid" "$mirror trixie"; do
        use_suite "$suite" || continue
        for package in rust-src rust-web-src; do
            found=$(apt-cache madison "$package" | tr -d ' ' | cut -d'|' -f2 | grep -m1 "^${version//./\\.}[+~-]") || continue
            say "building std from ${suite##* }'s $package $found"
            (cd "$work" && apt-get download -qq "$package=$found" >&2)
            dpkg-deb -x "$work/$package"_*.deb "$work/source"
            rm "$work/$package"_*.deb
            return 0
        done
    done
    give_up "neither rustup nor Debian has std of $triple for rustc $version" \
        "run 'rustup target add $triple' on a machine that reaches static.rust-lang.org, or use a rustc that Debian has" 2
}

# A copy of the toolchain's sysroot by links, in which cargo finds std's source.
link_sysroot() {
    mkdir -p "$private/lib/rustlib/src"
    ln -sfn "$rustc_home/lib/rustlib/$host" "$private/lib/rustlib/$host"
    ln -sfn "$(echo "$work"/source/usr/src/rustc-*)" "$private/lib/rustlib/src/rust"
    # panic_abort is compiled for aborting, whatever the profile says; otherwise rustc refuses to link it.
    cat >"$work/rustc" <<RUSTC
#!/bin/sh
case " \$* " in *" --crate-name panic_abort "*) set -- "\$@" -Cpanic=abort ;; esac
exec "$rustc_home/bin/rustc" --sysroot "$private" "\$@"
RUSTC
    chmod +x "$work/rustc"
}

build_std() {
    local seed=$work/seed upper=${triple^^}
    mkdir -p "$seed/src"
    echo 'fn main() {}' >"$seed/src/main.rs"
    printf '[package]\nname = "seed"\nversion = "0.0.0"\nedition = "2024"\n\n[workspace]\n' >"$seed/Cargo.toml"
    (
        cd "$seed"
        export "CARGO_TARGET_${upper//-/_}_LINKER=$gnu-gcc"
        # The crates below std are told by their own lock file; nightly's option is unlocked for this one build.
        RUSTC=$work/rustc RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Cembed-bitcode=yes CARGO_TARGET_DIR=$seed/target \
            cargo build --release --target "$triple" -Zbuild-std=std,panic_abort,panic_unwind,proc_macro,test >&2
    )
    mkdir -p "$private/lib/rustlib/$triple/lib"
    cp "$seed/target/$triple/release/deps/"*.rlib "$private/lib/rustlib/$triple/lib/"
    rm -rf "$seed" "$work/source" "$work/apt" "$work/rustc" "$private/lib/rustlib/src"
}

# KITCHEN_STD=source tries the second way where the first would do.
if [ "${KITCHEN_STD:-}" != source ]; then
    if has_std "$rustc_home"; then exit 0; fi
    if ! has_std "$private" && rustup_brings_it; then exit 0; fi
fi
if ! has_std "$private"; then
    rm -rf "$work"
    mkdir -p "$work"
    fetch_source
    link_sysroot
    build_std
fi
echo "$private"
