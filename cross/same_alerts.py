#!/usr/bin/env python3
"""Compares the alerts that two builds raise on one video: same_alerts.py ONE.jsonl OTHER.jsonl
Equal are: how many, which, when, whose, and all texts. Fractions may differ in what the processors' different order of
floating-point sums leaves; the pictures' bytes with them. Says what differs and by how much."""

import json
import sys
from pathlib import Path

# A score or a box's corner as a fraction of the picture: a hundredth is less than what one frame's noise changes.
TOLERANCE = 0.01
# Lines, colours and the JPEG are computed by other instructions, which round otherwise.
PICTURE = {"sha256", "bytes", "original_sha256"}


def differences(one, other, path=""):
    """(path, one, other) of each value that is not the same."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from differences(one.get(key), other.get(key), f"{path}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, pair in enumerate(zip(one, other)):
            yield from differences(*pair, f"{path}[{index}]")
    elif one != other:
        yield path, one, other


def tolerated(path, one, other):
    if ".body.snapshot." in path and path.rsplit(".", 1)[1] in PICTURE:
        return True
    return isinstance(one, float) and isinstance(other, float) and abs(one - other) <= TOLERANCE


def main():
    one, other = ([json.loads(line) for line in Path(name).read_text().splitlines()] for name in sys.argv[1:3])
    found = list(differences(one, other))
    wrong = [difference for difference in found if not tolerated(*difference[:1], *difference[1:])]
    fractions = [abs(a - b) for _, a, b in found if isinstance(a, float) and isinstance(b, float)]
    pictures = sum(1 for path, _, _ in found if path.endswith(".sha256"))
    print(f"== {len(one)} and {len(other)} records; {len(fractions)} fractions differ, by {max(fractions, default=0):.6f} "
          f"at most; {pictures} pictures differ", file=sys.stderr)
    for path, a, b in wrong:
        print(f"record{path}: {a!r} and {b!r}", file=sys.stderr)
    if wrong or not one:
        sys.exit("the builds do not raise the same alerts")


main()
