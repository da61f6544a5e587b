"""Distillation: the cut network learns to see on spoilt pictures what it saw on clean ones, and at its
smaller input what the original saw at 416x416.

Enters: a Shelf of training pictures and the cut ONNX file. Leaves: a trained Network and its moving
average. Targets are soft: per cell and class the teacher's objectness times class score.
"""

import copy
import json
import time

import cv2
import numpy as np
import torch
import torch.nn.functional as functional

from network import HEIGHT, WIDTH, Network, decode_boxes, grid
from pictures import CAT, DOG, NOTHING, PHONE, RAT, letterbox, one_thread_session, overlap, to_input
from scenes import compose, spoil

SCENES_PER_STEP, COPIES = 8, 2
LEARNING_RATE, LAST_RATE, WARM_UP = 1e-3, 1e-5, 40
MOVING_AVERAGE = 0.99
LEAST_LABEL_SCORE, LEAST_LABEL_SIDE = 0.45, 8
PHONE_IN_DOUBT = 0.45
# Person, phone, cat, dog: the rarer a class is in the pictures, the more its cells weigh.
CLASS_WEIGHTS = [1.0, 4.0, 2.0, 2.0]


class SceneSource:
    """Batches of spoilt scenes with the cut network's view of the clean ones as targets."""

    def __init__(self, shelf, cut_path, rng):
        self.shelf, self.rng = shelf, rng
        self.session = one_thread_session(cut_path)
        self.cells = grid()

    def batch(self):
        inputs, targets = [], []
        for _ in range(SCENES_PER_STEP):
            scene = compose(self.shelf, self.rng)
            clean, scale = letterbox(scene.image, WIDTH, HEIGHT)
            target = self.target(clean, scene, scale)
            for copy_index in range(COPIES):
                as_it_is = copy_index == 0 and self.rng.random() < 0.5
                image = clean if as_it_is else letterbox(spoil(scene.image, self.rng), WIDTH, HEIGHT)[0]
                inputs.append(image)
                targets.append(target)
        return to_input(inputs), targets

    def target(self, clean, scene, scale):
        raw = self.session.run(None, {"images": to_input([clean])})[0][0]
        scores = raw[:, 4:5] * raw[:, 5:]
        boxes = decode_boxes(raw[:, :4], self.cells)
        known = np.full((HEIGHT, WIDTH), NOTHING, np.uint8)
        size = int(scene.image.shape[1] * scale), int(scene.image.shape[0] * scale)
        known[: size[1], : size[0]] = cv2.resize(scene.known, size, interpolation=cv2.INTER_NEAREST)
        correct(scores, boxes, known)
        # Only on single pictures: pasted ones carry labels of people smaller than the original finds in the
        # whole scene, and agreement with what it finds there is the measure.
        labels = scene.labels.copy() if scene.single else np.zeros((0, 6), np.float32)
        labels[:, :4] *= scale
        sides = labels[:, 2:4] - labels[:, :2]
        labels = labels[(labels[:, 4] >= LEAST_LABEL_SCORE) & (sides.min(1, initial=999) >= LEAST_LABEL_SIDE)]
        return scores, raw[:, 4].copy(), boxes, labels


def correct(scores, boxes, known):
    """What the teacher calls cat or dog becomes the picture's true animal, or nothing on a rat picture;
    a phone is kept in doubt where phones are known to be something else."""
    centre = ((boxes[:, :2] + boxes[:, 2:4]) / 2).astype(int)
    here = known[np.clip(centre[:, 1], 0, HEIGHT - 1), np.clip(centre[:, 0], 0, WIDTH - 1)]
    either = scores[:, [CAT, DOG]].max(1)
    for true, other in ((CAT, DOG), (DOG, CAT)):
        scores[here == true, true] = either[here == true]
        scores[here == true, other] = 0
    rat = here == RAT
    scores[rat, CAT] = scores[rat, DOG] = 0
    scores[here != NOTHING, PHONE] = np.minimum(scores[here != NOTHING, PHONE], PHONE_IN_DOUBT)


def assign(label, boxes, scores, cells):
    """The cells that shall find a label: inside it, near its centre, cheapest in class and overlap."""
    centre = (label[:2] + label[2:4]) / 2
    points = (cells[:, :2] + 0.5) * cells[:, 2:3]
    near = np.abs(points - centre).max(1) < 2.5 * cells[:, 2]
    inner = ((points > label[:2]) & (points < label[2:4])).all(1)
    candidates = np.flatnonzero(near & inner)
    if not candidates.size:
        return candidates
    ious = overlap(label[None, :4], boxes[candidates])[0]
    cost = -np.log(np.clip(scores[candidates, int(label[5])], 1e-6, 1)) - 3 * np.log(np.clip(ious, 1e-6, 1))
    count = int(np.clip(np.sort(ious)[-10:].sum(), 1, 8))
    return candidates[np.argsort(cost)[:count]]


def loss(output, targets, cells):
    """Sum over the batch, divided by the number of positive cells; and its parts for the log."""
    cell_tensor = torch.from_numpy(cells)
    boxes = decode_boxes(output[..., :4], cell_tensor)
    objectness = output[..., 4].clamp(1e-6, 1 - 1e-6)
    scores = (output[..., 4:5] * output[..., 5:]).clamp(1e-6, 1 - 1e-6)
    seen_boxes, seen_scores = boxes.detach().numpy(), scores.detach().numpy()
    wanted_scores, wanted_objectness, wanted_boxes = (np.stack([t[i] for t in targets]) for i in range(3))
    for index, (_, _, _, labels) in enumerate(targets):
        for label in labels:
            chosen = assign(label, seen_boxes[index], seen_scores[index], cells)
            column = int(label[5])
            wanted_scores[index, chosen, column] = np.maximum(wanted_scores[index, chosen, column], label[4])
            wanted_objectness[index, chosen] = np.maximum(wanted_objectness[index, chosen], label[4])
            wanted_boxes[index, chosen] = label[:4]
    wanted_scores, wanted_objectness, wanted_boxes = map(
        torch.from_numpy, (wanted_scores, wanted_objectness, wanted_boxes))
    positives = wanted_scores.sum().clamp(min=1)
    weight = wanted_scores.max(-1).values
    weight = weight * (weight > 0.2)
    parts = {
        "score": surplus(scores, wanted_scores, torch.tensor(CLASS_WEIGHTS)) / positives,
        "objectness": 0.5 * surplus(objectness, wanted_objectness) / positives,
        "box": 2.0 * (weight * (1 - generalised_iou(boxes, wanted_boxes))).sum() / positives,
    }
    return sum(parts.values()), {name: float(value.detach()) for name, value in parts.items()}


def surplus(seen, wanted, weight=None):
    """Cross entropy less the entropy of the soft target: zero where both agree."""
    least = wanted.clamp(1e-6, 1 - 1e-6)
    weight = None if weight is None else weight.expand_as(seen)
    return (functional.binary_cross_entropy(seen, wanted, weight, reduction="sum")
            - functional.binary_cross_entropy(least, wanted, weight, reduction="sum"))


def generalised_iou(first, second):
    low, high = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    area = [(b[..., 2:] - b[..., :2]).prod(-1) for b in (first, second)]
    union = area[0] + area[1] - shared + 1e-6
    outer = (torch.maximum(first[..., 2:], second[..., 2:])
             - torch.minimum(first[..., :2], second[..., :2])).prod(-1) + 1e-6
    return shared / union - (outer - union) / outer


class RelativeAdam:
    """Adam whose steps are relative to each output channel's own size.

    With BatchNorm folded in and pixels of 0..255, weights differ in size by thousands between layers:
    plain Adam at 1e-4 brought person AP50 from .998 to .73 within 100 steps.
    """

    def __init__(self, parameters, betas=(0.9, 0.99)):
        self.parameters, self.betas, self.steps = list(parameters), betas, 0
        self.sizes = [self.size(p.detach()) for p in self.parameters]
        self.means = [torch.zeros_like(p) for p in self.parameters]
        self.squares = [torch.zeros_like(p) for p in self.parameters]

    @staticmethod
    def size(value):
        dims = tuple(range(1, value.ndim)) if value.ndim > 1 else (0,)
        return value.square().mean(dims, keepdim=True).sqrt()

    @torch.no_grad()
    def step(self, rate):
        self.steps += 1
        first, second = self.betas
        for value, size, mean, square in zip(self.parameters, self.sizes, self.means, self.squares):
            mean.lerp_(value.grad, 1 - first)
            square.lerp_(value.grad.square(), 1 - second)
            denominator = (square / (1 - second**self.steps)).sqrt() + 1e-12
            value -= rate * size * (mean / (1 - first**self.steps)) / denominator


def train(cut_model, shelf, cut_path, scratch, seed, steps, minutes):
    """Trains until the steps or the minutes are used up; the rate falls with whichever is further."""
    torch.manual_seed(seed)
    network = Network(cut_model).train().to(memory_format=torch.channels_last)
    average = copy.deepcopy([p.detach() for p in network.parameters()])
    optimiser = RelativeAdam(network.parameters())
    source = SceneSource(shelf, cut_path, np.random.default_rng(seed))
    started, log = time.monotonic(), (scratch / "training.jsonl").open("w")
    step, done = 0, 0.0
    while done < 1:
        rate = min(1, (step + 1) / WARM_UP) * (
            LAST_RATE + (LEARNING_RATE - LAST_RATE) * (1 + np.cos(np.pi * done)) / 2)
        images, targets = source.batch()
        output = network(torch.from_numpy(images).contiguous(memory_format=torch.channels_last))
        total, parts = loss(output, targets, source.cells)
        network.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step(rate)
        step += 1
        keep = min(MOVING_AVERAGE, step / (step + 20))
        for mean, value in zip(average, network.parameters()):
            mean.lerp_(value.detach(), 1 - keep)
        done = max(step / steps, (time.monotonic() - started) / 60 / minutes)
        if step % 10 == 0:
            print(json.dumps({"step": step, "seconds": round(time.monotonic() - started), "rate": rate, **parts}),
                  file=log, flush=True)
        if step % 50 == 0 or done >= 1:
            torch.save({"step": step, "average": average}, scratch / "checkpoint.pt")
    return step


def load(cut_model, scratch, share):
    """The moving average of the last checkpoint, mixed by a share of 0..1 with the untrained weights."""
    network = Network(cut_model)
    for value, mean in zip(network.parameters(), torch.load(scratch / "checkpoint.pt")["average"]):
        value.data.lerp_(mean, share)
    return network
