"""Figures of a crop classifier on crops it never saw: calibration, rates with 95 % intervals, by size of the head.

Enters: an inference session and Case lists. Leaves: dictionaries for figures.json.
"""

from dataclasses import dataclass

import numpy as np

from pack import to_input
from spoiling import at_size

SIZES = [(None, None), (64, None), (48, None), (32, None), (24, None), (32, 40)]
ROUNDS = 1000


@dataclass
class Case:
    name: str
    crop: np.ndarray
    labels: np.ndarray
    # The crop's shorter side over the shorter side of the head or person in it.
    ratio: float = 1.0


def size_name(size, quality):
    return ("full" if size is None else f"{size} px") + (f" JPEG q{quality}" if quality else "")


def logits(session, cases, size=None, quality=None):
    rows = []
    for case in cases:
        crop = at_size(case.crop, size and round(size * case.ratio), quality)
        rows.append(session.run(None, {"images": to_input([crop])})[0][0])
    return np.array(rows, np.float64).reshape(len(cases), -1)


def platt(values, hits):
    """a, b of sigmoid(a * logit + b) by Newton steps; targets are drawn in a little, as Platt did."""
    positive, negative = hits.sum(), (1 - hits).sum()
    # Both classes weigh the same: their balance in the field is not known.
    share = np.where(hits == 1, 0.5 / max(1, positive), 0.5 / max(1, negative)) * len(hits)
    target = np.where(hits == 1, (positive + 1) / (positive + 2), 1 / (negative + 2))
    design = np.column_stack([values, np.ones_like(values)])
    weights = np.array([1.0, 0.0])
    for _ in range(50):
        chance = sigmoid(design @ weights)
        slope = design.T @ (share * (chance - target)) + 1e-3 * (weights - [1, 0])
        curve = (design * (share * chance * (1 - chance))[:, None]).T @ design + 1e-3 * np.eye(2)
        weights = weights - np.linalg.solve(curve, slope)
    return {"a": float(weights[0]), "b": float(weights[1])}


def sigmoid(values):
    return 1 / (1 + np.exp(-np.clip(values, -50, 50)))


def calibrated(values, fit):
    return sigmoid(fit["a"] * values + fit["b"])


def rate(hits, count):
    """A share with its 95 % interval (Wilson)."""
    if count == 0:
        return None
    z, share = 1.96, hits / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    reach = z * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return {"rate": round(share, 4), "low": round(max(0, middle - reach), 4), "high": round(min(1, middle + reach), 4),
            "hits": int(hits), "of": int(count)}


def f1(said, truth):
    """F1 of the positive class with its 95 % interval over resampled pictures."""
    def once(index):
        right = (said[index] & truth[index]).sum()
        return 2 * right / max(1, said[index].sum() + truth[index].sum())
    rng = np.random.default_rng(0)
    rounds = [once(rng.integers(len(said), size=len(said))) for _ in range(ROUNDS)]
    low, high = np.percentile(rounds, [2.5, 97.5])
    return {"f1": round(float(once(slice(None))), 4), "low": round(float(low), 4), "high": round(float(high), 4),
            "of": len(said)}


def attribute(values, truth, known_fit, fit, column, threshold):
    """How often `present` is seen where it is and where it is not, and what an alert on `absent` would meet."""
    told = ~np.isnan(truth)
    values, present = values[told], truth[told] == 1
    known = calibrated(values[:, 0], known_fit)
    chance = calibrated(values[:, column], fit)
    alert = known * (1 - chance) >= threshold
    said = chance >= 0.5
    return {"f1": f1(said, present),
            "recall": rate((said & present).sum(), present.sum()),
            "false_positive_rate": rate((said & ~present).sum(), (~present).sum()),
            "unknown": rate((known < 0.5).sum(), len(known)),
            "alert_when_absent": rate((alert & ~present).sum(), (~present).sum()),
            "alert_when_present": rate((alert & present).sum(), present.sum()),
            "alert_precision": rate((alert & ~present).sum(), alert.sum())}


def unjudged(values, fits, thresholds):
    """Of what nobody can judge: how much is called unknown, and how much would raise any alert."""
    known = calibrated(values[:, 0], fits[0])
    alerts = [known * (1 - calibrated(values[:, column + 1], fit)) >= threshold
              for column, (fit, threshold) in enumerate(zip(fits[1:], thresholds))]
    return {"unknown": rate((known < 0.5).sum(), len(known)),
            "any_alert": rate(np.any(alerts, axis=0).sum(), len(known))}
