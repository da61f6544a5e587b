"""Trains `torso`: from the pictures at hand to the files of models/torso.

    python torso.py DATA --scratch SCRATCH [--out ../torso] [--golden-video vtest.avi] [--steps 20]

Enters: the data folder. Leaves: the network, its manifest and golden files; figures.json in the scratch folder.
"""

import pack
import recipe
import torso_samples
import torsos
from by_eye import ByEye

SEED, STEPS = 1, 600
TASK = pack.Task(
    name="torso", version="0.1.0", of="person", region=torsos.REGION, square=False,
    attributes=[pack.Attribute("work_clothes", "other_clothes", 48, good_enough=False)],
    data="web and stock pictures: cooks and aprons against people in other clothes; animals as nothing; see CARD.md",
    recipe="models/train/torso.py", golden=(300, 100, 340, 180))


def samples(options, sources):
    return torsos.gather(sources, ByEye())


def cases(gathered, part):
    return torso_samples.cases([t for t in gathered if t.part == part])


if __name__ == "__main__":
    recipe.run(TASK, __doc__, samples, torso_samples.Drawer, cases, ["portraits", "stills", "torso crops"],
               ["cut", "tiny", "nothing"], SEED, STEPS)
