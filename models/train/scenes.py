"""Scenes at the network's size made of the pictures: as the letterbox shows one, close up, or many small.

Enters: labelled pictures. Leaves: Scene entries with labels and doubts mapped into them. Everything
follows from the generator passed in. camera.py spoils them afterwards.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from boxes import area, covered
from labels import CIGARETTE, PHONE
from network import HEIGHT, WIDTH
from pictures import no_boxes

PADDING = 114
# Shares of letterboxed pictures and of close-ups; the rest are scenes of many.
EARLY_MIX, LATE_MIX = (0.40, 0.22), (0.58, 0.26)
# How far beyond filling the input a close-up goes.
CLOSEST, CLOSEST_OTHERS = {"cigarettes/images": 2.2}, 1.35
# A label with less of its area left inside is a doubt; with less than the second share it is gone.
ENOUGH_LEFT, HARDLY_LEFT = 0.6, 0.15
# Shorter and longer side in network pixels below which a label is a doubt.
LEAST_SIDES = {CIGARETTE: (2.5, 7)}
LEAST_SIDES_OTHERS = (6, 9)
# Pictures of animals and hands seen from above have no upright: some are laid on their side.
TURNABLE = ("rats/images", "cigarettes/images")


@dataclass
class Scene:
    image: np.ndarray
    labels: np.ndarray   # rows x1, y1, x2, y2, score, class
    doubts: np.ndarray   # rows x1, y1, x2, y2, class
    padding: np.ndarray  # true where the letterbox shows no picture


class Shelf:
    """Pictures of one part, drawn by kind so that rare ones come often enough."""

    # Early and late in a run.
    SHARES = {"rats/images": (0.26, 0.23), "crowds of rats": (0.04, 0.08), "cigarettes/images": (0.22, 0.22),
              "people_by_dress": (0.14, 0.09), "catdog/cats": (0.07, 0.11), "catdog/dogs": (0.07, 0.09),
              "mistaken for rats": (0.0, 0.03), "heads_helmet/images": (0.06, 0.03), "masks": (0.04, 0.05),
              "coco100_unlabelled": (0.05, 0.04), "videos": (0.03, 0.02), "phones": (0.02, 0.01)}
    # Boxes from which a picture counts as a crowd: a tenth of the pictures holds two fifths of the rats.
    CROWD = 3
    BACKDROPS = ("coco100_unlabelled", "videos", "heads_helmet/images", "people_by_dress")

    def __init__(self, pictures):
        self.kinds = {kind: [p for p in pictures if p.folder == kind] for kind in self.SHARES}
        self.kinds["crowds of rats"] = [p for p in self.kinds["rats/images"] if len(p.labels) >= self.CROWD]
        self.kinds["phones"] = [p for p in pictures if np.any(p.labels[:, 5] == PHONE)]
        self.backdrops = [self.kinds[kind] for kind in self.BACKDROPS if self.kinds[kind]]
        self.late = False

    def draw(self, rng):
        names = [kind for kind in self.SHARES if self.kinds[kind]]
        shares = np.array([self.SHARES[kind][self.late] for kind in names])
        return pick(self.kinds[names[rng.choice(len(names), p=shares / shares.sum())]], rng)

    def backdrop(self, rng):
        return pick(pick(self.backdrops, rng), rng)


def pick(items, rng):
    return items[rng.integers(len(items))]


def compose(shelf, rng):
    """Late in a run there are fewer crowded scenes and more pictures as the agent shows them."""
    alone, close = LATE_MIX if shelf.late else EARLY_MIX
    luck = rng.random()
    if luck < alone:
        scene = letterboxed(shelf, rng)
    elif luck < alone + close:
        scene = close_up(shelf.draw(rng), rng)
    else:
        scene = many(shelf, rng)
    tidy(scene)
    return scene


def empty():
    return Scene(np.full((HEIGHT, WIDTH, 3), PADDING, np.uint8), no_boxes(6), no_boxes(5),
                 np.ones((HEIGHT, WIDTH), bool))


def letterboxed(shelf, rng):
    """One picture as the agent shows it to the network; sometimes a second one beside it."""
    scene = empty()
    image, labels, doubts = turned(shelf.draw(rng), rng)
    scale = min(WIDTH / image.shape[1], HEIGHT / image.shape[0])
    if rng.random() < 0.3:
        scale *= rng.uniform(0.6, 1)
    width = put(scene, image, labels, doubts, scale, 0, 0)
    left = WIDTH - width
    if left > 90 and rng.random() < 0.55:
        image, labels, doubts = turned(shelf.draw(rng), rng)
        scale = min(left / image.shape[1], HEIGHT / image.shape[0])
        top = int(rng.integers(0, HEIGHT - int(image.shape[0] * scale) + 1))
        put(scene, image, labels, doubts, scale, width, top)
    return scene


def close_up(picture, rng):
    """A part of a picture that fills the input, as a window at native resolution does; mostly about a label."""
    scene = empty()
    image, labels, doubts = turned(picture, rng)
    closer = np.exp(rng.uniform(np.log(0.85), np.log(CLOSEST.get(picture.folder, CLOSEST_OTHERS))))
    scale = max(WIDTH / image.shape[1], HEIGHT / image.shape[0]) * closer
    if len(labels) and rng.random() < 0.7:
        centre = (labels[0, :2] + labels[0, 2:4]) / 2 * scale
        corner = np.array([WIDTH, HEIGHT]) * rng.uniform(0.15, 0.85, 2) - centre
    else:
        corner = None
    free = WIDTH - int(image.shape[1] * scale), HEIGHT - int(image.shape[0] * scale)
    left, top = (place(space, corner, axis, rng) for axis, space in enumerate(free))
    put(scene, image, labels, doubts, scale, left, top)
    return scene


def place(space, corner, axis, rng):
    """Where a picture begins that leaves so much space, or reaches beyond by so much."""
    low, high = min(space, 0), max(space, 0)
    return int(rng.integers(low, high + 1)) if corner is None else int(np.clip(corner[axis], low, high))


def many(shelf, rng):
    """Several pictures, mostly small, on a backdrop."""
    scene = background(shelf, rng)
    places = no_boxes(4)
    smallest = 36
    for _ in range(int(rng.integers(2, 8))):
        image, labels, doubts = turned(shelf.draw(rng), rng)
        tall = np.exp(rng.uniform(np.log(smallest), np.log(HEIGHT * 0.8)))
        scale = min(tall / image.shape[0], WIDTH * 0.8 / image.shape[1])
        width, height = int(image.shape[1] * scale), int(image.shape[0] * scale)
        for _ in range(8):
            left, top = int(rng.integers(0, WIDTH - width + 1)), int(rng.integers(0, HEIGHT - height + 1))
            place = np.array([[left, top, left + width, top + height]], np.float32)
            if max(covered(places, place).max(initial=0), covered(place, places).max(initial=0)) < 0.1:
                places = np.concatenate([places, place])
                put(scene, image, labels, doubts, scale, left, top)
                break
    return scene


def background(shelf, rng):
    """A picture with what is on it, or something without objects."""
    scene = empty()
    luck = rng.random()
    if luck < 0.5:
        image, labels, doubts = turned(shelf.backdrop(rng), rng)
        scale = max(WIDTH / image.shape[1], HEIGHT / image.shape[0]) * 1.02
        left, top = (int(rng.integers(min(room, 0), 1)) for room in
                     (WIDTH - int(image.shape[1] * scale), HEIGHT - int(image.shape[0] * scale)))
        put(scene, image, labels, doubts, scale, left, top)
    elif luck < 0.75:
        small = cv2.resize(shelf.draw(rng).image, (int(rng.integers(2, 9)), int(rng.integers(2, 6))))
        scene.image = cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        scene.padding[:] = False
    else:
        scene.image[:] = rng.integers(20, 230, 3)
        scene.padding[:] = False
    return scene


def turned(picture, rng):
    """The picture and its boxes, perhaps mirrored, stretched a little, laid on its side."""
    image, labels, doubts = picture.image, picture.labels.copy(), picture.doubts.copy()
    if rng.random() < 0.5:
        for rows in (labels, doubts):
            rows[:, [0, 2]] = image.shape[1] - rows[:, [2, 0]]
        image = image[:, ::-1]
    if picture.folder in TURNABLE and rng.random() < 0.12:
        image = image.transpose(1, 0, 2)
        labels[:, :4], doubts[:, :4] = labels[:, [1, 0, 3, 2]], doubts[:, [1, 0, 3, 2]]
    if rng.random() < 0.4:
        stretch = np.exp(rng.uniform(-0.2, 0.2))
        image = cv2.resize(image, None, fx=stretch, fy=1)
        for rows in (labels, doubts):
            rows[:, [0, 2]] *= stretch
    return image, labels, doubts


def put(scene, image, labels, doubts, scale, left, top):
    """Places the scaled picture; what was there before and is now hidden loses its boxes. Returns its right."""
    size = max(int(image.shape[1] * scale), 4), max(int(image.shape[0] * scale), 4)
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 0.7 else cv2.INTER_LINEAR)
    x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + size[0], WIDTH), min(top + size[1], HEIGHT)
    scene.image[y1:y2, x1:x2] = image[y1 - top : y2 - top, x1 - left : x2 - left]
    place = np.array([[x1, y1, x2, y2]], np.float32)
    scene.padding[y1:y2, x1:x2] = False
    shift = np.array([left, top, left, top], np.float32)
    for rows in (labels, doubts):
        rows[:, :4] = rows[:, :4] * scale + shift
    hidden = covered(scene.labels, place)[:, 0] if len(scene.labels) else np.zeros(0)
    scene.doubts = np.concatenate([scene.doubts[covered(scene.doubts, place)[:, 0] < 0.5],
                                   as_doubts(scene.labels[(hidden >= 0.33) & (hidden < 0.85)]), doubts])
    scene.labels = np.concatenate([scene.labels[hidden < 0.33], inside(scene, labels, place)])
    return x2


def inside(scene, labels, place):
    """Labels cut to where the picture shows; those with too little left become doubts of the scene."""
    before = area(labels)
    cut = labels.copy()
    cut[:, :4] = np.clip(labels[:, :4], place[0, [0, 1, 0, 1]], place[0, [2, 3, 2, 3]])
    left = area(cut) / np.maximum(before, 1e-6)
    partly = (left < ENOUGH_LEFT) & (left > HARDLY_LEFT)
    scene.doubts = np.concatenate([scene.doubts, as_doubts(cut[partly])])
    return cut[left >= ENOUGH_LEFT]


def tidy(scene):
    """Labels too small to be learnt become doubts."""
    sides = np.sort(scene.labels[:, 2:4] - scene.labels[:, :2], 1)
    least = np.array([LEAST_SIDES.get(int(index), LEAST_SIDES_OTHERS) for index in scene.labels[:, 5]])
    small = (sides < least.reshape(-1, 2)).any(1)
    scene.doubts = np.concatenate([scene.doubts, as_doubts(scene.labels[small])])
    scene.labels = scene.labels[~small]


def as_doubts(labels):
    return labels[:, [0, 1, 2, 3, 5]]
