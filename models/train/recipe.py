"""What both crop classifiers' commands do: gather, train, calibrate, judge, write.

Enters: a Task and its samples, drawer and cases. Leaves: the classifier's folder, and figures.json,
training.jsonl and checkpoint.pt in the scratch folder.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import torch

import classifier
import fitting
import attribute_judging as judging
import pack
import sources
from pictures import one_thread_session


def run(task, text, samples, drawer, cases, judged, unjudged, seed, steps):
    options = arguments(task, text, steps)
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    cv2.setNumThreads(1)
    scratch = options.scratch / task.name
    scratch.mkdir(parents=True, exist_ok=True)
    gathered = samples(options, sources.gather(options.data, options.scratch))
    network = classifier.pretrained(len(task.attributes))
    if "train" in options.stages:
        draw = drawer(shared([s for s in gathered if s.part == "train"], options.share))
        network = fitting.train(network, draw, scratch, seed, options.steps)
    network.load_state_dict(torch.load(scratch / "checkpoint.pt", weights_only=True))
    path = scratch / f"{task.name}.onnx"
    classifier.export(network, path)
    session = one_thread_session(path)
    fitted = calibrate(task, session, cases(gathered, "calibration"), judged, unjudged)
    figures = {"fitted": fitted, **judge(task, session, cases(gathered, "validation"), fitted, judged, unjudged)}
    (scratch / "figures.json").write_text(json.dumps(figures, indent=1))
    if "write" in options.stages:
        pack.write(task, path, fitted, seed, options.out, options.golden_video)


def arguments(task, text, steps):
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with the pictures and starting weights")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent.parent / task.name)
    parser.add_argument("--scratch", type=Path, required=True, help="labels, checkpoints, figures, training log")
    parser.add_argument("--golden-video", type=Path,
                        default=Path("/usr/share/doc/opencv-doc/examples/data/vtest.avi"))
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--share", type=float, default=1.0, help="train on this share of the groups of pictures")
    parser.add_argument("--stages", nargs="+", default=["train", "write"], choices=["train", "judge", "write"])
    return parser.parse_args()


def shared(samples, share):
    """The same pictures for the same share, and every smaller share within the larger one."""
    return [s for s in samples if hashlib.sha1(s.name.split("#")[0].encode()).digest()[1] < 256 * share]


def calibrate(task, session, sets, judged, unjudged):
    """Platt scaling over all sizes at once: the agent does not tell the network how large the head was."""
    seen = {name: [judging.logits(session, sets[name], *size) for size in judging.SIZES] for name in judged}
    values = np.concatenate([row for name in judged for row in seen[name]])
    truth = np.concatenate([np.stack([c.labels for c in sets[name]]) for name in judged for _ in judging.SIZES])
    unknown = np.concatenate([judging.logits(session, sets[name]) for name in unjudged if sets[name]])
    good = values[truth[:, 0] == 1, 0]
    fitted = {"known": judging.platt(np.concatenate([good, unknown[:, 0]]),
                                     np.repeat([1.0, 0.0], [len(good), len(unknown)]))}
    for column, attribute in enumerate(task.attributes, 1):
        told = ~np.isnan(truth[:, column])
        fitted[attribute.present] = judging.platt(values[told, column], truth[told, column])
    return fitted


def judge(task, session, sets, fitted, judged, unjudged):
    fits = [fitted["known"], *(fitted[a.present] for a in task.attributes)]
    thresholds = [attribute.threshold for attribute in task.attributes]
    figures = {}
    for name in judged:
        truth = np.stack([case.labels for case in sets[name]])
        for size in judging.SIZES:
            values = judging.logits(session, sets[name], *size)
            for column, attribute in enumerate(task.attributes, 1):
                if np.isnan(truth[:, column]).all():
                    continue
                figures.setdefault(attribute.present, {}).setdefault(name, {})[judging.size_name(*size)] = \
                    judging.attribute(values, truth[:, column], fits[0], fits[column], column, thresholds[column - 1])
    figures["unknown"] = {name: judging.unjudged(judging.logits(session, sets[name]), fits, thresholds)
                          for name in unjudged if sets[name]}
    return figures
