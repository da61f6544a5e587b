"""Heads for `head_attributes`: where to cut them, and which of known, mask and hat is told of each.

Enters: sources and the lists made by eye. Leaves: Head samples with labels known, mask, hat (1, 0 or NaN)
and windows: as the agent cuts a head's box, or as a picture that holds nothing but the head.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

NAN = float("nan")
KNOWN, MASK, HAT = range(3)
REGION = (-0.1, -0.1, 1.1, 1.1)
SURE_FACE, MATCH = 0.8, 0.75
# A face's box reaches from the brow to the chin; the head's box from it, in the face's width and height.
HEAD_OF_FACE = (-0.18, -0.5, 1.18, 1.1)
# With room for a hat, whether there is one or not.
HEAD_WITH_HAT = (-0.2, -0.75, 1.2, 1.1)


@dataclass
class Head:
    name: str
    kind: str
    part: str
    image: np.ndarray
    box: tuple
    labels: np.ndarray
    face: tuple = None
    # Room around the face in the face's own size: left, top, right, bottom.
    room: np.ndarray = field(default=None)


def labels(known=NAN, mask=NAN, hat=NAN):
    return np.array([known, mask, hat], np.float32)


def gather(sources, by_eye):
    portraits = {source.stem: source for source in sources if source.folder.startswith("people_by_dress")}
    heads = []
    for source in sources:
        if source.folder.startswith("masks"):
            heads += masks(source, by_eye)
        elif source.folder.startswith("heads_hat"):
            heads += hats(source, portraits, by_eye)
        elif source.folder in ("cigarettes/images", "coco100_unlabelled") or source.folder == "people_by_dress":
            heads += with_faces(source, by_eye)
    return heads


def masks(source, by_eye):
    """Whole pictures with a mask label; those with a sure face can be framed in other ways."""
    mask = float(source.folder == "masks/mask")
    height, width = source.image.shape[:2]
    hat = by_eye.hat(source.name)
    if not len(source.faces):
        return [Head(source.name, "masks whole", source.part, source.image, (0, 0, width, height),
                     labels(mask=mask, hat=hat))]
    # The largest of the sure faces is the one the picture is about.
    faces = source.faces[source.faces[:, 4] >= min(SURE_FACE, source.faces[0, 4])]
    face = max(faces, key=lambda f: (f[2] - f[0]) * (f[3] - f[1]))[:4]
    size = np.array([face[2] - face[0], face[3] - face[1]] * 2)
    room = np.array([face[0], face[1], width - face[2], height - face[3]]) / size
    return [Head(source.name, "masks", source.part, source.image, head_of_face(face),
                 labels(1, mask, hat), tuple(face), room)]


def hats(source, portraits, by_eye):
    """A head crop, set back into the portrait it was cut from, or into a mirrored surrounding."""
    hat = float(source.folder == "heads_hat/hat")
    mask = NAN
    face = None
    if len(source.faces) and source.faces[0, 4] >= SURE_FACE:
        face = source.faces[0, :4]
        mask = 0.0 if by_eye.is_unmasked(source.name) else source.faces[0, 5]
    portrait = portraits.get(source.stem.rsplit("_", 1)[0])
    image, box = surrounded(source.image, portrait)
    if face is not None:
        face = tuple(face + np.array([box[0], box[1]] * 2, np.float32))
    return [Head(source.name, "heads_hat", source.part, image, box, labels(1, mask, hat), face)]


def with_faces(source, by_eye):
    """Faces in other portraits: can be judged, mask as the face detector sees it, hat where looked through."""
    heads = []
    for index, face in enumerate(source.faces):
        if face[4] < 0.9 or min(face[2] - face[0], face[3] - face[1]) < 20:
            continue
        name = f"{source.name}#{index}"
        hat = by_eye.hat(name)
        kind, share = ("faces", HEAD_OF_FACE) if np.isnan(hat) else ("portraits", HEAD_WITH_HAT)
        heads.append(Head(name, kind, source.part, source.image, head_of_face(face, share),
                          labels(1, NAN if face[5] else 0.0, hat), tuple(face[:4])))
    return heads


def head_of_face(face, shares=HEAD_OF_FACE):
    width, height = face[2] - face[0], face[3] - face[1]
    return tuple(face[i % 2] + share * (width, height)[i % 2] for i, share in enumerate(shares))


def surrounded(crop, portrait):
    """The crop in its portrait scaled up to fit, where it is found; else with mirrored, blurred margins."""
    height, width = crop.shape[:2]
    if portrait is not None:
        found = place(crop, portrait.image)
        if found:
            x, y, scale = found
            size = [round(side / scale) for side in (portrait.image.shape[1], portrait.image.shape[0])]
            image = cv2.resize(portrait.image, size, interpolation=cv2.INTER_LINEAR)
            left, top = round(x / scale), round(y / scale)
            part = image[top : top + height, left : left + width]
            part[:] = crop[: part.shape[0], : part.shape[1]]
            return image, (left, top, left + width, top + height)
    y, x = height // 2, width // 2
    image = cv2.GaussianBlur(cv2.copyMakeBorder(crop, y, y, x, x, cv2.BORDER_REFLECT), (0, 0), 3)
    image[y : y + height, x : x + width] = crop
    return image, (x, y, x + width, y + height)


def place(crop, image):
    """Where the crop lies in the image and at which scale, or None."""
    best = (MATCH, None)
    for scale in np.geomspace(0.1, 1.0, 40):
        size = [round(side * scale) for side in (crop.shape[1], crop.shape[0])]
        if min(size) < 10 or size[0] > image.shape[1] or size[1] > image.shape[0]:
            continue
        small = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
        _, score, _, at = cv2.minMaxLoc(cv2.matchTemplate(image, small, cv2.TM_CCOEFF_NORMED))
        if score > best[0]:
            best = (score, (*at, scale))
    return best[1]
