"""Runs every model of a pack in ONNX Runtime and compares it with its golden output.

    onnxruntime_golden.py MODELS_DIR

Writes one JSON document: {"models": [{"name", "max_difference", "tolerance"}]}. Decodes the golden picture itself
(PNG, 8 bit RGB, not interlaced), so that ONNX Runtime and NumPy are all it needs.
"""

import json
import pathlib
import struct
import sys
import tomllib
import zlib

import numpy
import onnxruntime


def read_png(path):
    """An 8 bit RGB picture as height x width x 3."""
    data, offset, compressed = path.read_bytes(), 8, b""
    while offset < len(data):
        length, kind = struct.unpack_from(">I4s", data, offset)
        chunk = data[offset + 8 : offset + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunk)
            assert (depth, colour, interlaced) == (8, 2, 0), f"{path}: not 8 bit RGB"
        elif kind == b"IDAT":
            compressed += chunk
        offset += 12 + length
    rows = numpy.frombuffer(zlib.decompress(compressed), numpy.uint8).reshape(height, 1 + 3 * width)
    picture = numpy.zeros((height + 1, 3 * (width + 1)), numpy.int32)  # a border of zeros above and to the left
    for number, row in enumerate(rows):
        above, here = picture[number], picture[number + 1]
        for index, value in enumerate(row[1:].tolist(), start=3):
            here[index] = (value + predict(row[0], here[index - 3], above[index], above[index - 3])) & 255
    return picture[1:, 3:].reshape(height, width, 3).astype(numpy.float32)


def predict(filter_type, left, up, up_left):
    """PNG's filters: none, sub, up, average, Paeth."""
    if filter_type == 4:
        estimate = int(left) + int(up) - int(up_left)
        return min((left, up, up_left), key=lambda value: abs(estimate - value))
    return (0, left, up, (left + up) // 2)[filter_type]


def difference(folder, manifest):
    """The largest difference between ONNX Runtime's output and the golden one."""
    golden, given = manifest["golden"], manifest["input"]
    picture = read_png(folder / golden["input"])
    assert picture.shape == (given["height"], given["width"], 3), f"{folder}: golden input has another size"
    if given["colour"] == "bgr":
        picture = picture[..., ::-1]
    values = (picture - numpy.float32(given["mean"])) * numpy.float32(given["scale"])
    session = onnxruntime.InferenceSession(folder / manifest["file"], providers=["CPUExecutionProvider"])
    batch = numpy.ascontiguousarray(values.transpose(2, 0, 1)[None], numpy.float32)
    output = session.run(None, {session.get_inputs()[0].name: batch})[0]
    expected = numpy.fromfile(folder / golden["output"], "<f4").reshape(golden["shape"])
    assert output.shape == expected.shape, f"{folder}: output {output.shape}, golden {expected.shape}"
    return float(numpy.abs(output - expected).max())


def main(models_dir):
    models = []
    for path in sorted(pathlib.Path(models_dir).glob("*/manifest.toml")):
        manifest = tomllib.loads(path.read_text())
        entry = {"name": manifest["name"], "max_difference": difference(path.parent, manifest)}
        models.append({**entry, "tolerance": manifest["golden"]["tolerance"]})
    print(json.dumps({"models": models}))


if __name__ == "__main__":
    main(sys.argv[1])
