#!/usr/bin/env python3
"""What the box's program is made of. In: a platform's triple. Out, into a folder: LICENSES (every crate, C library and
model with its licence's text) and sbom.cdx.json (CycloneDX 1.5). Reads Cargo's own answers; reaches no network.

usage: materials.py TRIPLE FOLDER"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
import uuid
from datetime import datetime, timezone
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PROGRAM = "kitchen-agent"
LICENCE_FILE = re.compile(r"^(licen[cs]e|copying|copyright|notice|unlicense|authors|patents)", re.IGNORECASE)

# C libraries that a crate carries as source: where the version stands, and what the licence is.
CARRIED = {
    "openh264-sys2": ("openh264", "BSD-2-Clause", "pkg:github/cisco/openh264", "**/codec_ver.h",
                      r'g_strCodecVer\w*\s*=\s*"OpenH264 version:([\d.]+)', ["upstream/LICENSE"]),
    "libsqlite3-sys": ("sqlite", "blessing", "pkg:generic/sqlite", "sqlite3/sqlite3.h",
                       r'#define SQLITE_VERSION\s+"([\d.]+)"', []),
}

# Fonts built into the program: name, version, licence, and the folder with the font and its licence's text.
FONTS = [("Noto Sans CJK SC Regular (part)", "2.004", "OFL-1.1", "agent/kitchen-vision/assets/caption-font")]


def cargo(*arguments):
    command = ["cargo", *arguments, "--locked"]
    return subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True).stdout


def linked_crates(triple):
    """(name, version) of what is linked into the program or writes its code, without the demo."""
    lines = cargo("tree", "--package", PROGRAM, "--no-default-features", "--target", triple, "--edges", "normal",
                  "--prefix", "none", "--format", "{p}").splitlines()
    return {(name, version.removeprefix("v")) for name, version in (line.split()[:2] for line in lines if line)}


def expression(package):
    licence = package["license"]
    if not licence:
        sys.exit(f"{package['name']}: no licence in its manifest: read its licence file, then name it in materials.py")
    return re.sub(r"\s*/\s*", " OR ", licence)


def licence_texts(package):
    folder = Path(package["manifest_path"]).parent
    if package["source"] is None:
        return []
    found = [path for path in folder.iterdir() if path.is_file() and LICENCE_FILE.match(path.name)]
    carried = CARRIED.get(package["name"])
    found += [folder / name for name in carried[5]] if carried else []
    return [path.read_text(errors="replace").strip() for path in sorted(found)]


def carried_library(package):
    """The C library inside of a crate: name, version, licence, purl."""
    carried = CARRIED.get(package["name"])
    if not carried:
        return None
    name, licence, purl, header, pattern, _ = carried
    for path in Path(package["manifest_path"]).parent.glob(header):
        found = re.search(pattern, path.read_text(errors="replace"))
        if found:
            return {"name": name, "version": found[1], "licence": licence, "purl": f"{purl}@{found[1]}"}
    sys.exit(f"{package['name']}: its {name} does not say its version in {header}: mend the pattern in materials.py")


def models():
    for path in sorted((REPOSITORY / "models").glob("*/manifest.toml")):
        yield tomllib.loads(path.read_text())


def checksums():
    lock = tomllib.loads((REPOSITORY / "Cargo.lock").read_text())
    return {(crate["name"], crate["version"]): crate.get("checksum") for crate in lock["package"]}


def write_licences(path, packages):
    lines = [f"What {PROGRAM} is made of, and under which licences.", "", "== Models", ""]
    for model in models():
        lines += [f"{model['name']} {model['version']}: {model['licence']} (weights). Rights in the training pictures: "
                  f"{model['data_rights']}.", f"  from: {model['provenance']['base']}",
                  f"  trained on: {model['provenance']['data']}", ""]
    lines += ["== Fonts built into the program", ""]
    lines += [f"{name} {version}: {licence}; its text stands below" for name, version, licence, _ in FONTS]
    lines += ["", "== C libraries carried by crates", ""]
    for package in packages:
        library = carried_library(package)
        if library:
            lines.append(f"{library['name']} {library['version']}: {library['licence']} (in {package['name']})")
    lines += ["", "The Rust standard library: MIT OR Apache-2.0.", "", "== Crates", ""]
    by_text = {}
    for name, version, _, folder in FONTS:
        text = (REPOSITORY / folder / "OFL.txt").read_text().strip()
        by_text[re.sub(r"\s+", " ", text).lower()] = (text, [f"{name} {version}"])
    for package in packages:
        authors = ", ".join(re.sub(r"\s*<[^>]*>", "", author) for author in package["authors"])
        lines.append(f"{package['name']} {package['version']}: {expression(package)}")
        lines += [f"  {line}" for line in (authors, package["repository"]) if line]
        texts = licence_texts(package)
        if not texts:
            lines.append("  The crate brings no text: the standard text of its licence holds, for the authors named here.")
        for text in texts:
            key = re.sub(r"\s+", " ", text).lower()
            by_text.setdefault(key, (text, []))[1].append(f"{package['name']} {package['version']}")
    lines += ["", "== Texts of the licences", ""]
    for text, crates in sorted(by_text.values(), key=lambda entry: -len(entry[1])):
        lines += ["-" * 100, "Of: " + ", ".join(crates), "-" * 100, "", text, ""]
    path.write_text("\n".join(lines) + "\n")


def component(kind, name, version, licence, reference, **more):
    licences = [{"expression": licence}] if " " in licence else [{"license": {"id": licence}}]
    return {"type": kind, "bom-ref": reference, "name": name, "version": version, "licenses": licences, **more}


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def crate_component(package, sums):
    more = {"purl": purl(package)}
    if package["description"]:
        more["description"] = " ".join(package["description"].split())
    checksum = sums.get((package["name"], package["version"]))
    if checksum:
        more["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["repository"]:
        more["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    kind = "application" if package["name"] == PROGRAM else "library"
    return component(kind, package["name"], package["version"], expression(package), purl(package), **more)


def dependency_edges(metadata, packages):
    """Who uses whom, among what is linked."""
    linked = {package["id"]: purl(package) for package in packages}
    for node in metadata["resolve"]["nodes"]:
        if node["id"] in linked:
            uses = {linked[other["pkg"]] for other in node["deps"] if other["pkg"] in linked
                    and any(kind["kind"] is None for kind in other["dep_kinds"])}
            yield linked[node["id"]], uses


def write_bill(path, metadata, packages, when):
    sums = checksums()
    edges = {user: set(uses) for user, uses in dependency_edges(metadata, packages)}
    main = next(crate_component(package, sums) for package in packages if package["name"] == PROGRAM)
    components = [crate_component(package, sums) for package in packages if package["name"] != PROGRAM]
    for package in packages:
        library = carried_library(package)
        if library:
            found = library["purl"]
            components.append(component("library", library["name"], library["version"], library["licence"], found,
                                        purl=found))
            edges[purl(package)].add(found)
    for name, version, licence, folder in FONTS:
        reference = f"font/{name.replace(' ', '-')}@{version}"
        font = next((REPOSITORY / folder).glob("*.otf")).read_bytes()
        hashes = [{"alg": "SHA-256", "content": hashlib.sha256(font).hexdigest()}]
        components.append(component("data", name, version, licence, reference, hashes=hashes))
        edges[main["bom-ref"]].add(reference)
    for model in models():
        reference = f"model/{model['name']}@{model['version']}"
        hashes = [{"alg": "SHA-256", "content": model["sha256"]}]
        components.append(component("machine-learning-model", model["name"], model["version"], model["licence"],
                                    reference, hashes=hashes))
        edges[main["bom-ref"]].add(reference)
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"timestamp": when.strftime("%Y-%m-%dT%H:%M:%SZ"), "component": main},
        "components": components,
        "dependencies": [{"ref": user, "dependsOn": sorted(uses)} for user, uses in sorted(edges.items())],
    }
    digest = hashlib.sha256(json.dumps(bill, sort_keys=True).encode()).digest()
    bill["serialNumber"] = f"urn:uuid:{uuid.UUID(bytes=digest[:16], version=4)}"
    path.write_text(json.dumps(bill, indent=1, ensure_ascii=False) + "\n")


def made_at():
    """The commit's time, so that the same sources give the same files."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if not epoch:
        command = ["git", "log", "-1", "--format=%ct"]
        epoch = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True).stdout.strip()
    return datetime.fromtimestamp(int(epoch), timezone.utc) if epoch else datetime.now(timezone.utc)


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        sys.exit(64)
    triple, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    metadata = json.loads(cargo("metadata", "--format-version", "1", "--filter-platform", triple))
    linked = linked_crates(triple)
    packages = [package for package in metadata["packages"] if (package["name"], package["version"]) in linked]
    packages.sort(key=lambda package: (package["name"], package["version"]))
    write_licences(folder / "LICENSES", packages)
    write_bill(folder / "sbom.cdx.json", metadata, packages, made_at())
    print(f"== {len(packages)} crates", file=sys.stderr)


main()
