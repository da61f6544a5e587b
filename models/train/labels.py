"""What is on the pictures: boxes drawn by people where there are any, else what two teachers see.

Enters: pictures and the two published networks. Leaves: labels, doubts and the original's own view in
every Picture. A doubt keeps a class from being learnt there, neither as present nor as absent.
"""

import csv
from pathlib import Path

import numpy as np

from boxes import covered, overlap, select, suppressed
from network import CLASSES, COCO_ANIMALS, COCO_CLASS, decode_boxes, grid
from pictures import letterbox, no_boxes, one_thread_session, to_input

PERSON, HEAD, PHONE, CIGARETTE, RAT, CAT, DOG = range(len(CLASSES))
TRUE_ANIMAL = {"catdog/cats": CAT, "catdog/dogs": DOG}
# Folders where the face network takes animals' faces for people's.
ANIMALS = {"rats/images", *TRUE_ANIMAL}
# Folder of drawn boxes beside the pictures: the classes its numbers stand for.
DRAWN = {"rats/images": [RAT], "cigarettes/images": [CIGARETTE], "heads_helmet/images": [HEAD, HEAD]}
# The original's score from which its box is a label, and from which it is at least a doubt.
SEEN, SUSPECTED = 0.35, 0.12
RAT_SUSPECTED = 0.2
# Places that a trained network took for an unboxed rat, each looked at: rat, unclear or other.
LOOKED_AT = Path(__file__).with_name("unboxed_rats.csv")
FACE_SEEN, FACE_SUSPECTED = 0.7, 0.3
# From face to head, in face widths and heights: medians over the 195 bare heads of heads_helmet.
HEAD_MARGINS = np.array([-0.22, -0.34, 0.20, 0.07])


class Original:
    """The COCO network at its own 416x416."""

    SIDE = 416

    def __init__(self, path):
        self.session = one_thread_session(path)
        self.cells = grid(self.SIDE, self.SIDE)

    def detections(self, image, least=0.3):
        """What it sees of CLASSES, and as a column more its best animal of any kind; in picture pixels."""
        framed, scale = letterbox(image, self.SIDE, self.SIDE)
        raw = self.session.run(None, {"images": to_input([framed])})[0][0]
        scores = raw[:, 4:5] * raw[:, 5:]
        own = np.zeros((len(raw), len(CLASSES) + 1), np.float32)
        for label, column in COCO_CLASS.items():
            own[:, CLASSES.index(label)] = scores[:, column]
        own[:, -1] = scores[:, COCO_ANIMALS].max(1)
        found = select(decode_boxes(raw[:, :4], self.cells), own, least, scale)
        return found[found[:, 5] < len(CLASSES)], found[found[:, 5] == len(CLASSES)]


class Faces:
    """The face network at 640x480. It knows no face that fills the picture: small pictures are shown smaller."""

    WIDTH, HEIGHT, SMALL_PICTURE = 640, 480, 300

    def __init__(self, path):
        self.session = one_thread_session(path)

    def faces(self, image):
        """Rows x1, y1, x2, y2, score."""
        share = 0.6 if max(image.shape[:2]) < self.SMALL_PICTURE else 1.0
        framed, scale = letterbox(image, int(self.WIDTH * share), int(self.HEIGHT * share))
        canvas = np.full((self.HEIGHT, self.WIDTH, 3), 114, np.uint8)
        canvas[: framed.shape[0], : framed.shape[1]] = framed
        values = np.ascontiguousarray(to_input([canvas[..., ::-1]]) - 127) / 128
        scores, corners = self.session.run(["scores", "boxes"], {"input": values})
        scores = 1 - scores[0, :, 0]
        strong = np.flatnonzero(scores >= FACE_SUSPECTED)
        found = np.column_stack([corners[0] * np.tile([self.WIDTH, self.HEIGHT], 2) / scale, scores])[strong]
        return found[suppressed(found, scores[strong], 0.4)].astype(np.float32)


def label(pictures, data):
    original = Original(data / "pretrained/yolox_nano.onnx")
    faces = Faces(data / "pretrained/rfb_640_masked_face.onnx")
    for picture in pictures:
        picture.original, animals = original.detections(picture.image, SUSPECTED)
        labels, doubts = from_original(picture, animals)
        drawn = drawn_boxes(picture, data)
        if picture.folder == "rats/images":
            doubts += unboxed_rats(animals, drawn)
        if picture.folder != "heads_helmet/images":
            seen, known = faces.faces(picture.image), np.array(labels).reshape(-1, 6)
            if picture.folder in ANIMALS:
                seen = seen[within(seen, known[known[:, 5] == PERSON])]
            heads, head_doubts = heads_from_faces(seen, known)
            labels += heads
            doubts += head_doubts
        picture.labels = np.concatenate([drawn, np.array(labels, np.float32).reshape(-1, 6)])
        picture.doubts = np.array(doubts, np.float32).reshape(-1, 5)
    look_again(pictures)


def look_again(pictures):
    """Rats that nobody boxed: labels in training and calibration, kept apart in validation, where the drawn boxes
    judge. What is unclear is a doubt; what is no rat is none."""
    named = {picture.name: picture for picture in pictures}
    with LOOKED_AT.open() as file:
        for row in csv.DictReader(file):
            picture = named.get(row["picture"])
            if picture is None:
                continue
            box = [float(row[key]) for key in ("x1", "y1", "x2", "y2")]
            if row["what"] == "unclear":
                picture.doubts = with_row(picture.doubts, [*box, RAT])
            elif row["what"] == "other":
                picture.refuted = with_row(picture.refuted, [*box, RAT])
            elif picture.part == "validation":
                picture.added = with_row(picture.added, [*box, 1.0, RAT])
            else:
                picture.labels = with_row(picture.labels, [*box, 1.0, RAT])
    for picture in pictures:
        picture.doubts = unrefuted(picture.doubts, picture.refuted)


def with_row(rows, row):
    return np.concatenate([rows, np.array([row], np.float32)])


def unrefuted(doubts, refuted):
    if not len(doubts) or not len(refuted):
        return doubts
    return doubts[(overlap(doubts, refuted).max(1) < 0.3) | (doubts[:, 4] != RAT)]


def from_original(picture, animals):
    """The original's boxes as labels and doubts, corrected by what is known of the folder."""
    labels, doubts = [], []
    for row in picture.original:
        index = int(row[5])
        if index in (CAT, DOG) and (picture.folder == "rats/images" or picture.folder in TRUE_ANIMAL):
            continue
        # Looked through by eye: what it calls a phone there is nearly always something else.
        believed = index != PHONE or picture.folder not in {"cigarettes/images", "masks"}
        if row[4] >= SEEN and believed:
            labels.append(row)
        else:
            doubts.append([*row[:4], index])
    if picture.folder in TRUE_ANIMAL:
        for row in animals:
            true = TRUE_ANIMAL[picture.folder]
            if row[4] >= SEEN:
                labels.append([*row[:5], true])
            else:
                doubts.append([*row[:4], true])
    return labels, doubts


def drawn_boxes(picture, data):
    """YOLO text files beside the pictures: class, centre and size as shares of the picture."""
    classes = DRAWN.get(picture.folder)
    if classes is None:
        return no_boxes(6)
    path = data / picture.folder.replace("images", "labels") / (Path(picture.name).stem + ".txt")
    height, width = picture.image.shape[:2]
    rows = []
    lines = path.read_text().splitlines() if path.exists() else []
    for line in filter(str.strip, lines):
        number, x, y, w, h = map(float, line.split())
        box = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2]) * np.tile([width, height], 2)
        rows.append([*np.clip(box, 0, np.tile([width, height], 2)), 1.0, classes[int(number)]])
    return np.array(rows, np.float32).reshape(-1, 6)


def unboxed_rats(seen, drawn):
    """Boxes of something like an animal that no drawn box meets: not every rat is boxed in that set."""
    seen = seen[seen[:, 4] >= RAT_SUSPECTED]
    if len(drawn) and len(seen):
        seen = seen[(overlap(seen, drawn).max(1) < 0.3) & (covered(drawn, seen).max(0) < 0.6)]
    return [[*row[:4], RAT] for row in seen]


def within(faces, people):
    """Which faces have their centre in a person's box."""
    centre = ((faces[:, :2] + faces[:, 2:4]) / 2)[:, None]
    return ((centre > people[None, :, :2]) & (centre < people[None, :, 2:4])).all(2).any(1)


def heads_from_faces(faces, labels):
    """Faces grown to heads, up to the top of the person's box where a hat makes it higher; a person on
    whom no face is seen is a doubt."""
    people = labels[labels[:, 5] == PERSON]
    heads, doubts, with_face = [], [], set()
    for face in faces:
        size = np.tile(face[2:4] - face[:2], 2)
        box = face[:4] + HEAD_MARGINS * size
        for number, person in enumerate(people):
            middle = (face[0] + face[2]) / 2
            higher = (face[1] - person[1]) / size[1]
            if person[0] < middle < person[2] and 0.1 < higher < 1.3:
                box[1] = person[1]
            if person[0] < middle < person[2] and -0.3 < higher < 1.5 and face[4] >= FACE_SEEN:
                with_face.add(number)
        if face[4] >= FACE_SEEN:
            heads.append([*box, face[4], HEAD])
        else:
            doubts.append([*box, HEAD])
    doubts += [[*person[:4], HEAD] for number, person in enumerate(people) if number not in with_face]
    return heads, doubts
