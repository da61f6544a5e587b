"""The pictures at hand, their split, and what the original network (the teacher) sees on them.

Enters: the data folder. Leaves: Picture entries with corrected teacher detections in picture pixels.
A picture belongs to exactly one part for good: train, calibration or validation.
"""

import hashlib
from dataclasses import dataclass, field

import cv2
import numpy as np
import onnxruntime

from network import CLASSES, COCO_ANIMALS, COCO_CLASS, grid, decode_boxes

# Folder below the data folder, and how many of its pictures at most.
FOLDERS = [("people_by_dress", 3000), ("catdog/cats", 500), ("catdog/dogs", 500), ("rats/images", 900),
           ("cigarettes/images", 823), ("heads_helmet/images", 300), ("masks", 800),
           ("coco100_unlabelled", 90)]
# Video and every how many frames one is taken; never street_people, which only judges.
VIDEOS = [("person_enters", 6), ("worker_helmet", 6), ("smoking_man", 8), ("mask_woman", 8),
          ("no_mask_man", 8)]
JUDGING_VIDEO = ("street_people", 5)
CAT, DOG, PHONE = CLASSES.index("cat"), CLASSES.index("dog"), CLASSES.index("phone")
# What is known of a picture beyond the teacher's view: the true animal, a rat, or that what the teacher
# calls a phone there is nearly always a cigarette, a packet or a razor (looked through by eye).
NOTHING, RAT, NO_PHONE = 255, 254, 253
KNOWN = {"catdog/cats": CAT, "catdog/dogs": DOG, "rats/images": RAT, "cigarettes/images": NO_PHONE,
         "masks": NO_PHONE}


@dataclass
class Picture:
    name: str
    folder: str
    image: np.ndarray
    part: str
    # Rows x1, y1, x2, y2, score, class in picture pixels.
    detections: np.ndarray = field(default_factory=lambda: np.zeros((0, 6), np.float32))

    @property
    def known(self):
        return NO_PHONE if self.name.startswith("smoking_man") else KNOWN.get(self.folder, NOTHING)


def gather(data):
    pictures = []
    for folder, most in FOLDERS:
        files = sorted(p for p in (data / folder).rglob("*") if p.suffix.lower() in {".jpg", ".jpeg", ".png"})
        files.sort(key=lambda p: hashlib.sha1(p.name.encode()).digest())
        for path in files[:most]:
            image = cv2.imread(str(path))
            if image is not None and min(image.shape[:2]) >= 48:
                pictures.append(Picture(str(path.relative_to(data)), folder, image, part_of(image)))
    for video, step in VIDEOS:
        for index, image in frames(data / f"videos/{video}.mp4", step):
            pictures.append(Picture(f"{video}#{index}", "videos", image, "train"))
    return pictures


def part_of(image):
    """The part follows from a coarse gradient hash, so that near copies fall into the same one."""
    small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (6, 5), interpolation=cv2.INTER_AREA)
    bits = np.packbits(small[:, 1:] > small[:, :-1]).tobytes()
    place = hashlib.sha1(bits).digest()[0] % 20
    return "validation" if place < 3 else "calibration" if place < 6 else "train"


def frames(path, step):
    capture = cv2.VideoCapture(str(path))
    index = 0
    while True:
        read, image = capture.read()
        if not read:
            return
        if index % step == 0:
            yield index, image
        index += 1


def letterbox(image, width, height, padding=114):
    """The picture scaled into the top left corner, and the scale."""
    scale = min(width / image.shape[1], height / image.shape[0])
    size = (int(image.shape[1] * scale), int(image.shape[0] * scale))
    framed = np.full((height, width, 3), padding, np.uint8)
    framed[: size[1], : size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return framed, scale


def to_input(images):
    return np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2), dtype=np.float32)


def one_thread_session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options)


class Teacher:
    """The original COCO network at its own 416x416."""

    SIDE = 416

    def __init__(self, path):
        self.session = one_thread_session(path)
        self.cells = grid(self.SIDE, self.SIDE)

    def detections(self, image, least=0.3, known=NOTHING):
        """Detections of CLASSES in picture pixels, corrected by what is known of the picture."""
        framed, scale = letterbox(image, self.SIDE, self.SIDE)
        raw = self.session.run(None, {"images": to_input([framed])})[0][0]
        scores = raw[:, 4:5] * raw[:, 5:]
        own = np.stack([scores[:, COCO_CLASS[label]] for label in CLASSES], 1)
        if known != NOTHING:
            own[:, PHONE] = 0
        if known in (CAT, DOG, RAT):
            own[:, [CAT, DOG]] = 0
        if known in (CAT, DOG):
            own[:, known] = scores[:, COCO_ANIMALS].max(1)
        return select(decode_boxes(raw[:, :4], self.cells), own, least, scale)


def select(boxes, scores, least, scale=1.0, iou=0.55):
    """Suppression within each class; rows x1, y1, x2, y2, score, class, boxes divided by the scale."""
    rows = []
    for index in range(scores.shape[1]):
        kept = np.flatnonzero(scores[:, index] >= least)
        kept = kept[np.argsort(-scores[kept, index])]
        while kept.size:
            best, kept = kept[0], kept[1:]
            rows.append([*(boxes[best] / scale), scores[best, index], index])
            kept = kept[overlap(boxes[best : best + 1], boxes[kept])[0] < iou]
    return np.array(rows, np.float32).reshape(-1, 6)


def overlap(first, second):
    """IoU of every box of the first with every box of the second."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:4], second[None, :, 2:4])
    shared = np.prod(np.clip(high - low, 0, None), 2)
    area = [np.prod(boxes[:, 2:4] - boxes[:, :2], 1) for boxes in (first, second)]
    return shared / np.maximum(area[0][:, None] + area[1][None] - shared, 1e-6)
