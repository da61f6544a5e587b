"""The detection network: cut from the COCO network, loaded into torch, written back as ONNX.

Enters: the published YOLOX-nano ONNX file. Leaves: the same graph with the classes of this project.
BatchNorm is already folded into the convolutions of that file, so nothing here has running state.
"""

import warnings

import numpy as np
import onnx
import torch
import torch.nn.functional as functional
from onnx import numpy_helper
from torch import nn

CLASSES = ["person", "head", "phone", "cigarette", "rat", "cat", "dog"]
COCO_CLASS = {"person": 0, "phone": 67, "cat": 15, "dog": 16}
# COCO classes that a new class starts from: person, toothbrush, cat.
START_CLASS = {"head": 0, "cigarette": 79, "rat": 15}
# A new class starts with scores low enough to be no burden to the first steps.
START_DOUBT = 2.0
COCO_ANIMALS = range(14, 24)
WIDTH, HEIGHT = 640, 384
STRIDES = [8, 16, 32]
CELLS = sum((WIDTH // s) * (HEIGHT // s) for s in STRIDES)
CHANNELS = 5 + len(CLASSES)
OPERATORS = {"Conv", "Sigmoid", "Mul", "Add", "MaxPool", "Resize", "Concat", "Slice", "Reshape",
             "Transpose"}


def cut(base_path):
    """The base network with the class layers of CLASSES and static shapes."""
    model = onnx.load(base_path)
    rows = [(COCO_CLASS | START_CLASS)[label] for label in CLASSES]
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for name, tensor in tensors.items():
        if name.startswith("head.cls_preds."):
            value = numpy_helper.to_array(tensor)[rows].copy()
            if name.endswith(".bias"):
                value[[CLASSES.index(label) for label in START_CLASS]] -= START_DOUBT
            tensor.CopyFrom(numpy_helper.from_array(value, name))
    for node in model.graph.node:
        if node.op_type == "Reshape":
            shape = tensors[node.input[1]]
            value = numpy_helper.to_array(shape).copy()
            value[1] = CHANNELS
            shape.CopyFrom(numpy_helper.from_array(value, shape.name))
    set_shape(model.graph.input[0], [1, 3, HEIGHT, WIDTH])
    set_shape(model.graph.output[0], [1, CELLS, CHANNELS])
    del model.graph.value_info[:]
    model = onnx.shape_inference.infer_shapes(model)
    onnx.checker.check_model(model)
    return model


def set_shape(value, dims):
    shape = value.type.tensor_type.shape
    del shape.dim[:]
    for size in dims:
        shape.dim.add().dim_value = size


class Network(nn.Module):
    """An ONNX graph of OPERATORS as a torch module. Input Nx3xHxW BGR 0..255, output NxCELLSxCHANNELS;
    other sizes that 32 divides give as many cells as grid()."""

    def __init__(self, model):
        super().__init__()
        values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self.input_name = model.graph.input[0].name
        self.output_name = model.graph.output[0].name
        self.convolutions = nn.ModuleList()
        self.steps = []
        nodes = list(model.graph.node)
        silu = silu_products(nodes)
        for node in nodes:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "Constant":
                values[node.output[0]] = numpy_helper.to_array(attributes["value"])
                continue
            if node.op_type == "Sigmoid" and node.output[0] in silu:
                continue
            inputs = [name for name in node.input if name not in values]
            constants = [values[name] for name in node.input if name in values]
            operation = self.operation(node, attributes, constants, silu)
            if node.op_type == "Mul":
                inputs = [silu[name] for name in node.input if name in silu]
            self.steps.append((operation, inputs, node.output[0]))

    def operation(self, node, attributes, constants, silu):
        kind = node.op_type
        if kind == "Conv":
            return self.convolution(attributes, *constants)
        if kind == "Mul" and any(name in silu for name in node.input):
            return functional.silu
        if kind == "Sigmoid":
            return torch.sigmoid
        if kind == "Add":
            return torch.add
        if kind == "Concat":
            return lambda *parts: torch.cat(parts, attributes["axis"])
        if kind == "MaxPool":
            kernel = attributes["kernel_shape"]
            return nn.MaxPool2d(kernel, attributes["strides"], attributes["pads"][0])
        if kind == "Resize":
            return lambda x: functional.interpolate(x, scale_factor=2.0, mode="nearest")
        if kind == "Slice":
            start, axis, step = (int(constants[i][0]) for i in (0, 2, 3))
            place = [slice(None)] * 4
            place[axis] = slice(start, None, step)
            return lambda x: x[tuple(place)]
        if kind == "Reshape":
            return lambda x: x.reshape(-1, CHANNELS, int(x.shape[2]) * int(x.shape[3]))
        if kind == "Transpose":
            return lambda x: x.permute(*attributes["perm"])
        raise ValueError(f"operator {kind} is not supported")

    def convolution(self, attributes, weight, bias):
        group = attributes["group"]
        layer = nn.Conv2d(weight.shape[1] * group, weight.shape[0], weight.shape[2],
                          stride=attributes["strides"][0], padding=attributes["pads"][0], groups=group)
        layer.weight.data = torch.from_numpy(weight.copy())
        layer.bias.data = torch.from_numpy(bias.copy())
        self.convolutions.append(layer)
        return layer

    def forward(self, images):
        values = {self.input_name: images}
        for operation, inputs, output in self.steps:
            values[output] = operation(*(values[name] for name in inputs))
        return values[self.output_name]


def silu_products(nodes):
    """Sigmoid outputs that are multiplied with their own input, as {sigmoid output: its input}."""
    sigmoids = {n.output[0]: n.input[0] for n in nodes if n.op_type == "Sigmoid"}
    return {name: sigmoids[name] for n in nodes if n.op_type == "Mul"
            for name in n.input if name in sigmoids and sigmoids[name] in n.input}


def grid(width=WIDTH, height=HEIGHT):
    """Per cell: column, row and stride, in the order of the network's output."""
    parts = []
    for stride in STRIDES:
        rows, columns = np.mgrid[: height // stride, : width // stride]
        size = np.full(rows.size, stride)
        parts.append(np.stack([columns.ravel(), rows.ravel(), size], 1))
    return np.concatenate(parts).astype(np.float32)


def decode_boxes(raw, cells):
    """Raw regressions (..., 4) as corner boxes in network pixels; arrays or tensors alike."""
    exp, join = (torch.exp, torch.cat) if torch.is_tensor(raw) else (np.exp, np.concatenate)
    stride = cells[:, 2:3]
    centre = (raw[..., 0:2] + cells[:, 0:2]) * stride
    half = exp(raw[..., 2:4]) * stride / 2
    return join([centre - half, centre + half], -1)


def export(network, path, width=WIDTH, height=HEIGHT):
    """Writes the network as ONNX with static shapes and checks that only OPERATORS are in it."""
    network = network.eval().to(memory_format=torch.contiguous_format)
    example = torch.zeros(1, 3, height, width)
    with warnings.catch_warnings():
        # Cell counts are constants of the graph on purpose.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        torch.onnx.export(network, (example,), path, dynamo=False, opset_version=12,
                          do_constant_folding=True, input_names=["images"], output_names=["output"])
    tidy(path, OPERATORS)


def tidy(path, operators):
    """Gives the exported file its constants as initialisers, and checks that only these operators are in it."""
    model = onnx.load(path)
    constants_to_initialisers(model.graph)
    strange = {node.op_type for node in model.graph.node} - operators
    if strange:
        raise ValueError(f"the exported graph holds unexpected operators: {sorted(strange)}")
    onnx.checker.check_model(model)
    onnx.save(model, path)


def constants_to_initialisers(graph):
    constants = [node for node in graph.node if node.op_type == "Constant"]
    for node in constants:
        tensor = graph.initializer.add()
        tensor.CopyFrom(node.attribute[0].t)
        tensor.name = node.output[0]
        graph.node.remove(node)
