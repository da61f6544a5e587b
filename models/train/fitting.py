"""Trains a crop classifier: batches from a source of samples, losses only where a label is known.

Enters: a network and a function that draws (crop, labels); labels are 1, 0 or NaN, the first "can be judged".
Leaves: the moving average of the weights, a checkpoint and a log line every 50 steps in the scratch folder.
"""

import copy
import json
import time

import numpy as np
import torch
import torch.nn.functional as functional

import pack

BATCH = 64
RATE, HEAD_RATE, WARM_UP, DECAY = 6e-4, 2e-3, 60, 0.05
AVERAGE = 0.995
SMOOTHING = 0.02


def train(network, draw, scratch, seed, steps):
    rng = np.random.default_rng(seed)
    network = network.train().to(memory_format=torch.channels_last)
    average = copy.deepcopy(network)
    optimiser = torch.optim.AdamW([{"params": [*network.stem.parameters(), *network.blocks.parameters()], "rate": RATE},
                                   {"params": network.head.parameters(), "rate": HEAD_RATE}], weight_decay=DECAY)
    log = open(scratch / "training.jsonl", "a")
    started, losses = time.monotonic(), []
    for step in range(steps):
        share = min(1, (step + 1) / WARM_UP) * (0.5 + 0.5 * np.cos(np.pi * step / steps))
        for group in optimiser.param_groups:
            group["lr"] = group["rate"] * share
        crops, labels = zip(*(draw(rng) for _ in range(BATCH)))
        images = torch.from_numpy(pack.to_input(crops)).contiguous(memory_format=torch.channels_last)
        loss = masked_loss(network(images), torch.from_numpy(np.stack(labels)).float())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        follow(average, network, min(AVERAGE, (step + 1) / (step + 10)))
        losses.append(loss.item())
        if step % 50 == 49 or step == steps - 1:
            print(json.dumps({"step": step + 1, "loss": round(float(np.mean(losses)), 4),
                              "seconds": round(time.monotonic() - started)}), file=log, flush=True)
            losses = []
        if step % 200 == 199 or step == steps - 1:
            torch.save(average.state_dict(), scratch / "checkpoint.pt")
    return average.eval()


def masked_loss(logits, labels):
    told = ~labels.isnan()
    target = labels.nan_to_num() * (1 - 2 * SMOOTHING) + SMOOTHING
    each = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (each * told).sum() / told.sum()


@torch.no_grad()
def follow(average, network, share):
    for kept, new in zip(average.state_dict().values(), network.state_dict().values()):
        if kept.dtype.is_floating_point:
            kept.lerp_(new, 1 - share)
        else:
            kept.copy_(new)
