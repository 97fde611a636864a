"""Pictures of a run: its curve, and the clips it got most wrong, to be looked at.

Owns: what a person sees of a candidate beside its table. They show people's faces: keep them where the clips are, publish none.
Promises: a clip is shown with the score of its home fold, less the fold's median of real clips, as the table counts it.
May be imported by detectors.training and its tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from base_detector import Array
from detectors.training.clips import SIDE, Clip, Faces
from detectors.training.loop import read_log
from detectors.training.video_measure import Scored, within_folds

#: Clips on a sheet, faces of each, height of its caption in pixels.
_CLIPS, _FACES, _CAPTION = 10, 4, 18


def draw_curve(log: Path, picture: Path) -> None:
    """The run's log as a small PNG: loss, and the ROC-AUC of its own batches and of the clips that were watched."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines = read_log(log)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    left.plot([line["step"] for line in lines], [line["loss"] for line in lines])
    left.set_title("cross-entropy")
    for name, label in (("auc", "training batches"), ("watched_auc", "clips left out")):
        own = [line for line in lines if name in line]
        right.plot([line["step"] for line in own], [line[name] for line in own], ".-", label=label)
    right.set_title("ROC-AUC")
    right.legend()
    for axes in (left, right):
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=90)
    pyplot.close(figure)


def draw_worst(scored: Sequence[Scored], faces: Mapping[Clip, Faces], out: Path) -> dict[str, list[str]]:
    """Write OUT/misses.png (fakes that score lowest) and OUT/alarms.png (real clips that score highest); which files they show."""
    home = [one for one in scored if one.home and one.clip in faces]
    values = within_folds(home)
    shown = {}
    for name, fake, sense in (("misses", True, 1), ("alarms", False, -1)):
        own = sorted((sense * values[i], i) for i, one in enumerate(home) if one.clip.fake == fake)[:_CLIPS]
        if own:
            sheet = np.concatenate([_row(faces[home[i].clip], float(values[i])) for _, i in own])
            cv2.imwrite(str(out / f"{name}.png"), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
        shown[name] = [home[i].clip.name for _, i in own]
    return shown


def _row(found: Faces, value: float) -> Array:
    """Some faces of a clip side by side under a line with its file, method and score: (h, w, 3) uint8 RGB."""
    places = np.linspace(0, len(found) - 1, _FACES).round().astype(int)
    faces = np.concatenate(list(np.asarray(found.pixels[0][places])), axis=1)
    caption = np.full((_CAPTION, _FACES * SIDE, 3), 255, np.uint8)
    text = f"{found.clip.name} {found.clip.method} {value:+.2f}"
    cv2.putText(caption, text, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([caption, faces])
