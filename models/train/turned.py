"""Heads that nobody can judge, and what is no head at all: the `unknown` of `head_attributes`.

Enters: sources, the helmet set's boxes, and the list by eye of what was found wrongly. Leaves: Head samples
with known = 0: heads on which the face detector finds no face, and windows of animals, torsos, background.
"""

import numpy as np

from heads import NAN, SURE_FACE, Head, labels

LEAST_PX = 20
PERSON_SCORE, PERSON_PX = 0.5, 90
SOURCES = ("people_by_dress", "cigarettes/images", "coco100_unlabelled")
EMPTY = ("catdog/cats", "catdog/dogs", "rats/images")


def gather(sources, data, by_eye):
    heads = []
    for source in sources:
        if source.folder == "heads_helmet/images":
            heads += helmets(source, helmet_boxes(data, source))
        elif source.folder in SOURCES:
            heads += faceless(source)
            heads += limbs(source)
        elif source.folder in EMPTY or source.folder.startswith("aprons"):
            height, width = source.image.shape[:2]
            heads.append(Head(source.name, "nothing", source.part, source.image, (0, 0, width, height), labels(0)))
    return [head for head in heads if head.kind != "turned" or by_eye.is_turned(head.name)]


def helmets(source, boxes):
    heads = []
    for index, box in enumerate(boxes):
        if min(box[2] - box[0], box[3] - box[1]) < LEAST_PX:
            continue
        inside = faces_in(source, box, 0)
        name = f"{source.name}#{index}"
        if not len(inside):
            heads.append(Head(name, "turned", source.part, source.image, box, labels(0)))
        elif inside[0, 4] >= SURE_FACE:
            mask = NAN if inside[0, 5] else 0.0
            heads.append(Head(name, "faces", source.part, source.image, box, labels(1, mask), tuple(inside[0, :4])))
    return heads


def helmet_boxes(data, source):
    height, width = source.image.shape[:2]
    rows = np.loadtxt(data / f"heads_helmet/labels/{source.stem}.txt", ndmin=2).reshape(-1, 5)
    return [((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
            for _, x, y, w, h in rows]


def faceless(source):
    """The top of a person's box in whose upper half no face is found."""
    heads = []
    for index, (left, top, right, bottom, score) in enumerate(source.persons):
        width, height = right - left, bottom - top
        if score < PERSON_SCORE or height < PERSON_PX or top < 2 or width > 1.2 * height:
            continue
        if len(faces_in(source, (left, top, right, top + height / 2), 0.1)):
            continue
        side = min(width, height * (0.2 if height > 2 * width else 0.33))
        centre = (left + right) / 2
        box = (centre - side / 2, top, centre + side / 2, top + side)
        heads.append(Head(f"{source.name}#{index}", "turned", source.part, source.image, box, labels(0)))
    return heads


def limbs(source):
    """The lower part of a person's box, where no face is near."""
    heads = []
    for left, top, right, bottom, score in source.persons:
        box = (left, (top + bottom) / 2, right, bottom)
        if score >= PERSON_SCORE and bottom - top >= PERSON_PX and not len(faces_in(source, box, 0.2)):
            heads.append(Head(source.name, "nothing", source.part, source.image, box, labels(0)))
    return heads


def faces_in(source, box, around):
    """Faces whose centre lies in the box widened by a share of its size."""
    left, top, right, bottom = box
    x, y = (right - left) * around, (bottom - top) * around
    centre = (source.faces[:, :2] + source.faces[:, 2:4]) / 2
    inside = (centre > (left - x, top - y)).all(1) & (centre < (right + x, bottom + y)).all(1)
    return source.faces[inside]
