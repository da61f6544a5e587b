"""The pictures behind both crop classifiers: what two published detectors see on them, and their split.

Enters: the data folder. Leaves: Source entries, each in one part for good: train, calibration or validation.
Pictures cut from one another (a head and the portrait it comes from) and near copies share a part.
"""

import hashlib
import pickle
import re
from dataclasses import dataclass

import cv2
import numpy as np

import labels
from faces import FaceFinder

FOLDERS = ["masks/mask", "masks/no_mask", "heads_hat/hat", "heads_hat/no_hat", "people_by_dress",
           "aprons/apron", "aprons/no_apron", "heads_helmet/images", "cigarettes/images", "catdog/cats",
           "catdog/dogs", "rats/images", "coco100_unlabelled"]
# Nothing is asked of these about people: background only.
ANIMALS = ("catdog/cats", "catdog/dogs", "rats/images")
MOST_ANIMALS = 300
NEAR = 4


@dataclass
class Source:
    name: str
    folder: str
    image: np.ndarray
    # Rows x1, y1, x2, y2, score, masked.
    faces: np.ndarray
    # Rows x1, y1, x2, y2, score.
    persons: np.ndarray
    part: str = ""

    @property
    def stem(self):
        return self.name.rsplit("/", 1)[1].rsplit(".", 1)[0]


def gather(data, scratch):
    """All sources; kept in the scratch folder, as looking at them takes five minutes."""
    kept = scratch / "sources.pickle"
    if kept.exists():
        return pickle.loads(kept.read_bytes())
    finder = FaceFinder(data / "pretrained/rfb_640_masked_face.onnx")
    teacher = labels.Original(data / "pretrained/yolox_nano.onnx")
    sources = []
    for folder in FOLDERS:
        files = sorted(p for p in (data / folder).rglob("*") if p.suffix.lower() in {".jpg", ".jpeg", ".png"})
        for path in files[:MOST_ANIMALS] if folder in ANIMALS else files:
            image = cv2.imread(str(path))
            if image is None:
                continue
            people = folder not in ANIMALS
            detections = teacher.detections(image)[0] if people else np.zeros((0, 6), np.float32)
            faces = finder.find(image) if people else np.zeros((0, 6), np.float32)
            persons = detections[detections[:, 5] == 0, :5]
            sources.append(Source(str(path.relative_to(data)), folder, image, faces, persons))
    split(sources)
    kept.write_bytes(pickle.dumps(sources))
    return sources


def split(sources):
    """70 % train, 10 % calibration, 20 % validation, by groups of pictures that belong together."""
    leader = list(range(len(sources)))

    def root(index):
        while leader[index] != index:
            leader[index] = leader[leader[index]]
            index = leader[index]
        return index

    first = {}
    for index, source in enumerate(sources):
        leader[root(index)] = root(first.setdefault(origin(source), index))
    hashes = np.stack([gradient_hash(source.image) for source in sources])
    flipped = np.stack([gradient_hash(source.image[:, ::-1]) for source in sources])
    for index in range(len(sources)):
        for other in (hashes, flipped):
            near = other[index] ^ hashes[index + 1 :]
            for place in np.flatnonzero(np.unpackbits(near, axis=1).sum(1) <= NEAR):
                leader[root(index + 1 + place)] = root(index)
    for index, source in enumerate(sources):
        place = hashlib.sha1(sources[root(index)].name.encode()).digest()[0] % 20
        source.part = "validation" if place < 4 else "calibration" if place < 6 else "train"


def origin(source):
    """Heads and torsos are named after the portrait they are cut from, with a number behind."""
    if source.folder.startswith(("heads_hat", "people_by_dress", "aprons")):
        return re.sub(r"_\d+$", "", source.stem)
    return source.name


def gradient_hash(image):
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA)
    return np.packbits(small[:, 1:] > small[:, :-1])
