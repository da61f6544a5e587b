"""Sets the benchmarks of `cargo bench` against the best there is: libavcodec and ONNX Runtime, one thread each.

    reference.py TARGET_DIR

Reads the medians below TARGET_DIR/criterion and prints a line a stage: ours, the reference's, the ratio. Run by
tests/long.sh in the tests' Python environment. A ratio above its bound is a failure (exit 1).
"""

import json
import pathlib
import re
import statistics
import subprocess
import sys
import time
import tomllib

import numpy
import onnxruntime

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
VIDEO = REPOSITORY / "agent/kitchen-agent/demo/people.mp4"
FRAMES = 300
# What was measured, with room for a noisy machine: openh264 takes 1.7 times as long as libavcodec, tract on a
# depthwise network 2.8 times as long as ONNX Runtime.
BOUNDS = {"decode": 3.0, "detect/tract": 5.0, "detect/rten": 5.0}


def ours_ms(target, name):
    estimates = json.loads((target / "criterion" / name / "new/estimates.json").read_text())
    return estimates["median"]["point_estimate"] / 1e6


def libavcodec_ms():
    """CPU time a frame, start of the program taken out by the difference of two runs."""

    def cpu_s(loops):
        command = ["ffmpeg", "-nostdin", "-benchmark", "-threads", "1", "-stream_loop", str(loops - 1)]
        command += ["-i", str(VIDEO), "-filter_threads", "1", "-fps_mode", "passthrough", "-f", "null", "-"]
        log = subprocess.run(command, check=True, capture_output=True, text=True).stderr
        return float(re.search(r"utime=([\d.]+)s", log)[1])

    runs = [cpu_s(21) - cpu_s(1) for _ in range(3)]
    return statistics.median(runs) * 1000 / (20 * FRAMES)


def onnx_runtime_ms():
    folder = REPOSITORY / "models/objects"
    manifest = tomllib.loads((folder / "manifest.toml").read_text())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / manifest["file"], options, providers=["CPUExecutionProvider"])
    shape = (1, 3, manifest["input"]["height"], manifest["input"]["width"])
    given = {session.get_inputs()[0].name: numpy.full(shape, 114, numpy.float32)}
    times = []
    for _ in range(60):
        started = time.perf_counter()
        session.run(None, given)
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times[10:])


def main(target):
    avcodec, runtime = libavcodec_ms(), onnx_runtime_ms()
    rows = [
        ("decode", ours_ms(target, "decode/people") / FRAMES, "libavcodec", avcodec),
        ("detect/tract", ours_ms(target, "detect/tract"), "ONNX Runtime", runtime),
        ("detect/rten", ours_ms(target, "detect/rten"), "ONNX Runtime", runtime),
    ]
    too_slow = False
    for name, ours, reference, theirs in rows:
        ratio = ours / theirs
        too_slow |= ratio > BOUNDS[name]
        print(f"{name:14} {ours:8.3f} ms   {reference:14} {theirs:8.3f} ms   {ratio:5.2f} (bound {BOUNDS[name]})")
    sys.exit(1 if too_slow else 0)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
