# Sourced by the scripts beside it: names of the platform that is built for, where its things lie, and how packages of
# the system are installed. Expects `platform_of NAME` to be called first.

cross=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(dirname "$cross")
target=${CARGO_TARGET_DIR:-$repository/target}
mkdir -p "$target"
target=$(cd "$target" && pwd)

say() {
    printf '== %s\n' "$*" >&2
}

give_up() {
    say "$1"
    say "next: $2"
    exit "${3:-1}"
}

# Takes aarch64, arm64, x86_64 or amd64.
platform_of() {
    case $1 in
        aarch64 | arm64) machine=aarch64 debian=arm64 loader=ld-linux-aarch64.so.1 ;;
        x86_64 | amd64) machine=x86_64 debian=amd64 loader=ld-linux-x86-64.so.2 ;;
        *) give_up "unknown platform $1" "name one of aarch64, x86_64" 64 ;;
    esac
    gnu=$machine-linux-gnu
    triple=$machine-unknown-linux-gnu
    tools=$target/cross/$machine
    sysroot=$tools/sysroot
    program=$target/$triple/release/kitchen-agent
}

has() {
    PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1
}

# install_packages NAME…: by apt, as root or with sudo.
install_packages() {
    [ $# -gt 0 ] || return 0
    local as_root=() log
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    say "installing $*"
    log=$(mktemp)
    if ! { "${as_root[@]}" apt-get update -qq &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends "$@"; } >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        give_up "apt-get failed" "install by hand: $*" 2
    fi
    rm -f "$log"
}

# The Debian mirror that this system uses; another system takes Debian's own.
debian_mirror() {
    local mirror
    mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null | grep -m1 '/debian$') || true
    printf '%s\n' "${mirror:-http://deb.debian.org/debian}"
}

# own_apt FOLDER ARCHITECTURE <SOURCES: an apt of its own below FOLDER, so that this system's sources and packages stay as
# they are. Prints the path for APT_CONFIG.
own_apt() {
    local apt=$1
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    : >"$apt/status"
    cat >"$apt/sources.list"
    cat >"$apt/apt.conf" <<CONFIGURATION
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "-";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
APT::Architecture "$2";
APT::Architectures { "$2"; };
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
CONFIGURATION
    echo "$apt/apt.conf"
}
