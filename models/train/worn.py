"""Draws a simple mask on a face, so that hats, pictures and masks don't go together in the training set."""

from dataclasses import replace

import cv2
import numpy as np

COLOURS = [(235, 215, 170), (245, 245, 245), (40, 40, 40), (200, 180, 140), (230, 225, 215), (180, 200, 225)]


def put_on_mask(head, rng):
    left, top, right, bottom = head.face
    width, height = right - left, bottom - top
    nose = rng.uniform(0.4, 0.52)
    outline = np.array([(0.0, nose + 0.1), (0.3, nose + 0.03), (0.5, nose), (0.7, nose + 0.03), (1.0, nose + 0.1),
                        (0.94, 0.8), (0.72, 1.02), (0.5, 1.08), (0.28, 1.02), (0.06, 0.8)])
    outline = (outline + rng.normal(0, 0.02, outline.shape)) * (width, height) + (left, top)
    image = head.image.copy()
    # The face's own light and shadow stay visible on the cloth.
    shade = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (0, 0), max(1, width / 12)).astype(np.float32)
    brightness = shade / max(30, float(shade[int(max(top, 0)) : int(bottom) + 1,
                                             int(max(left, 0)) : int(right) + 1].mean()))
    colour = np.array(COLOURS[rng.integers(len(COLOURS))]) * rng.uniform(0.7, 1.05) + rng.normal(0, 10, 3)
    cloth = colour * np.clip(brightness, 0.5, 1.3)[..., None]
    for fold in (0.62, 0.74, 0.86):
        y = int(top + fold * height)
        cv2.line(cloth, (int(left), y), (int(right), y), (colour * 0.8).tolist(), max(1, int(height / 60)))
    alpha = np.zeros(image.shape[:2], np.float32)
    cv2.fillPoly(alpha, [outline.astype(np.int32)], 1.0)
    alpha = cv2.GaussianBlur(alpha, (0, 0), max(0.5, width / 60))[..., None]
    return replace(head, image=np.clip(image * (1 - alpha) + cloth * alpha, 0, 255).astype(np.uint8))
