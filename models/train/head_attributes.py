"""Trains `head_attributes`: from the pictures at hand to the files of models/head_attributes.

    python head_attributes.py DATA --scratch SCRATCH [--out ../head_attributes] [--golden-video vtest.avi] [--steps 20]

Enters: the data folder. Leaves: the network, its manifest and golden files; figures.json in the scratch folder.
"""

import head_cases
import head_samples
import heads
import pack
import recipe
import turned
from by_eye import ByEye

SEED, STEPS = 1, 1200
JUDGED = ["masks whole", "masks alike", "masks tight", "hats whole", "hats cut"]
UNJUDGED = ["turned", "cut", "tiny", "nothing"]
TASK = pack.Task(
    name="head_attributes", version="0.1.0", of="head", region=heads.REGION, square=True,
    attributes=[pack.Attribute("mask", "no_mask", 32),
                pack.Attribute("hat", "no_hat", 24, threshold=0.75, good_enough=False)],
    data="web and stock pictures: masks, hats, helmets, portraits; animals and torsos as no heads; see CARD.md",
    recipe="models/train/head_attributes.py", golden=(300, 100, 340, 140))


def samples(options, sources):
    by_eye = ByEye()
    return heads.gather(sources, by_eye) + turned.gather(sources, options.data, by_eye)


def cases(gathered, part):
    return head_cases.gather([h for h in gathered if h.part == part],
                             head_samples.Drawer([h for h in gathered if h.part == "train"]))


if __name__ == "__main__":
    recipe.run(TASK, __doc__, samples, head_samples.Drawer, cases, JUDGED, UNJUDGED, SEED, STEPS)
