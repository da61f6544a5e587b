#!/usr/bin/env bash
# toolchain.sh [aarch64|x86_64]: makes everything that a build for that platform needs, below target/cross/PLATFORM:
# Debian 11's C and C++ libraries, a compiler that links against them, Rust's std, and the file `environment` that tells
# cargo of them. Installs by apt what is missing. Does nothing when all is there.
set -euo pipefail
source "$(dirname "$0")/platform.sh"
platform_of "${1:-aarch64}"

host_packages() {
    has "$gnu-gcc" || echo "gcc-${gnu//_/-}"
    has "$gnu-g++" || echo "g++-${gnu//_/-}"
    has readelf || echo binutils
    has python3 || echo python3
    # openh264 has its fast code for x86 in nasm's language, and is silently built without when nasm is missing.
    [ "$machine" != x86_64 ] || has nasm || echo nasm
    [ "$machine" = "$(uname -m)" ] || has "qemu-$machine-static" || echo qemu-user-static
}

# The archive's own mirrors first; a release that left them stays at the archive of old ones.
fetch() {
    local path=$1 sha256=$2 mirror
    for mirror in "$(debian_mirror)" http://deb.debian.org/debian http://archive.debian.org/debian; do
        /usr/lib/apt/apt-helper -qq download-file "$mirror/$path" "$sysroot.new/package.deb" "SHA256:$sha256" \
            >/dev/null 2>&1 && return 0
    done
    give_up "can't fetch $path with SHA-256 $sha256" "check the network and apt's proxy, then run this again" 2
}

# Links such as libdl.so -> /lib/…/libdl.so.2 would lead out of the folder.
relative_links() {
    local link
    find "$1" -type l -lname '/*' | while read -r link; do
        ln -sfnr "$1$(readlink "$link")" "$link"
    done
}

make_sysroot() {
    local list=$cross/sysroot.list sha256 path
    cmp -s "$list" "$sysroot/made-from" && return 0
    say "unpacking Debian 11's libraries for $debian"
    rm -rf "$sysroot" "$sysroot.new"
    mkdir -p "$sysroot.new"
    while read -r sha256 path; do
        case $path in *_"$debian".deb) ;; *) continue ;; esac
        fetch "$path" "$sha256"
        dpkg-deb -x "$sysroot.new/package.deb" "$sysroot.new"
        rm "$sysroot.new/package.deb"
    done <"$list"
    rm -rf "$sysroot.new/usr/share"
    relative_links "$sysroot.new"
    cp "$list" "$sysroot.new/made-from"
    mv "$sysroot.new" "$sysroot"
}

# Debian's cross compiler looks into folders of its own before it looks into a sysroot; so Debian 11's are named, and its
# headers of gcc 10 with them.
make_compilers() {
    local gcc=$sysroot/usr/lib/gcc/$gnu/10 libraries=$sysroot/usr/lib/$gnu headers=$sysroot/usr/include common
    common="--sysroot=$sysroot -B$libraries -L$gcc -L$libraries -L$sysroot/lib/$gnu"
    mkdir -p "$tools/bin"
    printf '#!/bin/sh\nexec %s-gcc %s -isystem %s -isystem %s "$@"\n' \
        "$gnu" "$common" "$headers/$gnu" "$headers" >"$tools/bin/cc"
    printf '#!/bin/sh\nexec %s-g++ %s -nostdinc++ -isystem %s -isystem %s -isystem %s -isystem %s "$@"\n' \
        "$gnu" "$common" "$headers/c++/10" "$headers/$gnu/c++/10" "$headers/$gnu" "$headers" >"$tools/bin/c++"
    chmod +x "$tools/bin/cc" "$tools/bin/c++"
}

write_environment() {
    local std=$1 upper=${triple^^} lower=${triple//-/_} flags runner=
    upper=${upper//-/_}
    flags="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo --remap-path-prefix=$repository=kitchen-agent"
    [ -z "$std" ] || flags+=" --sysroot=$std"
    # A foreign program runs with Debian 11's libraries, this machine's own with those of this machine.
    [ "$machine" = "$(uname -m)" ] || runner="qemu-$machine-static -L $sysroot"
    cat >"$tools/environment" <<ENVIRONMENT
export CC_$lower="$tools/bin/cc" CXX_$lower="$tools/bin/c++" AR_$lower="$gnu-ar"
export CARGO_TARGET_${upper}_LINKER="$tools/bin/cc"
export CARGO_TARGET_${upper}_RUSTFLAGS="$flags"
ENVIRONMENT
    [ -z "$runner" ] || echo "export CARGO_TARGET_${upper}_RUNNER=\"$runner\"" >>"$tools/environment"
}

mapfile -t missing < <(host_packages)
install_packages "${missing[@]}"
make_sysroot
make_compilers
std=$("$cross/setup-std.sh" "$machine")
write_environment "$std"
