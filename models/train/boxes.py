"""Boxes: overlap, coverage, suppression. Rows x1, y1, x2, y2, and further columns that are left alone."""

import numpy as np


def overlap(first, second):
    """IoU of every box of the first with every box of the second."""
    shared = intersection(first, second)
    return shared / np.maximum(area(first)[:, None] + area(second)[None] - shared, 1e-6)


def covered(first, second):
    """Which share of every box of the first each box of the second covers."""
    return intersection(first, second) / np.maximum(area(first)[:, None], 1e-6)


def intersection(first, second):
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:4], second[None, :, 2:4])
    return np.prod(np.clip(high - low, 0, None), 2)


def area(boxes):
    return np.prod(np.clip(boxes[:, 2:4] - boxes[:, :2], 0, None), 1)


def suppressed(boxes, scores, iou):
    """Indices of the boxes that stay, best first."""
    order, kept = np.argsort(-scores), []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(best)
        order = order[overlap(boxes[best : best + 1], boxes[order])[0] < iou]
    return np.array(kept, int)


def select(boxes, scores, least, scale=1.0, iou=0.55):
    """Suppression within each class; rows x1, y1, x2, y2, score, class, boxes divided by the scale."""
    rows = []
    for index in range(scores.shape[1]):
        strong = np.flatnonzero(scores[:, index] >= least)
        for cell in strong[suppressed(boxes[strong], scores[strong, index], iou)]:
            rows.append([*(boxes[cell] / scale), scores[cell, index], index])
    return np.array(rows, np.float32).reshape(-1, 6)
