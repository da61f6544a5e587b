"""Trains the `objects` model: from the pictures at hand to the files of models/objects.

    python objects.py DATA --out ../objects --scratch SCRATCH [--golden-video vtest.avi] [--steps 20]

Enters: the data folder (pictures, videos, pretrained/yolox_nano.onnx). Leaves: the network, its manifest,
golden files and figures.json. Nothing of the data is copied anywhere but into the scratch folder.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import hashlib
import pickle
from pathlib import Path

import cv2
import onnx
import torch

import labels
import network
import pictures
import release
import training

SEED = 1


def main():
    options = arguments()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    options.scratch.mkdir(parents=True, exist_ok=True)
    continued = options.start is not None
    cut_model = onnx.load(options.start) if continued else network.cut(options.data / "pretrained/yolox_nano.onnx")
    gathered = labelled_pictures(options)
    if "train" in options.stages:
        training.train(cut_model, continued, shared(gathered, options.share), options.scratch, SEED, options.steps, options.minutes)
    if "write" in options.stages:
        release.write(options, cut_model, gathered, SEED)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with the pictures, videos and starting weights")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent.parent / "objects")
    parser.add_argument("--scratch", type=Path, required=True, help="labels, checkpoints and the training log")
    parser.add_argument("--start", type=Path, help="train on from this objects.onnx, not from the COCO network")
    parser.add_argument("--golden-video", type=Path,
                        default=Path("/usr/share/doc/opencv-doc/examples/data/vtest.avi"))
    parser.add_argument("--steps", type=int, default=100_000, help="stop after so many steps")
    parser.add_argument("--minutes", type=float, default=79, help="stop after so many minutes")
    parser.add_argument("--share", type=float, default=1.0, help="train on this share of the pictures")
    parser.add_argument("--every", type=int, default=1, help="to try a run: use one picture in so many")
    parser.add_argument("--stages", nargs="+", default=["train", "write"], choices=["train", "write"])
    return parser.parse_args()


def shared(gathered, share):
    """The same training pictures for the same share, and every smaller share within the larger one."""
    def is_in(name):
        return hashlib.sha1(name.split("#")[0].encode()).digest()[1] < 256 * share
    return [p for p in gathered if p.part != "train" or p.folder == "videos" or is_in(p.name)]


def labelled_pictures(options):
    """All pictures with their labels; kept in the scratch folder, as this takes six minutes."""
    kept = options.scratch / "pictures.pickle"
    if kept.exists():
        return pickle.loads(kept.read_bytes())
    gathered = pictures.gather(options.data)[:: options.every]
    labels.label(gathered, options.data)
    kept.write_bytes(pickle.dumps(gathered))
    return gathered


if __name__ == "__main__":
    main()
