"""Which cells shall find a label, and how far a batch of outputs is from that.

Enters: raw outputs, and labels and doubts in network pixels. Leaves: one differentiable number. The score
of a cell is objectness times class, as the agent reads it; there is no loss on objectness by itself.
"""

import numpy as np
import torch
import torch.nn.functional as functional

from boxes import overlap
from network import CLASSES, decode_boxes

# The rarer a class is in the pictures, the more its cells weigh.
CLASS_WEIGHTS = {"person": 1.0, "head": 1.0, "phone": 3.0, "cigarette": 2.5, "rat": 2.0, "cat": 1.5, "dog": 1.5}
BOX_WEIGHT, LATE_BOX_WEIGHT, OFFSET_WEIGHT = 2.5, 1.5, 3.0
# A perfectly placed box is worth the label's score, a misplaced one less, down to this share.
LEAST_WORTH = 0.5
TINY = 1e-6


def loss(output, targets, cells, late):
    """Sum over the batch divided by what the labels are worth, and its parts for the log.

    Late in a run squared offsets join the overlap: some rats are boxed with the tail and some without, and a
    box between both meets either at IoU 0.5, while overlap alone favours one of the two.
    """
    cell_tensor = torch.from_numpy(cells)
    boxes = decode_boxes(output[..., :4], cell_tensor)
    scores = (output[..., 4:5] * output[..., 5:]).clamp(TINY, 1 - TINY)
    seen_boxes, seen_scores = boxes.detach().numpy(), scores.detach().numpy()
    wanted = np.zeros(scores.shape, np.float32)
    learnt = np.ones(scores.shape, np.float32)
    picked = []
    for index, (labels, doubts) in enumerate(targets):
        chosen, label_of = assign(labels, seen_boxes[index], seen_scores[index], cells)
        learnt[index] = certain(doubts, cells)
        if chosen.size:
            rows = labels[label_of]
            classes = rows[:, 5].astype(int)
            ious = paired_overlap(seen_boxes[index, chosen], rows)
            wanted[index, chosen, classes] = rows[:, 4] * (LEAST_WORTH + (1 - LEAST_WORTH) * ious)
            learnt[index, chosen, classes] = 1
            picked.append((np.full(chosen.size, index), chosen, rows))
    weights = learnt * np.array([CLASS_WEIGHTS[label] for label in CLASSES], np.float32)
    wanted, weights = torch.from_numpy(wanted), torch.from_numpy(weights)
    worth = wanted.sum().clamp(min=1)
    parts = {"score": surplus(scores, wanted, weights) / worth}
    if picked:
        images, chosen, rows = (np.concatenate(column) for column in zip(*picked))
        aims, shares = torch.from_numpy(rows[:, :4].copy()), torch.from_numpy(rows[:, 4].copy())
        seen = boxes[images, chosen]
        weight = LATE_BOX_WEIGHT if late else BOX_WEIGHT
        parts["box"] = weight * (shares * (1 - generalised_iou(seen, aims))).sum() / worth
        if late:
            parts["offset"] = OFFSET_WEIGHT * (shares * offsets(seen, aims)).sum() / worth
    return sum(parts.values()), {name: round(float(value.detach()), 4) for name, value in parts.items()}


def assign(labels, boxes, scores, cells):
    """Cells and the label each shall find: near its centre, cheapest in class and overlap (as SimOTA)."""
    points = (cells[:, :2] + 0.5) * cells[:, 2:3]
    best = np.full(len(cells), np.inf)
    label_of = np.full(len(cells), -1)
    for number, label in enumerate(labels):
        centre = (label[:2] + label[2:4]) / 2
        away = np.abs(points - centre).max(1) / cells[:, 2]
        inner = ((points > label[:2]) & (points < label[2:4])).all(1)
        candidates = np.flatnonzero((away < 2.5) & inner)
        if not candidates.size:
            candidates = np.flatnonzero(away < 1)
        ious = overlap(label[None, :4], boxes[candidates])[0]
        class_cost = -np.log(np.clip(scores[candidates, int(label[5])], TINY, 1))
        cost = class_cost - 3 * np.log(np.clip(ious, TINY, 1))
        count = int(np.clip(np.sort(ious)[-10:].sum(), 1, 8))
        for place in np.argsort(cost)[:count]:
            cell = candidates[place]
            if cost[place] < best[cell]:
                best[cell], label_of[cell] = cost[place], number
    chosen = np.flatnonzero(label_of >= 0)
    return chosen, label_of[chosen]


def certain(doubts, cells):
    """Cells by classes: 0 where a doubt of the class lies over the cell's centre, else 1."""
    points = (cells[:, :2] + 0.5) * cells[:, 2:3]
    learnt = np.ones((len(cells), len(CLASSES)), np.float32)
    for doubt in doubts:
        learnt[((points > doubt[:2]) & (points < doubt[2:4])).all(1), int(doubt[4])] = 0
    return learnt


def paired_overlap(first, second):
    low, high = np.maximum(first[:, :2], second[:, :2]), np.minimum(first[:, 2:4], second[:, 2:4])
    shared = np.clip(high - low, 0, None).prod(1)
    return shared / ((first[:, 2:4] - first[:, :2]).prod(1) + (second[:, 2:4] - second[:, :2]).prod(1) - shared)


def offsets(seen, aims):
    """Squared differences of centre and of the sizes' logarithms, in the aimed box's own size."""
    size, seen_size = (aims[:, 2:] - aims[:, :2]).clamp(min=1), (seen[:, 2:] - seen[:, :2]).clamp(min=1)
    centre = (seen[:, :2] + seen[:, 2:] - aims[:, :2] - aims[:, 2:]) / 2 / size
    return (centre.square() + torch.log(seen_size / size).square()).clamp(max=2).sum(1)


def surplus(seen, wanted, weight):
    """Cross entropy less the entropy of the soft target: zero where both agree."""
    least = wanted.clamp(TINY, 1 - TINY)
    return (functional.binary_cross_entropy(seen, wanted, weight, reduction="sum")
            - functional.binary_cross_entropy(least, wanted, weight, reduction="sum"))


def generalised_iou(first, second):
    low, high = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    area = [(b[..., 2:] - b[..., :2]).prod(-1) for b in (first, second)]
    union = area[0] + area[1] - shared + TINY
    outer = (torch.maximum(first[..., 2:], second[..., 2:])
             - torch.minimum(first[..., :2], second[..., :2])).prod(-1) + TINY
    return shared / union - (outer - union) / outer
