"""What was found by looking through the pictures: names in by_eye.toml, never the pictures themselves."""

import tomllib
from pathlib import Path

NAN = float("nan")


class ByEye:
    def __init__(self, path=Path(__file__).with_name("by_eye.toml")):
        lists = tomllib.loads(path.read_text())
        self.lists = {name: set(names) for name, names in lists.items()}

    def hat(self, name):
        """1 or 0 for the pictures of the mask set and the faces of portraits in the lists, else NaN."""
        if name in self.lists["hats_in_masks"] or name in self.lists["hats_in_portraits"]:
            return 1.0
        return 0.0 if name in self.lists["bare_in_masks"] or name in self.lists["bare_in_portraits"] else NAN

    def is_turned(self, name):
        return name not in self.lists["not_turned"]

    def is_unmasked(self, name):
        return name in self.lists["unmasked_in_hats"]

    def is_doubtful_dress(self, name):
        return name in self.lists["doubtful_dress"]
