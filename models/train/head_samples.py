"""Draws training crops of heads: kind, window, size in the camera's picture, and the labels that remain.

Enters: Head samples. Leaves: (crop of the network's size, labels known, mask, hat).
"""

import numpy as np

from heads import HAT, KNOWN, MASK, NAN, REGION
from spoiling import cut, spoil
from worn import put_on_mask

# Share of the draws by kind of head.
SHARES = {"mask": 0.18, "no_mask": 0.18, "hat": 0.2, "no_hat": 0.22, "faces": 0.06, "turned": 0.1, "nothing": 0.06}
CUT, TINY, PUT_ON, WHOLE = 0.11, 0.1, 0.25, 0.15
SMALLEST, TINY_PX = 21, (4, 17)
HATS = ("heads_hat", "portraits")
# A window shows enough of a tight face for the mask from here on, and of the head's top for the hat.
HAT_ROOM = 0.35


class Drawer:
    def __init__(self, heads):
        masks = [h for h in heads if h.kind in ("masks", "masks whole")]
        self.pools = {"mask": [h for h in masks if h.labels[MASK] == 1],
                      "no_mask": [h for h in masks if h.labels[MASK] == 0],
                      "hat": [h for h in heads if h.kind in HATS and h.labels[HAT] == 1],
                      "no_hat": [h for h in heads if h.kind in HATS and h.labels[HAT] == 0]}
        self.pools |= {kind: [h for h in heads if h.kind == kind] for kind in ("faces", "turned", "nothing")}
        self.framings = {mask: [h.room for h in masks if h.kind == "masks" and h.labels[MASK] == mask]
                         for mask in (0, 1)}
        self.kinds = [kind for kind in SHARES if self.pools[kind]]
        self.shares = np.array([SHARES[kind] for kind in self.kinds])

    def __call__(self, rng):
        kind = rng.choice(self.kinds, p=self.shares / self.shares.sum())
        head = self.pools[kind][rng.integers(len(self.pools[kind]))]
        labels = head.labels.copy()
        if head.face is not None and labels[MASK] == 0 and head.kind != "masks" and rng.random() < PUT_ON:
            head = put_on_mask(head, rng)
            labels[MASK] = 1
        known = labels[KNOWN] == 1
        if known and rng.random() < CUT:
            crop, labels = half(head, rng), unknown()
        else:
            crop, labels = self.framed(head, labels, rng)
        shorter = None if rng.random() < 0.25 else np.exp(rng.uniform(np.log(SMALLEST), np.log(100)))
        if known and rng.random() < TINY:
            shorter, labels = rng.uniform(*TINY_PX), unknown()
        return spoil(crop, shorter, rng), labels

    def framed(self, head, labels, rng):
        if head.kind == "masks whole" or head.kind == "masks" and rng.random() < WHOLE:
            if head.kind == "masks" and min(head.room[1], head.room[3]) > 1.5:
                labels[KNOWN] = NAN
            return head.image, labels
        image, box = head.image, head.box
        if head.kind == "masks":
            image, box, room = self.alike(head, rng)
            if room[1] < HAT_ROOM:
                labels[HAT] = NAN
            if rng.random() < 0.5:
                return image, labels
        elif head.kind in HATS and rng.random() < 0.5:
            return cut(image, jittered(box, rng, 0.04, (0.95, 1.1))), labels
        return cut(image, jittered(agent_window(box, REGION), rng, 0.07, (0.8, 1.25))), labels

    def alike(self, head, rng):
        """The picture reduced to room that pictures of the other class have as well; framing tells nothing."""
        others = self.framings[1 - head.labels[MASK]]
        room = np.minimum(head.room, others[rng.integers(len(others))])
        room = np.where(room > 0.1, 0.1 + (room - 0.1) * rng.uniform(0, 1, 4) ** 0.5, room)
        return *reduced(head, room), room


def reduced(head, room):
    """The picture and the head's box in it, with so much room around the face."""
    left, top, right, bottom = head.face
    size = np.array([right - left, bottom - top] * 2)
    x, y, more_x, more_y = room * size
    window = (left - x, top - y, right + more_x, bottom + more_y)
    box = np.array(head.box) - np.array([window[0], window[1]] * 2)
    return cut(head.image, window), tuple(box)


def agent_window(box, region, square=True):
    """What the agent cuts: a region of the box, widened to a square about its centre."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    window = (left + region[0] * width, top + region[1] * height, left + region[2] * width, top + region[3] * height)
    if not square:
        return window
    half = max(window[2] - window[0], window[3] - window[1]) / 2
    x, y = (window[0] + window[2]) / 2, (window[1] + window[3]) / 2
    return x - half, y - half, x + half, y + half


def jittered(window, rng, shift, scales):
    left, top, right, bottom = window
    width, height = right - left, bottom - top
    x, y = (left + right) / 2 + rng.normal(0, shift) * width, (top + bottom) / 2 + rng.normal(0, shift) * height
    scale = rng.uniform(*scales)
    width, height = width * scale * rng.uniform(0.9, 1.1), height * scale
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def half(head, rng):
    """A window with at most about 45 % of the head, by a cut, a shift or the picture's edge."""
    left, top, right, bottom = head.box
    if head.face is not None:
        left, right = (left + head.face[0]) / 2, (right + head.face[2]) / 2
    width, height, seen = right - left, bottom - top, rng.uniform(0.2, 0.45)
    side = rng.integers(4)
    window = [(left, top, left + seen * width, bottom), (right - seen * width, top, right, bottom),
              (left, top, right, top + seen * height), (left, bottom - seen * height, right, bottom)][side]
    way = rng.random()
    if way < 0.4:
        return cut(head.image, window)
    # The rest of the square is what lies beside the head, or padding.
    beside = [(seen - 1) * width, (1 - seen) * width, (seen - 1) * height, (1 - seen) * height][side]
    if side < 2:
        shifted = (left + beside, top, right + beside, bottom)
    else:
        shifted = (left, top + beside, right, bottom + beside)
    if way < 0.7:
        return cut(head.image, shifted)
    crop = np.full((max(2, round(height)), max(2, round(width)), 3), 114, np.uint8)
    part = cut(head.image, window)
    y = 0 if side != 2 else crop.shape[0] - part.shape[0]
    x = 0 if side != 0 else crop.shape[1] - part.shape[1]
    part = part[: crop.shape[0], : crop.shape[1]]
    crop[max(y, 0) :, max(x, 0) :][: part.shape[0], : part.shape[1]] = part
    return crop


def unknown():
    return np.array([0, NAN, NAN], np.float32)
