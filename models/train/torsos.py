"""Torsos for `torso`: where to cut them, and which wear work clothes.

Enters: sources and the lists made by eye. Leaves: Torso samples with labels known, work clothes (1, 0 or NaN):
the region of a person's box, or a picture that holds nothing but the torso.
"""

from dataclasses import dataclass

import numpy as np

from turned import faces_in

NAN = float("nan")
KNOWN, WORK = range(2)
REGION = (0.0, 0.1, 1.0, 0.75)
PERSON_SCORE, PERSON_PX = 0.6, 60
WORK_FOLDER = "people_by_dress/chef"
# Waiters, doctors, engineers and mechanics wear work clothes of another kind: nothing is told of them.
OTHER_FOLDERS = ("people_by_dress/farmer", "people_by_dress/judge", "people_by_dress/pilot", "cigarettes/images",
                 "coco100_unlabelled")
# A face that fills so much of the person leaves no torso to judge.
FILLING_FACE, SMALL_FACE = 0.6, 0.4
EMPTY = ("catdog/cats", "catdog/dogs", "rats/images")


@dataclass
class Torso:
    name: str
    kind: str
    part: str
    image: np.ndarray
    box: tuple
    labels: np.ndarray
    # The picture is the torso itself, not a person's box in it.
    whole: bool = False


def gather(sources, by_eye):
    torsos = []
    for source in sources:
        height, width = source.image.shape[:2]
        everything = (0, 0, width, height)
        if source.folder.startswith("aprons"):
            work = 1.0 if source.folder == "aprons/apron" else 1.0 if source.stem.startswith("chef_") else NAN
            torsos.append(torso(source, "aprons", everything, (1, work), whole=True))
        elif source.folder in EMPTY or is_only_a_face(source, everything):
            torsos.append(torso(source, "nothing", everything, (0, NAN), whole=True))
        elif source.name.startswith(WORK_FOLDER):
            torsos += people(source, "chefs", 1.0, by_eye)
        elif source.name.startswith(OTHER_FOLDERS):
            torsos += people(source, "others", 0.0, by_eye)
        elif source.folder == "people_by_dress":
            torsos += people(source, "uniforms", NAN, by_eye)
    return torsos


def torso(source, kind, box, labels, whole=False, name=None):
    return Torso(name or source.name, kind, source.part, source.image, box, np.array(labels, np.float32), whole)


def people(source, kind, work, by_eye):
    """The largest person; of smaller ones nothing is known but that they are persons."""
    persons = [p for p in source.persons if p[4] >= PERSON_SCORE and p[3] - p[1] >= PERSON_PX
               and p[3] - p[1] >= 0.8 * (p[2] - p[0])]
    found = []
    for rank, person in enumerate(sorted(persons, key=lambda p: (p[0] - p[2]) * (p[3] - p[1]))):
        name = f"{source.name}#{rank}"
        if rank == 0 and face_share(source, person[:4]) < SMALL_FACE and not by_eye.is_doubtful_dress(name):
            found.append(torso(source, kind, tuple(person[:4]), (1, work), name=name))
    return found


def is_only_a_face(source, everything):
    return source.folder.startswith("masks") and face_share(source, everything) > FILLING_FACE


def face_share(source, box):
    """Height of the tallest face inside the box over the box's height, 0 without a face."""
    inside = faces_in(source, box, 0)
    return ((inside[:, 3] - inside[:, 1]).max() if len(inside) else 0) / (box[3] - box[1])
