"""What a cheap camera on a thin line does to a picture.

Enters: a BGR picture and a generator. Leaves: a spoilt copy of the same size. Cheap enough for a training
loop on one core: about 2 ms at 416x256.
"""

import av
import cv2
import numpy as np

NOISE = np.random.default_rng(0).standard_normal((600, 1000, 3)).astype(np.float32)


def spoil(image, rng):
    if rng.random() < 0.25:
        image = coarser(image, rng.uniform(0.45, 0.9))
    if rng.random() < 0.2:
        image = blurred(image, rng)
    if rng.random() < 0.45:
        image = toned(image, rng)
    if rng.random() < 0.15:
        image = infrared(image, rng)
    if rng.random() < 0.3:
        image = noisy(image, rng.uniform(2, 12), rng)
    if rng.random() < 0.06:
        image = speckled(image, rng.uniform(0.002, 0.03), rng)
    luck = rng.random()
    if luck < 0.25:
        return jpeg(image, int(rng.integers(15, 60)))
    return h264(image, int(rng.integers(27, 41))) if luck < 0.37 else image


def coarser(image, factor):
    small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def blurred(image, rng):
    if rng.random() < 0.5:
        return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.6, 2.0))
    length = int(rng.integers(3, 10))
    line = np.zeros((length, length), np.float32)
    line[length // 2] = 1 / length
    turn = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), rng.uniform(0, 180), 1)
    line = cv2.warpAffine(line, turn, (length, length))
    return cv2.filter2D(image, -1, line / max(line.sum(), 1e-3))


def toned(image, rng):
    """Darker or brighter, harder or softer, with a cast."""
    values = (np.arange(256) / 255) ** rng.uniform(0.6, 2.0) * rng.uniform(0.5, 1.15) * 255
    table = np.clip(values[:, None] * rng.uniform(0.85, 1.15, 3), 0, 255).astype(np.uint8)
    return cv2.LUT(image, table[None])


def infrared(image, rng):
    """Grey, harder contrast, and a lamp that lights the middle."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32)
    height, width = grey.shape
    rows, columns = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    lamp = (1 - rng.uniform(0, 0.5) * np.clip(rows**2 + columns**2, 0, 1.5)).astype(np.float32)
    grey = ((grey - 128) * rng.uniform(0.8, 1.3) + 128) * lamp
    return cv2.cvtColor(np.clip(grey, 0, 255).astype(np.uint8), cv2.COLOR_GRAY2BGR)


def noisy(image, strength, rng):
    height, width = image.shape[:2]
    if height > NOISE.shape[0] or width > NOISE.shape[1]:
        noise = rng.standard_normal(image.shape, np.float32)
    else:
        top, left = rng.integers(NOISE.shape[0] - height + 1), rng.integers(NOISE.shape[1] - width + 1)
        noise = NOISE[top : top + height, left : left + width]
    return cv2.addWeighted(image, 1, noise, strength, 0, dtype=cv2.CV_8U)


def speckled(image, share, rng):
    count = int(share * image.shape[0] * image.shape[1])
    image = image.copy()
    rows, columns = rng.integers(image.shape[0], size=count), rng.integers(image.shape[1], size=count)
    image[rows, columns] = rng.choice(np.array([0, 255], np.uint8), (count, 1))
    return image


def jpeg(image, quality):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def h264(image, quantiser):
    """One keyframe through an H.264 encoder and back."""
    even = np.ascontiguousarray(image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2])
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = even.shape[1], even.shape[0], "yuv420p"
    encoder.framerate, encoder.thread_count = 8, 1
    encoder.options = {"preset": "superfast", "tune": "zerolatency", "qp": str(quantiser)}
    packets = encoder.encode(av.VideoFrame.from_ndarray(even, "bgr24")) + encoder.encode(None)
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    decoded = [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
    back = decoded[0].to_ndarray(format="bgr24")
    return cv2.copyMakeBorder(back, 0, image.shape[0] - back.shape[0], 0, image.shape[1] - back.shape[1],
                              cv2.BORDER_REPLICATE)
