"""Faces as a published face detector sees them: whether a head shows a face, where, and whether it is masked.

Enters: BGR pictures. Leaves: rows x1, y1, x2, y2, score, masked (0 or 1) in picture pixels, best first.
"""

import cv2
import numpy as np

from boxes import overlap
from pictures import one_thread_session

WIDTH, HEIGHT = 640, 480
# Tight face crops are only found when there is room around them, small faces only without.
FILLINGS = (1.0, 0.5)
LEAST, IOU = 0.5, 0.4


class FaceFinder:
    def __init__(self, path):
        self.session = one_thread_session(path)

    def find(self, image):
        rows = np.concatenate([self.at(image, filling) for filling in FILLINGS])
        rows = rows[np.argsort(-rows[:, 4])]
        kept = []
        while len(rows):
            kept.append(rows[0])
            rows = rows[1:][overlap(rows[:1], rows[1:])[0] < IOU]
        return np.array(kept, np.float32).reshape(-1, 6)

    def at(self, image, filling):
        scale = min(WIDTH / image.shape[1], HEIGHT / image.shape[0]) * filling
        width, height = (max(1, int(side * scale)) for side in (image.shape[1], image.shape[0]))
        left, top = (WIDTH - width) // 2, (HEIGHT - height) // 2
        canvas = np.full((HEIGHT, WIDTH, 3), 127, np.uint8)
        canvas[top : top + height, left : left + width] = cv2.resize(
            image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        planes = (canvas[..., ::-1].astype(np.float32) - 127) / 128
        scores, boxes = self.session.run(None, {"input": np.ascontiguousarray(planes.transpose(2, 0, 1))[None]})
        face = scores[0, :, 1:].max(1)
        kept = face >= LEAST
        corners = (boxes[0, kept].reshape(-1, 2, 2) * (WIDTH, HEIGHT) - (left, top)) / scale
        masked = scores[0, kept, 2] > scores[0, kept, 1]
        return np.column_stack([corners.reshape(-1, 4), face[kept], masked]).astype(np.float32)
