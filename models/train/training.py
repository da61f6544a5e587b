"""The training loop, its checkpoints and its learning curve.

Enters: pictures with labels and the cut ONNX file. Leaves: checkpoint.pt (weights, their moving average,
the optimiser), training.jsonl and learning_curve.jsonl in the scratch folder. A run that was stopped goes
on from its checkpoint.
"""

import copy
import json
import os
import time

import numpy as np
import torch

import evaluation
from camera import spoil
from evaluation import of_class
from labels import RAT, TRUE_ANIMAL, unboxed_rats, unrefuted
from loss import loss
from network import CLASSES, Network, export, grid
from pictures import one_thread_session, to_input
from scenes import PADDING, Shelf, compose

BATCH = 8
# Share of scenes that are not spoilt, early and late in a run.
AS_IT_IS, LATE_AS_IT_IS = 0.3, 0.5
LEARNING_RATE, CONTINUED_RATE, LAST_RATE, WARM_UP = 1.5e-3, 1e-3, 1e-5, 100
# The class layers start from other classes and have further to go.
CLASS_LAYER_RATE = 3
MOVING_AVERAGE = 0.998
# Shares of the run: from when unboxed and mistaken rats are looked for once, and from when scenes are calmer;
# both from the beginning on if a trained network is trained on.
REVIEW, LATE = 0.4, 0.5
REVIEW_SCORE, MISTAKEN_SCORE = 0.4, 0.2
CHECKPOINT_SECONDS, CURVE_SECONDS = 300, 900


class RelativeAdam:
    """Adam whose steps are relative to each output channel's own size.

    With BatchNorm folded in and pixels of 0..255, weights differ in size by thousands between layers:
    plain Adam at 1e-4 brought person AP50 from .998 to .73 within 100 steps.
    """

    def __init__(self, parameters, betas=(0.9, 0.99)):
        self.parameters, self.betas, self.steps = list(parameters), betas, 0
        self.sizes = [self.size(p.detach()) for p in self.parameters]
        for value, size in zip(self.parameters, self.sizes):
            if value.shape[0] == len(CLASSES):
                size *= CLASS_LAYER_RATE
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


class Run:
    """Everything of a run that a checkpoint keeps."""

    def __init__(self, cut_model, scratch):
        self.path = scratch / "checkpoint.pt"
        self.network = Network(cut_model).train().to(memory_format=torch.channels_last)
        self.average = copy.deepcopy([p.detach() for p in self.network.parameters()])
        self.optimiser = RelativeAdam(self.network.parameters())
        self.seconds = 0.0
        if self.path.exists():
            self.restore(torch.load(self.path))

    @property
    def step(self):
        return self.optimiser.steps

    def restore(self, kept):
        self.optimiser.steps, self.seconds = kept["step"], kept["seconds"]
        for name, values in (("weights", self.network.parameters()), ("average", self.average),
                             ("means", self.optimiser.means), ("squares", self.optimiser.squares)):
            for value, before in zip(values, kept[name]):
                value.data.copy_(before)

    def save(self):
        aside = self.path.with_suffix(".new")
        torch.save({"step": self.step, "seconds": self.seconds, "weights": list(self.network.parameters()),
                    "average": self.average, "means": self.optimiser.means,
                    "squares": self.optimiser.squares}, aside)
        os.replace(aside, self.path)

    def learn(self, images, targets, cells, rate, late):
        output = self.network(torch.from_numpy(images).contiguous(memory_format=torch.channels_last))
        total, parts = loss(output, targets, cells, late)
        self.network.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step(rate)
        keep = min(MOVING_AVERAGE, self.step / (self.step + 20))
        for mean, value in zip(self.average, self.network.parameters()):
            mean.lerp_(value.detach(), 1 - keep)
        return parts


def train(cut_model, continued, pictures, scratch, seed, steps, minutes):
    """Trains until the steps or the minutes are used up; the rate falls with whichever is further."""
    review_from, late_from, first_rate = (0, 0, CONTINUED_RATE) if continued else (REVIEW, LATE, LEARNING_RATE)
    run = Run(cut_model, scratch)
    rng = np.random.default_rng([seed, run.step])
    shelf, cells = Shelf([p for p in pictures if p.part == "train"]), grid()
    log = (scratch / "training.jsonl").open("a")
    last = time.monotonic()
    saved = judged = run.seconds
    done, reviewed = max(run.step / steps, run.seconds / 60 / minutes), False
    while done < 1:
        if done >= review_from and not reviewed:
            review(shelf, exported(cut_model, run.average, scratch / "review.onnx"))
            reviewed = True
        shelf.late = done >= late_from
        images, targets = batch(shelf, rng)
        rate = min(1, (run.step + 1) / WARM_UP) * (
            LAST_RATE + (first_rate - LAST_RATE) * (1 + np.cos(np.pi * done)) / 2)
        parts = run.learn(images, targets, cells, rate, shelf.late)
        now = time.monotonic()
        run.seconds, last = run.seconds + now - last, now
        done = max(run.step / steps, run.seconds / 60 / minutes)
        if run.step % 20 == 0:
            write(log, {"step": run.step, "seconds": round(run.seconds), "rate": round(rate, 6), **parts})
        if run.seconds - saved >= CHECKPOINT_SECONDS or done >= 1:
            run.save()
            saved = run.seconds
        if run.seconds - judged >= CURVE_SECONDS:
            detector = exported(cut_model, run.average, scratch / "curve.onnx")
            with (scratch / "learning_curve.jsonl").open("a") as curve:
                write(curve, {"step": run.step, "minutes": round(run.seconds / 60, 1),
                              **evaluation.progress(detector, pictures)})
            judged = run.seconds
    return run.step


def batch(shelf, rng):
    images, targets = [], []
    for _ in range(BATCH):
        scene = compose(shelf, rng)
        if rng.random() >= (LATE_AS_IT_IS if shelf.late else AS_IT_IS):
            scene.image = spoil(scene.image, rng)
            scene.image[scene.padding] = PADDING
        images.append(scene.image)
        targets.append((scene.labels, scene.doubts))
    return to_input(images), targets


def review(shelf, detector):
    """What the half-trained network takes for an unboxed rat on a rat picture is a doubt from now on; the cats
    and dogs that it takes for rats come more often."""
    for picture in shelf.kinds["rats/images"]:
        found = of_class(detector.detections(picture.image, REVIEW_SCORE), RAT)
        doubts = np.array(unboxed_rats(found, of_class(picture.labels, RAT)), np.float32).reshape(-1, 5)
        picture.doubts = np.concatenate([picture.doubts, unrefuted(doubts, picture.refuted)])
    for folder in TRUE_ANIMAL:
        shelf.kinds["mistaken for rats"] += [
            p for p in shelf.kinds[folder] if len(of_class(detector.detections(p.image, MISTAKEN_SCORE), RAT))]


def write(file, entry):
    print(json.dumps(entry), file=file, flush=True)


def averaged(cut_model, average):
    network = Network(cut_model)
    for value, mean in zip(network.parameters(), average):
        value.data.copy_(mean)
    return network


def exported(cut_model, average, path):
    export(averaged(cut_model, average), str(path))
    return evaluation.Detector(one_thread_session(path))
