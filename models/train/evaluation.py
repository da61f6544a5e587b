"""Detections against labels: average precision, precision and recall, false alarms, calibration.

Enters: a detector and held-out pictures. Leaves: figures. A box counts at IoU 0.3 or 0.5. Where the
labels come from a teacher, the figures are agreement with it, not accuracy.
"""

import numpy as np

from boxes import covered, overlap, select
from labels import CAT, CIGARETTE, DOG, HEAD, PERSON, RAT
from network import HEIGHT, WIDTH, decode_boxes, grid
from pictures import letterbox, to_input

LEAST_SCORE = 0.02
# Lower than usual: a rat is easily found twice, with its tail and without.
NMS_IOU = 0.45
# The original's score from which its box counts in the agreement with it.
ORIGINAL_SURE = 0.5
PROGRESS_MOST = 250
FEWEST_SAMPLES = 30


class Detector:
    def __init__(self, session, width=WIDTH, height=HEIGHT):
        self.session, self.size, self.cells = session, (width, height), grid(width, height)

    def detections(self, image, least=LEAST_SCORE):
        """Rows x1, y1, x2, y2, raw score, class in picture pixels."""
        framed, scale = letterbox(image, *self.size)
        raw = self.session.run(None, {"images": to_input([framed])})[0][0]
        return select(decode_boxes(raw[:, :4], self.cells), raw[:, 4:5] * raw[:, 5:], least, scale,
                      NMS_IOU)


def of_class(rows, index):
    return rows[rows[:, 5] == index]


def matched(detections, labels, index, iou, doubts=None):
    """Detections of one class over all pictures, best first: scores, hits, pictures; and the labels' number.
    Where doubts are given, a miss that lies on one is left out."""
    rows = sorted(((row[4], picture, row[:4]) for picture, found in enumerate(detections)
                   for row in of_class(found, index)), key=lambda row: -row[0])
    free = [of_class(label, index)[:, :4] for label in labels]
    count = sum(map(len, free))
    kept = []
    for score, picture, box in rows:
        ious = overlap(box[None], free[picture])[0]
        hit = ious.size > 0 and ious.max() >= iou
        if hit:
            free[picture] = np.delete(free[picture], ious.argmax(), 0)
        elif doubts is not None:
            here = doubts[picture][doubts[picture][:, 4] == index]
            if covered(box[None], here).max(initial=0) > 0.5:
                continue
        kept.append((score, hit, picture))
    scores, hits, where = (np.array(column) for column in zip(*kept)) if kept else (np.zeros(0),) * 3
    return scores, hits.astype(bool), where.astype(int), count


def average_precision(hits, count, times=None):
    """`times` says how often each detection counts; once by default."""
    if not count or not hits.size:
        return None if not count else 0.0
    times = np.ones(hits.size) if times is None else times
    gained = hits * times
    precision = np.cumsum(gained) / np.maximum(np.cumsum(times), 1e-9)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float((precision * gained).sum() / count)


def precision_interval(hits, where, labels_in, rng, rounds=400):
    """95 % of the average precisions when the pictures are drawn anew with repetition."""
    values = []
    for _ in range(rounds):
        drawn = np.bincount(rng.integers(labels_in.size, size=labels_in.size), minlength=labels_in.size)
        values.append(average_precision(hits, (drawn * labels_in).sum(), drawn[where]) or 0.0)
    return [rounded(value) for value in np.percentile(values, [2.5, 97.5])]


def wilson(successes, trials, z=1.96):
    """95 % interval of a share."""
    if not trials:
        return None
    share, spread = successes / trials, z * z / trials
    middle = (share + spread / 2) / (1 + spread)
    half = z * np.sqrt(share * (1 - share) / trials + spread / trials / 4) / (1 + spread)
    return [rounded(max(middle - half, 0)), rounded(min(middle + half, 1))]


def calibrated(raw, calibration):
    return 1 / (1 + np.exp(-(calibration["a"] * logit(raw) + calibration["b"])))


def logit(share):
    share = np.clip(np.asarray(share, np.float64), 1e-6, 1 - 1e-6)
    return np.log(share / (1 - share))


def fit_calibration(scores, hits):
    """Platt scaling with his smoothed targets, by Newton steps; the identity if there is too little."""
    met, missed = int(hits.sum()), int((~hits).sum())
    counts = {"hits": met, "misses": missed}
    if min(met, missed) < FEWEST_SAMPLES:
        return {"a": 1.0, "b": 0.0, "fitted": False, **counts}
    wanted = np.where(hits, (met + 1) / (met + 2), 1 / (missed + 2))
    design = np.stack([logit(scores), np.ones(len(scores))], 1)
    weights = np.array([1.0, 0.0])
    for _ in range(50):
        seen = 1 / (1 + np.exp(-design @ weights))
        curvature = (design * (seen * (1 - seen))[:, None]).T @ design + 1e-6 * np.eye(2)
        weights = weights - np.linalg.solve(curvature, design.T @ (seen - wanted))
    return {"a": round(float(weights[0]), 4), "b": round(float(weights[1]), 4), "fitted": True, **counts}


def progress(detector, pictures):
    """A line of the learning curve, on some of the calibration part."""
    found, labels, doubts, folders, originals = [], [], [], [], []
    for folder in sorted({p.folder for p in pictures}):
        for picture in [p for p in pictures if p.folder == folder and p.part == "calibration"][:PROGRESS_MOST]:
            found.append(detector.detections(picture.image))
            labels.append(picture.labels)
            doubts.append(picture.doubts)
            folders.append(folder)
            originals.append(picture.original[picture.original[:, 4] >= ORIGINAL_SURE])

    def over(folder, truth=labels):
        return [[rows for rows, here in zip(column, folders) if here.startswith(folder)]
                for column in (found, truth, doubts)]

    line = {}
    for name, index, folder in (("rat", RAT, "rats"), ("cigarette", CIGARETTE, "cigarettes"),
                                ("head", HEAD, "heads_helmet")):
        for iou in (0.3, 0.5):
            scores, hits, _, count = matched(*over(folder)[:2], index, iou)
            line[f"{name} AP{iou * 100:.0f}"] = rounded(average_precision(hits, count))
            if iou == 0.3:
                line |= {f"{name} recall at P {least}": rounded(recall_at(hits, count, least))
                         for least in (0.9, 0.95)}
    for name, index in (("person", PERSON), ("cat", CAT), ("dog", DOG)):
        found_all, labels_all, doubts_all = over("")
        _, hits, _, count = matched(found_all, labels_all, index, 0.5, doubts_all)
        line[f"{name} AP50"] = rounded(average_precision(hits, count))
    _, hits, _, count = matched(*over("", originals)[:2], PERSON, 0.5)
    line["person agreement AP50"] = rounded(average_precision(hits, count))
    rat_scores = matched(*over("rats")[:2], RAT, 0.3)
    line["rat raw score at P 0.95"] = rounded(score_at(*rat_scores[:2], 0.95))
    for folder in ("catdog/cats", "catdog/dogs", "people_by_dress", "masks", "cigarettes"):
        here = over(folder)[0]
        best = sorted((float(of_class(rows, RAT)[:, 4].max(initial=0)) for rows in here), reverse=True)
        line[f"rat on {folder}"] = [rounded(score) for score in best[:3]] + [len(here)]
    return line


def recall_at(hits, count, least):
    """The largest recall at which precision still holds."""
    precision = np.cumsum(hits) / np.arange(1, hits.size + 1)
    good = np.flatnonzero(precision >= least)
    return float(hits[: good[-1] + 1].sum() / count) if good.size and count else 0.0


def score_at(scores, hits, least):
    precision = np.cumsum(hits) / np.arange(1, hits.size + 1)
    good = np.flatnonzero(precision >= least)
    return float(scores[good[-1]]) if good.size else 1.0


def rounded(value):
    return None if value is None else round(float(value), 3)
