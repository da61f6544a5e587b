"""From a checkpoint to the files of the pack: choice, export, calibration, figures, manifest, golden files.

Enters: the scratch folder's checkpoint and the labelled pictures. Leaves: objects.onnx, manifest.toml and
golden/ in the output folder, figures.json in the scratch folder. A network is shipped only if it agrees
with the original better than the untrained cut does.
"""

import hashlib
import json
import os

import cv2
import numpy as np
import torch

import evaluation
import training
from network import CELLS, CHANNELS, CLASSES, HEIGHT, WIDTH, Network, export
from pictures import CAT, DOG, PHONE, letterbox, one_thread_session, to_input

SCENES, PICTURES = 250, 400
SHARES = (0.5, 0.75, 1.0)
THRESHOLDS = (0.5, 0.6, 0.65)
GOLDEN_FRAME = 300
IDENTITY = {"a": 1.0, "b": 0.0}
NOT_GOOD_ENOUGH = "good_enough = false        # five matches only: no rule runs on it\n"


def write(options, cut_model, teacher, pictures, seed):
    rng = np.random.default_rng(seed + 1)
    held_out = evaluation.scene_cases(pictures, "calibration", teacher, SCENES, rng)
    alone = evaluation.picture_cases(pictures, "calibration", PICTURES, rng)
    candidates = exported_candidates(options.scratch, cut_model)
    name, choice = choose(candidates, held_out, alone)
    network, path, detector = candidates[name]
    calibration = calibrate(detector, held_out, alone)
    figures = {"chosen": name, "choice": choice, "calibration": calibration,
               "onnxruntime_minus_torch": largest_difference(network, path, held_out)}
    baseline = candidates["untrained"][2]
    base_calibration = calibrate(baseline, held_out, alone)
    figures["baseline_calibration"] = base_calibration
    sets = {"pictures": evaluation.picture_cases(pictures, "validation", PICTURES, rng),
            "scenes": evaluation.scene_cases(pictures, "validation", teacher, SCENES, rng),
            "street": evaluation.street_cases(options.data, teacher, rng)}
    figures["agreement"] = {set_name: judge(cases, {"baseline": (baseline, base_calibration),
                                                    "shipped": (detector, calibration)})
                            for set_name, cases in sets.items()}
    figures["mistaken"] = mistaken(pictures, teacher, {"baseline": (baseline, base_calibration),
                                                       "shipped": (detector, calibration)})
    (options.scratch / "figures.json").write_text(json.dumps(figures, indent=1))
    write_pack(options, path, calibration, name, seed)


def exported_candidates(scratch, cut_model):
    """The untrained cut and mixtures of it with the trained weights: a torch network, a file, a detector."""
    networks = {"untrained": Network(cut_model)}
    if (scratch / "checkpoint.pt").exists():
        for share in SHARES:
            networks[f"trained {share}"] = training.load(cut_model, scratch, share)
    candidates = {}
    for name, network in networks.items():
        path = scratch / f"{name}.onnx"
        export(network, str(path))
        candidates[name] = network, path, evaluation.Detector(one_thread_session(path))
    return candidates


def choose(candidates, scenes, alone):
    """The candidate with the best mean agreement on the calibration part, never on the validation part."""
    choice = {}
    for name, (_, _, detector) in candidates.items():
        choice[name] = {f"{kind} {'spoilt' if spoilt else 'clean'}": evaluation.mean_agreement(
            detector.over(cases, spoilt), cases)
            for kind, cases in (("scenes", scenes), ("pictures", alone)) for spoilt in (False, True)}
    return max(choice, key=lambda name: np.mean(list(choice[name].values()))), choice


def calibrate(detector, scenes, alone):
    """Fitted on scenes as they are and spoilt, and on the pictures by themselves."""
    detections = [*detector.over(scenes, False), *detector.over(scenes, True), *detector.over(alone, False)]
    cases = [*scenes, *scenes, *alone]
    return {label: evaluation.fit_calibration(*evaluation.samples(detections, cases, index))
            for index, label in enumerate(CLASSES)}


def judge(cases, detectors):
    result = {"cases": len(cases)}
    for name, (detector, calibration) in detectors.items():
        for state in ("clean", "spoilt"):
            detections = detector.over(cases, state == "spoilt")
            result[f"{name} {state}"] = {
                "agreement": evaluation.agreement(detections, cases),
                "agreement_closer": evaluation.agreement(detections, cases, closer=True),
                "thresholds": {label: {str(threshold): evaluation.at_threshold(
                    detections, cases, index, calibration[label], threshold) for threshold in THRESHOLDS}
                    for index, label in enumerate(CLASSES)}}
    return result


def mistaken(pictures, teacher, detectors):
    """Cats and dogs seen on rat pictures, phones seen on smokers: pictures of the validation part, at 0.6."""
    result = {}
    for folder, classes in (("rats/images", (CAT, DOG)), ("cigarettes/images", (PHONE,))):
        held_out = [p.image for p in pictures if p.folder == folder and p.part == "validation"]
        counts = {"pictures": len(held_out)}
        for index in classes:
            counts[f"original, raw: {CLASSES[index]}"] = evaluation.pictures_with(
                [teacher.detections(image) for image in held_out], index, IDENTITY, 0.6)
            for name, (detector, calibration) in detectors.items():
                found = [detector.detections(image) for image in held_out]
                for kind, scaling in (("raw", IDENTITY), ("calibrated", calibration[CLASSES[index]])):
                    counts[f"{name}, {kind}: {CLASSES[index]}"] = evaluation.pictures_with(
                        found, index, scaling, 0.6)
        result[folder] = counts
    return result


def largest_difference(network, path, cases):
    """ONNX Runtime against torch on real pictures: scores absolutely, regressions as they come."""
    session, worst = one_thread_session(path), {"scores": 0.0, "regressions": 0.0}
    for case in cases[:20]:
        images = to_input([letterbox(case.image, WIDTH, HEIGHT)[0]])
        with torch.no_grad():
            gap = np.abs(network(torch.from_numpy(images)).numpy() - session.run(None, {"images": images})[0])
        worst = {"scores": max(worst["scores"], float(gap[..., 4:].max())),
                 "regressions": max(worst["regressions"], float(gap[..., :4].max()))}
    return worst


def write_pack(options, network_path, calibration, chosen, seed):
    out = options.out
    (out / "golden").mkdir(parents=True, exist_ok=True)
    data = network_path.read_bytes()
    picture, values = golden(options.golden_video, network_path)
    files = {"objects.onnx": data, "golden/input.png": picture, "golden/output.f32": values,
             "manifest.toml": manifest(data, calibration, chosen, seed).encode()}
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


def manifest(data, calibration, chosen, seed):
    used = ("none beyond the base network's COCO" if chosen == "untrained" else
            "4,403 web and stock pictures (people, cats, dogs, rats, smokers, masks, helmets, 59 of COCO) and "
            "187 frames of five videos, labelled by the base network; see CARD.md")
    head = f'''schema = 1
name = "objects"
version = "0.1.0"
task = "detector"
file = "objects.onnx"
sha256 = "{hashlib.sha256(data).hexdigest()}"
licence = "Apache-2.0"
data_rights = "unclear"

[provenance]
base = "YOLOX-nano 0.1.1rc0 (Megvii, Apache-2.0), trained on COCO; class layers cut from 80 to 4"
data = "{used}"
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
iou = 0.55
'''
    classes = "".join(f'''
[[class]]
label = "{label}"
floor = {evaluation.FLOOR:.2f}               # raw scores below it are dropped
threshold = 0.65           # calibrated score from which the card advises to act
calibration = {{ a = {calibration[label]["a"]}, b = {calibration[label]["b"]} }}   # calibrated = sigmoid(a * logit(raw) + b)
{NOT_GOOD_ENOUGH if label == "phone" else ""}''' for label in CLASSES)
    return head + classes + f'''
[golden]
input = "golden/input.png"      # already at the network's size, RGB
output = "golden/output.f32"    # raw network output, little-endian f32, row-major
shape = [1, {CELLS}, {CHANNELS}]
tolerance = 0.01
'''
