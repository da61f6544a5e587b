"""Draws training crops of torsos, and the crops that judge `torso`.

Enters: Torso samples. Leaves: (crop of the network's size, labels known, work clothes); {set: [Case]}.
"""

import numpy as np

from head_samples import agent_window, jittered
from attribute_judging import Case
from spoiling import at_size, cut, spoil
from torsos import KNOWN, NAN, REGION

SHARES = {"aprons": 0.18, "chefs": 0.28, "others": 0.36, "uniforms": 0.08, "nothing": 0.1}
CUT, TINY = 0.14, 0.07
SMALLEST, TINY_PX, CASE_TINY_PX = 40, (6, 20), (8, 20)
CUT_SEED = 7
PORTRAITS = "people_by_dress/"


class Drawer:
    def __init__(self, torsos):
        self.pools = {kind: [t for t in torsos if t.kind == kind] for kind in SHARES}
        self.kinds = [kind for kind in SHARES if self.pools[kind]]
        self.shares = np.array([SHARES[kind] for kind in self.kinds])

    def __call__(self, rng):
        kind = rng.choice(self.kinds, p=self.shares / self.shares.sum())
        torso = self.pools[kind][rng.integers(len(self.pools[kind]))]
        labels, known = torso.labels, torso.labels[KNOWN] == 1
        window = jittered(region(torso), rng, 0.05, (0.85, 1.15))
        if known and rng.random() < CUT:
            window, labels = part(window, rng), np.array([0, NAN], np.float32)
        shorter = None if rng.random() < 0.3 else np.exp(rng.uniform(np.log(SMALLEST), np.log(128)))
        if known and rng.random() < TINY:
            shorter, labels = rng.uniform(*TINY_PX), np.array([0, NAN], np.float32)
        return spoil(cut(torso.image, window), shorter, rng), labels


def region(torso):
    return torso.box if torso.whole else agent_window(torso.box, REGION, square=False)


def part(window, rng):
    """A sliver of the torso: an arm, a shoulder, a hem."""
    left, top, right, bottom = window
    width, height, seen = right - left, bottom - top, rng.uniform(0.12, 0.3)
    return [(left, top, left + seen * width, bottom), (right - seen * width, top, right, bottom),
            (left, top, right, top + seen * height), (left, bottom - seen * height, right, bottom)][rng.integers(4)]


def cases(torsos):
    rng = np.random.default_rng(CUT_SEED)
    judged = {"portraits": [t for t in torsos if t.kind in ("chefs", "others") and t.name.startswith(PORTRAITS)],
              "stills": [t for t in torsos if t.kind == "others" and not t.name.startswith(PORTRAITS)],
              "torso crops": [t for t in torsos if t.kind == "aprons"]}
    judged = {name: [Case(t.name, cut(t.image, region(t)), t.labels) for t in group]
              for name, group in judged.items()}
    whole = [t for t in torsos if t.labels[KNOWN] == 1]
    tiny = [at_size(cut(t.image, region(t)), rng.uniform(*CASE_TINY_PX)) for t in whole]
    return judged | {
        "cut": [Case(t.name, cut(t.image, part(region(t), rng)), t.labels) for t in whole],
        "tiny": [Case(t.name, crop, t.labels) for t, crop in zip(whole, tiny)],
        "nothing": [Case(t.name, cut(t.image, region(t)), t.labels) for t in torsos if t.kind == "nothing"]}
