"""The figures of a network on one part of the pictures.

Enters: a detector, its calibration, pictures. Leaves: a dictionary for figures.json, intervals included.
Thresholds are on calibrated scores. Drawn boxes judge rat and cigarette strictly; heads of faces and what
the original sees judge the rest, less what is in doubt.
"""

from dataclasses import replace

import cv2
import numpy as np

from boxes import overlap, suppressed
from camera import spoil
from evaluation import (NMS_IOU, ORIGINAL_SURE, average_precision, calibrated, matched, of_class,
                        precision_interval, rounded, wilson)
from labels import CAT, CIGARETTE, DOG, HEAD, PERSON, PHONE, RAT
from network import CLASSES, HEIGHT, WIDTH
from pictures import JUDGING_VIDEO, frames, letterbox

THRESHOLDS = (0.5, 0.6, 0.65, 0.7)
RULE_THRESHOLD = 0.6
# Class, the folder that judges it, whether people drew its boxes.
JUDGED = [(RAT, "rats", True), (CIGARETTE, "cigarettes", True), (HEAD, "heads_helmet", True),
          (HEAD, "people_by_dress", False), (PERSON, "", False), (CAT, "", False), (DOG, "", False)]
# Folders whose pictures do not show the class.
PEOPLE = ["people_by_dress", "masks", "heads_helmet", "coco100"]
WITHOUT = {RAT: ["catdog/cats", "catdog/dogs", "cigarettes", *PEOPLE],
           CIGARETTE: ["catdog/cats", "catdog/dogs", "rats", *PEOPLE],
           CAT: ["rats", "catdog/dogs", "people_by_dress", "masks"],
           DOG: ["rats", "catdog/cats", "people_by_dress", "masks"],
           PHONE: ["cigarettes", "masks"]}
# Longer side of the label in network pixels.
SIZES = (8, 12, 16, 24, 32, 48, 64, 96, 1000)
SHRINKAGES = (1.0, 0.6, 0.4, 0.25, 0.16, 0.1)
HEAD_SURE, MOST_WINDOWS = 0.3, 2
ENLARGED = (1.0, 1.6)


def judge(detector, calibrations, pictures, data, rng):
    """Everything the card says of the pictures given."""
    seen = {p.name: detector.detections(p.image) for p in pictures}
    spoilt = {p.name: detector.detections(spoil(p.image, rng)) for p in pictures}
    smokers = [p for p in pictures if p.folder.startswith("cigarettes")]
    figures = {"pictures": len(pictures), "classes": {}}
    for index, folder, drawn in JUDGED:
        here = [p for p in pictures if p.folder.startswith(folder)]
        name = f"{CLASSES[index]} on {folder or 'all'}"
        figures["classes"][name] = against_labels(seen, here, index, drawn, calibrations, rng)
        figures["classes"][f"{name}, spoilt"] = against_labels(spoilt, here, index, drawn, calibrations, rng)
    seen_rats = [p for p in pictures if p.folder.startswith("rats")]
    completed = [replace(p, labels=np.concatenate([p.labels, p.added])) for p in seen_rats]
    figures["classes"]["rat on rats, unboxed ones added by eye"] = against_labels(
        seen, completed, RAT, False, calibrations, rng)
    for enlarged in ENLARGED:
        windows = {p.name: with_windows(detector, p.image, seen[p.name], enlarged) for p in smokers}
        figures["classes"][f"cigarette with windows of the picture times {enlarged}"] = against_labels(
            windows, smokers, CIGARETTE, True, calibrations, rng)
    figures["agreement"] = {CLASSES[index]: agreement(seen, pictures, index, calibrations, rng)
                            for index in (PERSON, PHONE, CAT, DOG)}
    figures["false alarms"] = false_alarms(seen, pictures, calibrations)
    figures["street"] = street(detector, calibrations, data)
    figures["sizes"] = {CLASSES[index]: by_size(detector, [p for p in pictures if p.folder.startswith(folder)],
                                                index, calibrations[CLASSES[index]])
                        for index, folder in ((RAT, "rats"), (CIGARETTE, "cigarettes"), (HEAD, "heads_helmet"))}
    return figures


def against_labels(seen, pictures, index, drawn, calibrations, rng):
    found, labels = [seen[p.name] for p in pictures], [p.labels for p in pictures]
    doubts = None if drawn else [p.doubts for p in pictures]
    labels_in = np.array([len(of_class(rows, index)) for rows in labels])
    result = {"pictures": len(pictures), "labels": int(labels_in.sum())}
    for iou in (0.3, 0.5):
        scores, hits, where, count = matched(found, labels, index, iou, doubts)
        key = f"{iou * 100:.0f}"
        result[f"AP{key}"] = rounded(average_precision(hits, count))
        result[f"AP{key} interval"] = precision_interval(hits, where, labels_in, rng)
        result[f"at IoU {iou}"] = at_thresholds(scores, hits, count, calibrations[CLASSES[index]])
    return result


def at_thresholds(scores, hits, count, calibration):
    result = {}
    for threshold in THRESHOLDS:
        taken = calibrated(scores, calibration) >= threshold
        met, reported = int(hits[taken].sum()), int(taken.sum())
        result[str(threshold)] = {
            "precision": share(met, reported), "precision interval": wilson(met, reported),
            "recall": share(met, count), "recall interval": wilson(met, count),
            "reported": reported, "met": met, "labels": int(count)}
    return result


def share(part, whole):
    return rounded(part / whole) if whole else None


def with_windows(detector, image, found, enlarged=1.0):
    """The whole picture's detections and those of windows at native resolution around its best heads.

    As the agent cuts them: the network's input size, or what the picture has of it, not scaled. Enlarged, the
    picture stands for a main stream on which the same head is so many times larger.
    """
    image = cv2.resize(image, None, fx=enlarged, fy=enlarged)
    height, width = image.shape[:2]
    if width <= WIDTH and height <= HEIGHT:
        return found
    heads = of_class(found, HEAD)
    heads = heads[heads[:, 4] >= HEAD_SURE][:MOST_WINDOWS]
    rows = [found]
    for head in heads:
        middle = (head[:2] + head[2:4]) / 2 * enlarged
        left = int(np.clip(middle[0] - WIDTH / 2, 0, max(width - WIDTH, 0)))
        top = int(np.clip(middle[1] - HEIGHT / 2, 0, max(height - HEIGHT, 0)))
        window = detector.detections(image[top : top + HEIGHT, left : left + WIDTH])
        window[:, :4] = (window[:, :4] + np.array([left, top, left, top], np.float32)) / enlarged
        rows.append(window)
    rows = np.concatenate(rows)
    kept = []
    for index in range(len(CLASSES)):
        own = of_class(rows, index)
        kept.append(own[suppressed(own, own[:, 4], NMS_IOU)])
    return np.concatenate(kept)


def agreement(seen, pictures, index, calibrations, rng):
    """Against the original's own boxes, uncorrected; what it half suspects is no false alarm."""
    found = [seen[p.name] for p in pictures]
    sure = [surely_original(p) for p in pictures]
    half = [p.original[p.original[:, 4] < ORIGINAL_SURE][:, [0, 1, 2, 3, 5]] for p in pictures]
    scores, hits, where, count = matched(found, sure, index, 0.5, half)
    labels_in = np.array([len(of_class(rows, index)) for rows in sure])
    result = {"labels": int(count), "AP50": rounded(average_precision(hits, count))}
    if count:
        result["AP50 interval"] = precision_interval(hits, where, labels_in, rng)
    return result | at_thresholds(scores, hits, count, calibrations[CLASSES[index]])


def surely_original(picture):
    return picture.original[picture.original[:, 4] >= ORIGINAL_SURE]


def false_alarms(seen, pictures, calibrations):
    """Pictures with a class at the rules' threshold in folders whose pictures do not show it."""
    result = {}
    for index, without in WITHOUT.items():
        for folder in without:
            here = [p for p in pictures if p.folder.startswith(folder)]
            best = np.array([of_class(seen[p.name], index)[:, 4].max(initial=0) for p in here])
            count = int((calibrated(best, calibrations[CLASSES[index]]) >= RULE_THRESHOLD).sum())
            result[f"{CLASSES[index]} on {folder}"] = {"pictures": len(here), "with": count,
                                                       "interval": wilson(count, len(here))}
    return result


def street(detector, calibrations, data):
    """Frames of the video that only judges: nothing but people is on it."""
    name, step = JUDGING_VIDEO
    counts, shown = dict.fromkeys(CLASSES, 0), 0
    for _, image in frames(data / f"videos/{name}.mp4", step):
        found, shown = detector.detections(image), shown + 1
        for index, label in enumerate(CLASSES):
            scores = calibrated(of_class(found, index)[:, 4], calibrations[label])
            counts[label] += int((scores >= RULE_THRESHOLD).any())
    return {"frames": shown, "frames with": counts}


def by_size(detector, pictures, index, calibration):
    """Recall and precision at IoU 0.3 by the longer side in network pixels, over pictures shrunk further and
    further in the letterbox; each picture appears once a shrinkage, so these are not independent."""
    bins = [{"labels": 0, "met": 0, "reported": 0, "right": 0} for _ in SIZES]
    for shrinkage in SHRINKAGES:
        for picture in pictures:
            framed, scale = letterbox(picture.image, int(WIDTH * shrinkage), int(HEIGHT * shrinkage))
            canvas = np.full((HEIGHT, WIDTH, 3), 114, np.uint8)
            canvas[: framed.shape[0], : framed.shape[1]] = framed
            labels = of_class(picture.labels, index).copy()
            labels[:, :4] *= scale
            found = of_class(detector.detections(canvas), index)
            found = found[calibrated(found[:, 4], calibration) >= RULE_THRESHOLD]
            _, hits, _, _ = matched([found], [labels], index, 0.3)
            for row, hit in zip(found[np.argsort(-found[:, 4], kind="stable")], hits):
                place = bins[np.searchsorted(SIZES, longer(row))]
                place["reported"] += 1
                place["right"] += int(hit)
            for label, met in zip(labels, overlap(labels, found).max(1, initial=0) >= 0.3):
                place = bins[np.searchsorted(SIZES, longer(label))]
                place["labels"] += 1
                place["met"] += int(met)
    return {f"up to {size} px": counts | {"recall": share(counts["met"], counts["labels"]),
                                          "precision": share(counts["right"], counts["reported"])}
            for size, counts in zip(SIZES, bins)}


def longer(row):
    return min(max(row[2] - row[0], row[3] - row[1]), SIZES[-1])
