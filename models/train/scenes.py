"""Scenes as a kitchen camera might deliver them: pictures pasted onto a canvas, then spoilt.

Enters: pictures with teacher detections. Leaves: a clean scene, labels mapped into it, a map of what is
known of each place, and copies with camera artefacts. Everything follows from the generator passed in.
"""

from dataclasses import dataclass

import av
import cv2
import numpy as np

from pictures import NOTHING, PHONE

WIDE, NARROW = (640, 360), (480, 360)


@dataclass
class Scene:
    image: np.ndarray
    labels: np.ndarray   # rows x1, y1, x2, y2, score, class
    known: np.ndarray    # a byte a pixel: what is known of the picture there, see pictures.py
    single: bool = False # one picture by itself: the teacher may have seen it larger than the student does


class Shelf:
    """Pictures of one part, drawn by kind so that rare ones come often enough."""

    SHARES = {"people_by_dress": 0.30, "catdog/cats": 0.12, "catdog/dogs": 0.12, "rats/images": 0.07,
              "cigarettes/images": 0.05, "heads_helmet/images": 0.08, "masks": 0.05,
              "coco100_unlabelled": 0.18, "phones": 0.03}
    BACKDROPS = ("coco100_unlabelled", "videos", "heads_helmet/images", "cigarettes/images")

    def __init__(self, pictures):
        self.kinds = {kind: [p for p in pictures if p.folder == kind] for kind in self.SHARES}
        self.kinds["phones"] = [p for p in pictures if np.any(
            (p.detections[:, 5] == PHONE) & (p.detections[:, 4] > 0.4))]
        self.backdrops = {kind: [p for p in pictures if p.folder == kind] for kind in self.BACKDROPS}
        self.names = [kind for kind in self.SHARES if self.kinds[kind]]
        shares = np.array([self.SHARES[kind] for kind in self.names])
        self.shares = shares / shares.sum()

    def draw(self, rng):
        kind = self.kinds[self.names[rng.choice(len(self.names), p=self.shares)]]
        return kind[rng.integers(len(kind))]

    def backdrop(self, rng):
        kinds = [kind for kind in self.backdrops.values() if kind]
        kind = kinds[rng.integers(len(kinds))]
        return kind[rng.integers(len(kind))]


def compose(shelf, rng):
    """A scene: mostly 16:9 with several pictures, sometimes 4:3, sometimes one picture by itself."""
    luck = rng.random()
    if luck < 0.20:
        picture = shelf.draw(rng) if luck < 0.16 else shelf.backdrop(rng)
        return alone(picture, rng)
    width, height = WIDE if luck < 0.85 else NARROW
    scene = background(shelf, width, height, rng)
    boxes = []
    for _ in range(int(rng.integers(1, 7))):
        paste(scene, boxes, shelf.draw(rng), rng)
    if rng.random() < 0.35:
        rotate(scene, rng.uniform(-5, 5))
    return scene


def alone(picture, rng):
    image, labels = mirrored(picture, rng)
    return Scene(image.copy(), labels.copy(), np.full(image.shape[:2], picture.known, np.uint8), single=True)


def mirrored(picture, rng):
    image, labels = picture.image, picture.detections
    if rng.random() < 0.5:
        labels = labels.copy()
        labels[:, [0, 2]] = image.shape[1] - labels[:, [2, 0]]
        image = image[:, ::-1]
    return image, labels


def background(shelf, width, height, rng):
    """A whole picture cropped to the canvas with its labels, or something without objects."""
    labels, known = np.zeros((0, 6), np.float32), NOTHING
    luck = rng.random()
    if luck < 0.45:
        picture = shelf.backdrop(rng)
        known = picture.known
        image, labels = cropped(*mirrored(picture, rng), width, height, rng)
    elif luck < 0.75:
        small = cv2.resize(shelf.draw(rng).image, (int(rng.integers(2, 9)), int(rng.integers(2, 6))))
        image = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    else:
        image = np.full((height, width, 3), rng.integers(20, 230, 3), np.uint8)
    return Scene(image.copy(), labels, np.full((height, width), known, np.uint8))


def cropped(image, labels, width, height, rng):
    scale = max(width / image.shape[1], height / image.shape[0])
    grown = cv2.resize(image, None, fx=scale, fy=scale)
    left = int(rng.integers(0, max(grown.shape[1] - width, 0) + 1))
    top = int(rng.integers(0, max(grown.shape[0] - height, 0) + 1))
    grown = cv2.resize(grown[top : top + height, left : left + width], (width, height))
    moved = labels.copy()
    moved[:, :4] = labels[:, :4] * scale - np.array([left, top, left, top])
    return grown, inside(moved, width, height)


def inside(labels, width, height):
    """Labels clipped to the canvas; those with less than 70 % of their area left are dropped."""
    before = np.prod(labels[:, 2:4] - labels[:, :2], 1)
    labels = labels.copy()
    labels[:, :4] = np.clip(labels[:, :4], 0, [width, height, width, height])
    return labels[np.prod(labels[:, 2:4] - labels[:, :2], 1) > 0.7 * before]


def paste(scene, boxes, picture, rng):
    """Puts a picture where it covers little of those before; labels it covers by a third are dropped."""
    height, width = scene.image.shape[:2]
    image, labels = mirrored(picture, rng)
    tall = np.exp(rng.uniform(np.log(60), np.log(height)))
    scale = min(tall / image.shape[0], width / image.shape[1], height / image.shape[0])
    size = max(int(image.shape[1] * scale), 8), max(int(image.shape[0] * scale), 8)
    for _ in range(12):
        left, top = int(rng.integers(0, width - size[0] + 1)), int(rng.integers(0, height - size[1] + 1))
        place = np.array([left, top, left + size[0], top + size[1]])
        if all(covered(np.array(box), place) < 0.12 and covered(place, np.array(box)) < 0.12 for box in boxes):
            break
    else:
        return
    boxes.append(place)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    area = slice(top, top + size[1]), slice(left, left + size[0])
    scene.image[area] = small
    scene.known[area] = picture.known
    visible = [covered(label[:4], place) < 0.33 for label in scene.labels]
    moved = labels.copy()
    moved[:, :4] = labels[:, :4] * scale + np.array([left, top, left, top])
    moved[:, :4] = np.clip(moved[:, :4], place[[0, 1, 0, 1]], place[[2, 3, 2, 3]])
    scene.labels = np.concatenate([scene.labels[np.array(visible, bool)], moved])


def covered(box, by):
    """How much of the first box the second one covers."""
    low, high = np.maximum(box[:2], by[:2]), np.minimum(box[2:4], by[2:4])
    return np.prod(np.clip(high - low, 0, None)) / max(np.prod(box[2:4] - box[:2]), 1e-6)


def rotate(scene, degrees):
    """A camera hung slightly askew: boxes keep their size and follow their centres."""
    height, width = scene.image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    scene.image = cv2.warpAffine(scene.image, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    scene.known = cv2.warpAffine(scene.known, turn, (width, height), flags=cv2.INTER_NEAREST,
                                   borderValue=NOTHING)
    centre = (scene.labels[:, :2] + scene.labels[:, 2:4]) / 2
    move = centre @ turn[:, :2].T + turn[:, 2] - centre
    scene.labels[:, :4] += np.tile(move, 2).astype(np.float32)
    scene.labels = inside(scene.labels, width, height)


def spoil(image, rng):
    """The picture as a cheap camera on a thin line delivers it."""
    if rng.random() < 0.3:
        image = coarser(image, rng.uniform(0.45, 0.9))
    if rng.random() < 0.3:
        image = blurred(image, rng)
    if rng.random() < 0.3:
        image = image * rng.uniform(0.8, 1.2, 3)
    if rng.random() < 0.2:
        image = infrared(image, rng)
    if rng.random() < 0.45:
        image = 255 * np.clip(image / 255, 0, 1) ** rng.uniform(0.6, 2.0) * rng.uniform(0.3, 1.15)
    if rng.random() < 0.4:
        image = image + rng.normal(0, rng.uniform(2, 12), image.shape)
    image = np.clip(image, 0, 255).astype(np.uint8)
    luck = rng.random()
    if luck < 0.35:
        return jpeg(image, int(rng.integers(15, 60)))
    return h264(image, int(rng.integers(27, 41))) if luck < 0.7 else image


def coarser(image, factor):
    small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def blurred(image, rng):
    if rng.random() < 0.5:
        return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.6, 2.0))
    length = int(rng.integers(3, 10))
    line = np.zeros((length, length), np.float32)
    line[length // 2] = 1 / length
    turn = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), rng.uniform(0, 180), 1)
    line = cv2.warpAffine(line, turn, (length, length))
    return cv2.filter2D(image, -1, line / max(line.sum(), 1e-3))


def infrared(image, rng):
    """Grey, harder contrast, and a lamp that lights the middle."""
    grey = cv2.cvtColor(np.clip(image, 0, 255).astype(np.uint8), cv2.COLOR_BGR2GRAY).astype(np.float32)
    height, width = grey.shape
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    lamp = 1 - rng.uniform(0, 0.5) * np.clip(rows**2 + columns**2, 0, 1.5)
    grey = (grey - 128) * rng.uniform(0.8, 1.3) + 128
    return np.repeat((grey * lamp)[..., None], 3, 2)


def jpeg(image, quality):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def h264(image, quantiser):
    """One keyframe through an H.264 encoder and back."""
    even = np.ascontiguousarray(image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2])
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = even.shape[1], even.shape[0], "yuv420p"
    encoder.framerate, encoder.thread_count = 8, 1
    encoder.options = {"preset": "superfast", "tune": "zerolatency", "qp": str(quantiser)}
    packets = encoder.encode(av.VideoFrame.from_ndarray(even, "bgr24")) + encoder.encode(None)
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    decoded = [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
    back = decoded[0].to_ndarray(format="bgr24")
    return cv2.copyMakeBorder(back, 0, image.shape[0] - back.shape[0], 0, image.shape[1] - back.shape[1],
                              cv2.BORDER_REPLICATE)
