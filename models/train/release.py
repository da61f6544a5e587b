"""From a checkpoint to the files of the pack: export, calibration, figures, manifest, golden files.

Enters: the scratch folder's checkpoint and the labelled pictures. Leaves: objects.onnx, manifest.toml, golden/
and the card's tables in the output folder, figures.json in the scratch folder.
"""

import hashlib
import json
import os

import cv2
import numpy as np
import torch

import card
import evaluation
import judging
import training
from labels import CAT, CIGARETTE, DOG, PERSON, RAT
from network import CELLS, CHANNELS, CLASSES, HEIGHT, WIDTH, export
from pictures import letterbox, one_thread_session, to_input

VERSION = "0.3.0"
FLOOR = 0.05
RULE_THRESHOLD = judging.RULE_THRESHOLD
GOLDEN_FRAME = 300
SMALLER = (416, 256)
# What the calibration part must show at the rules' threshold, a little above the goals so that they hold
# elsewhere too. Rats by recall: where precision is wanted, what counts as wrong is mostly a rat without a box.
# A plate of food is easily taken for a pet: cats and dogs by a high precision.
OPERATING = {PERSON: ("recall", 0.96), RAT: ("recall", 0.68), CIGARETTE: ("precision", 0.91),
             CAT: ("precision", 0.97), DOG: ("precision", 0.97)}
MATCH_IOU = {RAT: 0.3, CIGARETTE: 0.3}
# Pictures that must show no rat at that threshold.
NO_RATS = ("catdog/cats", "people_by_dress")
ADVISED_THRESHOLD = {"person": 0.65, "phone": 0.65}
NOT_GOOD_ENOUGH = {
    "phone": "too few phones in the pictures to train or judge by",
    "rat": "AP30 below 0.92, AP50 below 0.80; see CARD.md",
}


def write(options, cut_model, pictures, seed):
    network = training.averaged(cut_model, torch.load(options.scratch / "checkpoint.pt")["average"])
    path = options.scratch / "objects.onnx"
    export(network, str(path))
    detector = evaluation.Detector(one_thread_session(path))
    held_out = [p for p in pictures if p.part == "calibration"]
    calibrations = calibrate(detector, held_out)
    judged = [p for p in pictures if p.part == "validation"]
    rng = np.random.default_rng(seed + 1)
    figures = {"calibration": calibrations,
               "onnxruntime minus torch": largest_difference(network, path, held_out),
               "validation": judging.judge(detector, calibrations, judged, options.data, rng)}
    figures["smaller input"] = smaller(options, network, judged, rng)
    (options.scratch / "figures.json").write_text(json.dumps(figures, indent=1))
    write_pack(options, path, calibrations, pictures, seed)
    described = options.out / "CARD.md"
    if described.exists():
        lines = (options.scratch / "learning_curve.jsonl").read_text().splitlines()
        card.fill(described, figures, [json.loads(line) for line in lines])


def calibrate(detector, pictures):
    """Platt scaling on the pictures by themselves, for cigarettes with windows; for the classes of OPERATING
    then moved so that the rules' threshold is where they show what they must."""
    whole = [detector.detections(p.image) for p in pictures]
    windows = [judging.with_windows(detector, p.image, rows) if p.folder.startswith("cigarettes") else rows
               for p, rows in zip(pictures, whole)]
    labels, doubts = [p.labels for p in pictures], [p.doubts for p in pictures]
    result = {}
    for index, label in enumerate(CLASSES):
        found = windows if index == CIGARETTE else whole
        truth = [judging.surely_original(p) for p in pictures] if index == PERSON else labels
        scores, hits, where, count = evaluation.matched(found, truth, index, MATCH_IOU.get(index, 0.5), doubts)
        strong = scores >= FLOOR
        calibration = evaluation.fit_calibration(scores[strong], hits[strong])
        if index in OPERATING and calibration["fitted"]:
            raw = operating_score(scores, hits, count, *OPERATING[index])
            if index == RAT:
                strange = np.array([pictures[place].folder in NO_RATS for place in where])
                raw = max(raw, float(scores[strange].max(initial=0)) + 0.005)
            moved = evaluation.logit(RULE_THRESHOLD) - calibration["a"] * evaluation.logit(raw)
            calibration |= {"platt b": calibration["b"], "b": round(float(moved), 4),
                            "raw score of the rules' threshold": round(raw, 3)}
        result[label] = calibration
    return result


def operating_score(scores, hits, count, kind, least):
    """The raw score down to which precision holds, or from which recall is reached."""
    if kind == "precision":
        return evaluation.score_at(scores, hits, least)
    reached = np.flatnonzero(np.cumsum(hits) >= least * count)
    return float(scores[reached[0]]) if reached.size else FLOOR


def smaller(options, network, pictures, rng):
    """The drawn classes with the same weights at a smaller input, which costs less than half."""
    path = options.scratch / "smaller.onnx"
    export(network, str(path), *SMALLER)
    detector = evaluation.Detector(one_thread_session(path), *SMALLER)
    identity = {label: {"a": 1.0, "b": 0.0} for label in CLASSES}
    result = {}
    for index, folder, drawn in judging.JUDGED:
        if drawn:
            here = [p for p in pictures if p.folder.startswith(folder)]
            seen = {p.name: detector.detections(p.image) for p in here}
            result[CLASSES[index]] = judging.against_labels(seen, here, index, drawn, identity, rng)
    return result


def largest_difference(network, path, pictures):
    """ONNX Runtime against torch on real pictures: scores absolutely, regressions as they come."""
    session, worst = one_thread_session(path), {"scores": 0.0, "regressions": 0.0}
    for picture in pictures[::60]:
        images = to_input([letterbox(picture.image, WIDTH, HEIGHT)[0]])
        with torch.no_grad():
            gap = np.abs(network(torch.from_numpy(images)).numpy() - session.run(None, {"images": images})[0])
        worst = {"scores": max(worst["scores"], float(gap[..., 4:].max())),
                 "regressions": max(worst["regressions"], float(gap[..., :4].max()))}
    return worst


def write_pack(options, network_path, calibrations, pictures, seed):
    out = options.out
    (out / "golden").mkdir(parents=True, exist_ok=True)
    data = network_path.read_bytes()
    picture, values = golden(options.golden_video, network_path)
    files = {"objects.onnx": data, "golden/input.png": picture, "golden/output.f32": values,
             "manifest.toml": manifest(data, calibrations, used(pictures), seed).encode()}
    for name, content in files.items():
        aside = out / f"{name}.new"
        aside.write_bytes(content)
    for name in files:
        os.replace(out / f"{name}.new", out / name)


def golden(video, network_path):
    capture = cv2.VideoCapture(str(video))
    capture.set(cv2.CAP_PROP_POS_FRAMES, GOLDEN_FRAME)
    read, frame = capture.read()
    if not read:
        raise FileNotFoundError(f"{video}: no frame {GOLDEN_FRAME}; install opencv-doc or pass --golden-video")
    framed, _ = letterbox(frame, WIDTH, HEIGHT)
    output = one_thread_session(network_path).run(None, {"images": to_input([framed])})[0]
    return cv2.imencode(".png", framed)[1].tobytes(), output.astype("<f4").tobytes()


def used(pictures):
    trained = [p for p in pictures if p.part == "train"]
    frames = sum(p.folder == "videos" for p in trained)
    return (f"{len(trained) - frames:,} web and stock pictures (people, cats, dogs, rats, smokers, masks, "
            f"helmets, some of COCO) and {frames} frames of five videos; boxes of rats, cigarettes and "
            "helmeted heads drawn by people, the rest by the base network and a face network; see CARD.md")


def manifest(data, calibrations, used_data, seed):
    head = f'''schema = 1
name = "objects"
version = "{VERSION}"
task = "detector"
file = "objects.onnx"
sha256 = "{hashlib.sha256(data).hexdigest()}"
licence = "Apache-2.0"
data_rights = "unclear"

[provenance]
base = "YOLOX-nano 0.1.1rc0 (Megvii, Apache-2.0), trained on COCO; class layers cut from 80 to {len(CLASSES)}"
data = "{used_data}"
recipe = "models/train/objects.py"
seed = {seed}

[input]
width = {WIDTH}
height = {HEIGHT}
layout = "nchw"
colour = "bgr"
mean = [0.0, 0.0, 0.0]     # network value = (pixel 0..255 - mean) * scale
scale = [1.0, 1.0, 1.0]
fit = "letterbox_top_left"
padding = 114

[decoder]
kind = "yolox"
strides = [8, 16, 32]

[nms]
iou = {evaluation.NMS_IOU}
'''
    return head + "".join(class_entry(label, calibrations[label]) for label in CLASSES) + f'''
[golden]
input = "golden/input.png"      # already at the network's size, RGB
output = "golden/output.f32"    # raw network output, little-endian f32, row-major
shape = [1, {CELLS}, {CHANNELS}]
tolerance = 0.01
'''


def class_entry(label, calibration):
    advised = ADVISED_THRESHOLD.get(label, RULE_THRESHOLD)
    entry = f'''
[[class]]
label = "{label}"
floor = {FLOOR:.2f}               # raw scores below it are dropped
threshold = {advised:.2f}           # calibrated score from which the card advises to act
calibration = {{ a = {calibration["a"]}, b = {calibration["b"]} }}   # calibrated = sigmoid(a * logit(raw) + b)
'''
    reason = NOT_GOOD_ENOUGH.get(label)
    return entry + (f"good_enough = false        # {reason}\n" if reason else "")
