"""The crops that judge `head_attributes`, by set: whole pictures, crops framed alike, the agent's crops, unknowns.

Enters: Head samples of one part. Leaves: {set: [Case]}, the same for the same seed.
"""

import numpy as np

from head_samples import agent_window, half, reduced
from heads import REGION
from attribute_judging import Case
from spoiling import at_size, cut

TINY_PX = (6, 16)
FRAMING_SEED = 7


def gather(heads, framings):
    """`framings` is a Drawer of the training part: its rooms frame both mask classes alike."""
    rng = np.random.default_rng(FRAMING_SEED)
    hats = [h for h in heads if h.kind == "heads_hat"]
    masks = [h for h in heads if h.kind == "masks"]
    judged = [*hats, *masks]
    sets = {
        "masks whole": [Case(h.name, h.image, h.labels) for h in heads if h.kind.startswith("masks")],
        "masks alike": [Case(h.name, framings.alike(h, rng)[0], h.labels) for h in masks],
        "masks tight": [Case(h.name, reduced(h, np.minimum(h.room, 0.1))[0], h.labels) for h in masks],
        "hats whole": [Case(h.name, cut(h.image, h.box), h.labels) for h in hats],
        "hats cut": [agents(h) for h in hats],
        "turned": [agents(h) for h in heads if h.kind == "turned"],
        "cut": [Case(h.name, half(h, rng), h.labels) for h in judged],
        "nothing": [Case(h.name, cut(h.image, h.box), h.labels) for h in heads if h.kind == "nothing"],
    }
    sets["tiny"] = [Case(c.name, at_size(c.crop, rng.uniform(*TINY_PX)), c.labels)
                    for c in (*sets["hats cut"], *sets["masks alike"])]
    return sets


def agents(head):
    window = agent_window(head.box, REGION)
    left, top, right, bottom = head.box
    return Case(head.name, cut(head.image, window), head.labels,
                (window[2] - window[0]) / min(right - left, bottom - top))
