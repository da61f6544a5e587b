"""Writes a crop classifier's folder: network, manifest and golden files, replaced together.

Enters: an exported network, what the classifier is (Task) and what was measured (calibration, thresholds).
Leaves: NAME.onnx, manifest.toml, golden/ in the output folder.
"""

import hashlib
import os
from dataclasses import dataclass

import cv2
import numpy as np

from classifier import MEAN, SCALE, SIDE
from pictures import one_thread_session

GOLDEN_FRAME = 300
PADDING = 114
BASE = "EfficientNet-Lite0 to block 10 (ML Illustrated's port of Google's weights, Apache-2.0), trained on ImageNet"


@dataclass
class Attribute:
    present: str
    absent: str
    min_px: int
    # Score from which the card advises to act on `absent`; chosen on the calibration part.
    threshold: float = 0.65
    good_enough: bool = True


@dataclass
class Task:
    name: str
    version: str
    of: str
    region: tuple
    square: bool
    attributes: list
    data: str
    recipe: str
    # Left, top, right, bottom of the golden picture in the video's frame.
    golden: tuple


def write(task, network_path, fitted, seed, out, video):
    """`fitted` holds the calibration a, b of `known` and of each attribute."""
    (out / "golden").mkdir(parents=True, exist_ok=True)
    data = network_path.read_bytes()
    picture, values, shape = golden(video, task.golden, network_path)
    files = {f"{task.name}.onnx": data, "golden/input.png": picture, "golden/output.f32": values,
             "manifest.toml": manifest(task, data, fitted, seed, shape).encode()}
    for name, content in files.items():
        (out / f"{name}.new").write_bytes(content)
    for name in files:
        os.replace(out / f"{name}.new", out / name)


def golden(video, box, network_path):
    capture = cv2.VideoCapture(str(video))
    capture.set(cv2.CAP_PROP_POS_FRAMES, GOLDEN_FRAME)
    read, frame = capture.read()
    if not read:
        raise FileNotFoundError(f"{video}: no frame {GOLDEN_FRAME}; install opencv-doc or pass --golden-video")
    left, top, right, bottom = box
    crop = cv2.resize(frame[top:bottom, left:right], (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    output = one_thread_session(network_path).run(None, {"images": to_input([crop])})[0]
    return cv2.imencode(".png", crop)[1].tobytes(), output.astype("<f4").tobytes(), list(output.shape)


def to_input(crops):
    """BGR crops of SIDE as the network's input."""
    planes = np.stack(crops)[..., ::-1].transpose(0, 3, 1, 2)
    return (np.ascontiguousarray(planes, dtype=np.float32) - MEAN) * np.float32(SCALE)


def manifest(task, data, fitted, seed, shape):
    head = f'''schema = 1
name = "{task.name}"
version = "{task.version}"
task = "classifier"
file = "{task.name}.onnx"
sha256 = "{hashlib.sha256(data).hexdigest()}"
licence = "Apache-2.0"
data_rights = "unclear"

[provenance]
base = "{BASE}"
data = "{task.data}"
recipe = "{task.recipe}"
seed = {seed}

[crop]
of = "{task.of}"
region = {list(task.region)}
square = {str(task.square).lower()}

[input]
width = {SIDE}
height = {SIDE}
layout = "nchw"
colour = "rgb"
mean = [{MEAN}, {MEAN}, {MEAN}]     # network value = (pixel 0..255 - mean) * scale
scale = [{SCALE}, {SCALE}, {SCALE}]
fit = "stretch"
padding = {PADDING}

[decoder]
kind = "attributes"           # logits: can be judged, then one an attribute

[known]
calibration = {scaling(fitted["known"])}   # P(known) = sigmoid(a * logit + b)
'''
    attributes = "".join(f'''
[[attribute]]
present = "{attribute.present}"
absent = "{attribute.absent}"
min_px = {attribute.min_px}
threshold = {attribute.threshold}           # score from which the card advises to act on "{attribute.absent}"
calibration = {scaling(fitted[attribute.present])}
good_enough = {str(attribute.good_enough).lower()}
''' for attribute in task.attributes)
    return head + attributes + f'''
[golden]
input = "golden/input.png"      # already at the network's size, RGB
output = "golden/output.f32"    # raw network output, little-endian f32, row-major
shape = {shape}
tolerance = 0.01
'''


def scaling(fit):
    return f"{{ a = {fit['a']:.4f}, b = {fit['b']:.4f} }}"
