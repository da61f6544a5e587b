"""Cuts a window out of a picture and spoils it the way a small, far, dirty kitchen camera would.

Enters: a BGR picture and a window in its pixels. Leaves: a crop of the network's size. The head's size in
the camera's picture, blur and JPEG are applied at that size, before the crop is scaled to the network's.
"""

import cv2
import numpy as np

from classifier import SIDE
from pack import PADDING


def cut(image, window, padding=PADDING):
    """The window's pixels; what lies outside the picture is padding."""
    left, top, right, bottom = (int(round(value)) for value in window)
    right, bottom = max(right, left + 2), max(bottom, top + 2)
    height, width = image.shape[:2]
    inside = image[max(top, 0) : max(min(bottom, height), 0), max(left, 0) : max(min(right, width), 0)]
    if inside.shape[:2] == (bottom - top, right - left):
        return inside
    crop = np.full((bottom - top, right - left, 3), padding, np.uint8)
    if inside.size:
        y, x = max(-top, 0), max(-left, 0)
        crop[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return crop


def at_size(crop, shorter=None, quality=None):
    """The crop as if its shorter side had been so many pixels, through JPEG if asked, stretched to SIDE."""
    if shorter and shorter < min(crop.shape[:2]):
        scale = shorter / min(crop.shape[:2])
        size = [max(2, round(side * scale)) for side in (crop.shape[1], crop.shape[0])]
        crop = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
    if quality:
        crop = cv2.imdecode(cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    return stretch(crop)


def stretch(crop, side=SIDE):
    shrinks = min(crop.shape[:2]) > side
    return cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def spoil(crop, shorter, rng):
    """Turned, tilted, and as seen by the camera at `shorter` pixels; None leaves the crop's own size."""
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    crop = tilted(stretch(crop, 128), rng)
    if rng.random() < 0.5:
        crop = light(crop, rng)
    if rng.random() < 0.15:
        crop = steam(crop, rng)
    if rng.random() < 0.1:
        crop = grease(crop, rng)
    if shorter:
        side = max(4, int(shorter))
        crop = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA if side < 128 else cv2.INTER_LINEAR)
    if rng.random() < 0.3:
        crop = blurred(crop, rng)
    if rng.random() < 0.4:
        noise = rng.normal(0, rng.uniform(1, 9), crop.shape)
        crop = np.clip(crop + noise, 0, 255).astype(np.uint8)
    return at_size(crop, quality=int(rng.uniform(30, 90)) if rng.random() < 0.6 else None)


def tilted(crop, rng):
    """Small rotation and the perspective of a camera under the ceiling."""
    side = crop.shape[0]
    angle = np.deg2rad(rng.normal(0, 8))
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)
    target = corners @ turn.T
    target[:2, 0] *= 1 + rng.uniform(-0.05, 0.2)
    target[:, 1] *= rng.uniform(0.8, 1.05)
    target += rng.normal(0, 0.04, (4, 2))
    matrix = cv2.getPerspectiveTransform((corners + 1) * side / 2, (target.astype(np.float32) + 1) * side / 2)
    border = cv2.BORDER_REPLICATE if rng.random() < 0.7 else cv2.BORDER_CONSTANT
    return cv2.warpPerspective(crop, matrix, (side, side), borderMode=border, borderValue=(PADDING,) * 3)


def light(crop, rng):
    if rng.random() < 0.4:
        crop = dyed(crop, rng)
    values = crop.astype(np.float32)
    if rng.random() < 0.3:
        values[:] = values.mean(2, keepdims=True)
    else:
        values *= rng.uniform(0.85, 1.15, 3)
    values = (values - 127) * rng.uniform(0.6, 1.2) + 127
    values = 255 * (np.clip(values, 0, 255) / 255) ** rng.uniform(0.7, 1.8)
    return np.clip(values * rng.uniform(0.35, 1.15), 0, 255).astype(np.uint8)


def dyed(crop, rng):
    """Other colours for cloth and walls; a hat, a mask or a jacket may have any."""
    hue, saturation, value = cv2.split(cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_BGR2HSV))
    hue = ((hue.astype(int) + rng.integers(180)) % 180).astype(np.uint8)
    saturation = np.clip(saturation * rng.uniform(0.2, 1.5), 0, 255).astype(np.uint8)
    return cv2.cvtColor(cv2.merge([hue, saturation, value]), cv2.COLOR_HSV2BGR)


def steam(crop, rng):
    side = crop.shape[0]
    clouds = cv2.resize(rng.random((4, 4)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    share = np.clip(clouds * rng.uniform(0.2, 0.8), 0, 0.7)[..., None]
    return (crop * (1 - share) + 225 * share).astype(np.uint8)


def grease(crop, rng):
    side = crop.shape[0]
    smeared = cv2.GaussianBlur(crop, (0, 0), rng.uniform(2, 6))
    share = cv2.resize((rng.random((5, 5)) < 0.3).astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR)
    return (crop * (1 - share[..., None]) + smeared * share[..., None]).astype(np.uint8)


def blurred(crop, rng):
    if rng.random() < 0.6:
        return cv2.GaussianBlur(crop, (0, 0), rng.uniform(0.4, 1.2) * crop.shape[0] / 64 + 0.2)
    length = int(rng.integers(2, 5))
    kernel = np.zeros((length, length), np.float32)
    if rng.random() < 0.5:
        kernel[length // 2] = 1 / length
    else:
        kernel[:, length // 2] = 1 / length
    return cv2.filter2D(crop, -1, kernel)
