"""The pictures at hand and their split.

Enters: the data folder. Leaves: Picture entries; labels.py fills in what is known to be on them.
A picture belongs to exactly one part for good: train, calibration or validation.
"""

import hashlib
from dataclasses import dataclass, field

import cv2
import numpy as np
import onnxruntime

# Folder below the data folder.
FOLDERS = ["people_by_dress", "catdog/cats", "catdog/dogs", "rats/images", "cigarettes/images",
           "heads_helmet/images", "masks", "coco100_unlabelled"]
# Video and every how many frames one is taken; never street_people, which only judges.
VIDEOS = [("person_enters", 6), ("worker_helmet", 6), ("smoking_man", 8), ("mask_woman", 8),
          ("no_mask_man", 8)]
JUDGING_VIDEO = ("street_people", 5)
# Correlation of two thumbnails from which one picture counts as a copy of the other.
NEAR_COPY = 0.9


def no_boxes(columns):
    return np.zeros((0, columns), np.float32)


@dataclass
class Picture:
    name: str
    folder: str
    image: np.ndarray
    part: str
    # What is there: rows x1, y1, x2, y2, score, class in picture pixels.
    labels: np.ndarray = field(default_factory=lambda: no_boxes(6))
    # Where a class is neither known to be there nor known to be absent: rows x1, y1, x2, y2, class.
    doubts: np.ndarray = field(default_factory=lambda: no_boxes(5))
    # Everything the original network sees, uncorrected: rows like those of labels.
    original: np.ndarray = field(default_factory=lambda: no_boxes(6))
    # Looked at by eye: rats without a drawn box on a validation picture (else they are labels), rows like those
    # of labels; and what was taken for a rat but is none, rows like those of doubts.
    added: np.ndarray = field(default_factory=lambda: no_boxes(6))
    refuted: np.ndarray = field(default_factory=lambda: no_boxes(5))


def gather(data):
    pictures = []
    for folder in FOLDERS:
        files = sorted(p for p in (data / folder).rglob("*") if p.suffix.lower() in {".jpg", ".jpeg", ".png"})
        images = [(str(path.relative_to(data)), cv2.imread(str(path))) for path in files]
        images = [(name, image) for name, image in images if image is not None and min(image.shape[:2]) >= 48]
        for (name, image), part in zip(images, parts([image for _, image in images])):
            pictures.append(Picture(name, folder, image, part))
    for video, step in VIDEOS:
        for index, image in frames(data / f"videos/{video}.mp4", step):
            pictures.append(Picture(f"{video}#{index}", "videos", image, "train"))
    return pictures


def parts(images):
    """The part follows from a coarse gradient hash; near copies, mirrored ones too, go where the first went."""
    thumbnails = np.stack([thumbnail(image) for image in images])
    alike = np.maximum(unit(thumbnails) @ unit(thumbnails).T,
                       unit(thumbnails) @ unit(thumbnails[:, :, ::-1]).T) > NEAR_COPY
    chosen = []
    for index, image in enumerate(images):
        copies = np.flatnonzero(alike[index, :index])
        chosen.append(chosen[copies[0]] if copies.size else part_of(image))
    return chosen


def thumbnail(image):
    grey = cv2.medianBlur(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), 3)
    return cv2.resize(grey, (16, 16), interpolation=cv2.INTER_AREA).astype(np.float32)


def unit(thumbnails):
    flat = thumbnails.reshape(len(thumbnails), -1)
    flat = flat - flat.mean(1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


def part_of(image):
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
