#!/usr/bin/env bash
# package.sh [arm64|amd64]: builds the program and makes the Debian package of it, the unit, the model pack, the list of
# licences and the bill of materials. Prints the package's path.
set -euo pipefail
source "$(dirname "$0")/platform.sh"
platform_of "${1:-arm64}"

cargo_deb_version=3.8.0
cargo_deb=$target/tools/bin/cargo-deb
package=$(dirname "$program")/package

# A model is a folder with a manifest; the recipes beside it stay here.
stage_models() {
    local manifest folder
    rm -rf "$package/models"
    for manifest in "$repository"/models/*/manifest.toml; do
        folder=$(dirname "$manifest")
        mkdir -p "$package/models"
        cp -r "$folder" "$package/models/"
    done
    find "$package/models" -type d -exec chmod 755 {} +
    find "$package/models" -type f -exec chmod 644 {} +
}

has_cargo_deb() {
    [ "$("$cargo_deb" --version 2>/dev/null)" = "$cargo_deb_version" ]
}

"$cross/build.sh" "$machine" >/dev/null
if ! has_cargo_deb; then
    say "installing cargo-deb $cargo_deb_version below target/"
    cargo install --quiet --locked --root "$target/tools" --target-dir "$target/tools/build" \
        cargo-deb --version "$cargo_deb_version"
    rm -rf "$target/tools/build"
fi
mkdir -p "$package"
stage_models
python3 "$cross/materials.py" "$triple" "$package"
cd "$repository"
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
"$cargo_deb" --package kitchen-agent --target "$triple" --no-build --no-strip --locked --quiet \
    --output "$target/debian/" >&2
ls -1t "$target/debian/kitchen-agent_"*"_$debian.deb" | head -1
