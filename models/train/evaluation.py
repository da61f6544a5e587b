"""Agreement of a cut network with the original one, and the calibration of its scores.

Enters: held-out pictures, scenes made of them, frames of the judging video. Leaves: AP50, precision and
recall against the original's detections over 0.5. This is agreement, not accuracy: where the original
errs, so do the labels, but for the corrections of pictures.KNOWN.
"""

from dataclasses import dataclass

import numpy as np

from network import CLASSES, HEIGHT, WIDTH, decode_boxes, grid
from pictures import CAT, DOG, JUDGING_VIDEO, NOTHING, PHONE, RAT, frames, letterbox, overlap, select, to_input
from scenes import Shelf, compose, spoil

LABEL_SCORE, MATCH_IOU = 0.5, 0.5
LEAST_SCORE = 0.02
FLOOR = 0.10
FEWEST_SAMPLES, FEWEST_LABELS = 30, 10


@dataclass
class Case:
    image: np.ndarray
    spoilt: np.ndarray
    labels: np.ndarray    # what the original sees on this very image
    closer: np.ndarray    # what it sees on the pictures the image was made of
    known: np.ndarray


class Detector:
    def __init__(self, session):
        self.session, self.cells = session, grid()
        self.seen = {}

    def detections(self, image, least=LEAST_SCORE):
        framed, scale = letterbox(image, WIDTH, HEIGHT)
        raw = self.session.run(None, {"images": to_input([framed])})[0][0]
        return select(decode_boxes(raw[:, :4], self.cells), raw[:, 4:5] * raw[:, 5:], least, scale)

    def over(self, cases, spoilt):
        """Detections on every case; computed once, as several figures need them."""
        key = id(cases), spoilt
        if key not in self.seen:
            self.seen[key] = [self.detections(case.spoilt if spoilt else case.image) for case in cases]
        return self.seen[key]


def picture_cases(pictures, part, most, rng):
    """Up to so many pictures of a part by themselves, spread evenly over the folders' lists."""
    held_out = [p for p in pictures if p.part == part]
    cases = []
    for picture in held_out[:: -(-len(held_out) // most)]:
        labels = picture.detections[picture.detections[:, 4] > LABEL_SCORE]
        known = np.full(picture.image.shape[:2], picture.known, np.uint8)
        cases.append(Case(picture.image, spoil(picture.image, rng), labels, labels, known))
    return cases


def scene_cases(pictures, part, teacher, count, rng):
    shelf = Shelf([p for p in pictures if p.part == part])
    cases = []
    while len(cases) < count:
        scene = compose(shelf, rng)
        if scene.image.shape[:2] != (360, 640):
            continue
        labels = corrected(teacher.detections(scene.image, LABEL_SCORE), scene.known)
        closer = scene.labels[scene.labels[:, 4] > LABEL_SCORE]
        cases.append(Case(scene.image, spoil(scene.image, rng), labels, closer, scene.known))
    return cases


def corrected(labels, known):
    labels = labels.copy()
    here = known_at(labels, known)
    wrong = ((here == RAT) & np.isin(labels[:, 5], (CAT, DOG))) | ((here != NOTHING) & (labels[:, 5] == PHONE))
    animal = np.isin(here, (CAT, DOG)) & np.isin(labels[:, 5], (CAT, DOG))
    labels[animal, 5] = here[animal]
    return labels[~wrong]


def known_at(boxes, known):
    centre = ((boxes[:, :2] + boxes[:, 2:4]) / 2).astype(int)
    return known[np.clip(centre[:, 1], 0, known.shape[0] - 1), np.clip(centre[:, 0], 0, known.shape[1] - 1)]


def street_cases(data, teacher, rng):
    name, step = JUDGING_VIDEO
    cases = []
    for _, image in frames(data / f"videos/{name}.mp4", step):
        labels = teacher.detections(image, LABEL_SCORE)
        cases.append(Case(image, spoil(image, rng), labels, labels, np.full(image.shape[:2], NOTHING, np.uint8)))
    return cases


def matched(detections, labels, index):
    """Detections of one class over all cases, best first: scores, whether each meets a label of its own."""
    rows = sorted(((row[4], case, row[:4]) for case, found in enumerate(detections)
                   for row in found if row[5] == index), key=lambda row: -row[0])
    open_labels = [label[label[:, 5] == index][:, :4] for label in labels]
    hits = np.zeros(len(rows), bool)
    for place, (_, case, box) in enumerate(rows):
        if not len(open_labels[case]):
            continue
        ious = overlap(box[None], open_labels[case])[0]
        if ious.max() >= MATCH_IOU:
            hits[place] = True
            open_labels[case] = np.delete(open_labels[case], ious.argmax(), 0)
    return np.array([row[0] for row in rows]), hits, sum((label[:, 5] == index).sum() for label in labels)


def average_precision(detections, labels, index):
    _, hits, count = matched(detections, labels, index)
    if not count or not hits.size:
        return None if not count else 0.0
    precision = np.cumsum(hits) / np.arange(1, hits.size + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float(precision[hits].sum() / count)


def agreement(detections, cases, closer=False):
    """Per class: AP50 and the number of labels."""
    labels = [case.closer if closer else case.labels for case in cases]
    return {label: {"ap50": average_precision(detections, labels, index),
                    "labels": int(sum((rows[:, 5] == index).sum() for rows in labels))}
            for index, label in enumerate(CLASSES)}


def mean_agreement(detections, cases):
    """Mean AP50 over the classes with enough labels to tell."""
    values = [v["ap50"] for v in agreement(detections, cases).values() if v["labels"] >= FEWEST_LABELS]
    return float(np.mean(values))


def calibrated(raw, calibration):
    raw = np.clip(raw, 1e-6, 1 - 1e-6)
    return 1 / (1 + np.exp(-(calibration["a"] * np.log(raw / (1 - raw)) + calibration["b"])))


def samples(detections, cases, index):
    """Raw scores from the floor up, and whether each detection is one the original makes as well.

    A cat or dog box also counts where the folder says so and the original has no box at all.
    """
    scores, targets = [], []
    for found, case in zip(detections, cases):
        found = found[(found[:, 5] == index) & (found[:, 4] >= FLOOR)]
        labels = np.concatenate([case.labels, case.closer])
        labels = labels[labels[:, 5] == index]
        ious = overlap(found[:, :4], labels[:, :4]).max(1, initial=0)
        hit = ious >= MATCH_IOU
        if index in (CAT, DOG):
            hit |= (known_at(found, case.known) == index) & (ious < 0.1)
        scores.append(found[:, 4])
        targets.append(hit)
    return np.concatenate(scores), np.concatenate(targets)


def fit_calibration(scores, targets):
    """Platt scaling with his smoothed targets, by Newton steps; the identity if there is too little."""
    hits, misses = int(targets.sum()), int((~targets).sum())
    counts = {"hits": hits, "misses": misses}
    if min(hits, misses) < FEWEST_SAMPLES:
        return {"a": 1.0, "b": 0.0, "fitted": False, **counts}
    wanted = np.where(targets, (hits + 1) / (hits + 2), 1 / (misses + 2))
    clipped = np.clip(scores.astype(np.float64), 1e-6, 1 - 1e-6)
    design = np.stack([np.log(clipped / (1 - clipped)), np.ones(len(clipped))], 1)
    weights = np.array([1.0, 0.0])
    for _ in range(50):
        seen = 1 / (1 + np.exp(-design @ weights))
        slope = design.T @ (seen - wanted)
        curvature = (design * (seen * (1 - seen))[:, None]).T @ design + 1e-6 * np.eye(2)
        weights = weights - np.linalg.solve(curvature, slope)
    if weights[0] <= 0:
        return {"a": 1.0, "b": 0.0, "fitted": False, **counts}
    return {"a": round(float(weights[0]), 4), "b": round(float(weights[1]), 4), "fitted": True, **counts}


def at_threshold(detections, cases, index, calibration, threshold):
    """Precision against all the original sees there, recall of what it sees on this very image."""
    scores, hits = samples(detections, cases, index)
    taken = calibrated(scores, calibration) >= threshold
    raw, met, count = matched(detections, [case.labels for case in cases], index)
    found = met[calibrated(raw, calibration) >= threshold].sum() if len(raw) else 0
    return {"precision": float(hits[taken].mean()) if taken.any() else None,
            "recall": float(found / count) if count else None, "taken": int(taken.sum()), "labels": int(count)}


def pictures_with(detector_detections, index, calibration, threshold):
    """In how many pictures a class is reported at all."""
    return sum(bool(np.any(calibrated(rows[rows[:, 5] == index, 4], calibration) >= threshold))
               for rows in detector_detections)
