"""What can be asked of one file's result in the table of ``test_cases``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Outcome:
    """What the command line left of one file. ``summary`` is its member of ``--json``, ``result`` its result.json (None: refused)."""

    summary: dict[str, Any]
    result: dict[str, Any] | None
    folder: Path

    @property
    def code(self) -> str | None:
        """None when the file was judged, else the code that says why not."""
        if self.result is None:
            return str(self.summary["code"])
        return self.result["detectors"][0]["code"]

    @property
    def words(self) -> str:
        """What the person reads when there is no score."""
        return str(self.summary["message"] if self.result is None else self.result["detectors"][0]["message"])

    @property
    def faces(self) -> list[dict[str, Any]]:
        """The rows of faces."""
        assert self.result is not None, f"refused: {self.code}"
        return self.result["faces"]


Check = Callable[[Outcome], None]


def every_frame(outcome: Outcome) -> None:
    """Each person has a face on each sampled frame."""
    assert outcome.result is not None
    counts = {person["faces"] for person in outcome.result["persons"]}
    assert counts == {outcome.result["sampled_frames"]}


def from_second(start: float) -> Check:
    """The first face is at ``start`` seconds, within one frame."""

    def check(outcome: Outcome) -> None:
        assert abs(min(face["time_s"] for face in outcome.faces) - start) <= 0.1

    return check


def step_of(seconds: float) -> Check:
    """A frame is shown every ``seconds``."""

    def check(outcome: Outcome) -> None:
        for face in outcome.faces:
            assert abs(face["time_s"] - face["frame"] * seconds) < 0.002

    return check


def own_instants(outcome: Outcome) -> None:
    """No two frames have one instant."""
    frames = {face["frame"]: face["time_s"] for face in outcome.faces}
    assert len(set(frames.values())) == len(frames)


def natural_shape(outcome: Outcome) -> None:
    """Faces are higher than wide, as heads are, and not squeezed to a line."""
    assert outcome.faces
    for face in outcome.faces:
        left, top, right, bottom = face["box"]
        assert 0.55 < (right - left) / (bottom - top) < 1.0, face


def sound_with_picture(outcome: Outcome) -> None:
    """Sound and picture of the result video begin together."""
    with av.open(str(outcome.folder / "video/side_by_side.mp4")) as video:
        starts = [
            float(stream.start_time * stream.time_base) for stream in (*video.streams.video, *video.streams.audio)
        ]
    assert len(starts) == 2
    assert abs(starts[0] - starts[1]) < 0.06


def skin(outcome: Outcome) -> None:
    """The person's face has the colour of skin: more red than green, more green than blue."""
    picture = Image.open(outcome.folder / "keyframes/person_0.jpg").convert("RGB")
    width, height = picture.size
    face = np.asarray(picture)[height * 2 // 5 : height * 3 // 5, width * 2 // 5 : width * 3 // 5]
    red, green, blue = face.mean((0, 1))
    assert red > green > blue


def curve_breaks(count: int) -> Check:
    """The curve is interrupted ``count`` times."""

    def check(outcome: Outcome) -> None:
        curve = json.loads((outcome.folder / "curves.json").read_text(encoding="utf-8"))["lines"][0]
        assert curve["t"].count(None) == count

    return check


def rises_at(seconds: float) -> Check:
    """Scores before ``seconds`` say real, those after say fake."""

    def check(outcome: Outcome) -> None:
        assert outcome.result is not None
        times = np.array([face["time_s"] for face in outcome.faces])
        scores = np.array(outcome.result["detectors"][0]["scores"], float)
        assert np.nanmean(scores[times < seconds]) < 0.5
        assert np.nanmean(scores[times >= seconds]) > 0.8

    return check


def usual_rate(outcome: Outcome) -> None:
    """The result video has at most 60 frames a second."""
    with av.open(str(outcome.folder / "video/side_by_side.mp4")) as video:
        assert float(video.streams.video[0].average_rate) <= 60


def reads(pattern: str) -> Check:
    """The result page, its README or the sentence of the refusal has words like ``pattern``."""

    def check(outcome: Outcome) -> None:
        files = [outcome.folder / "summary.html", outcome.folder / "README.txt"]
        words = [path.read_text(encoding="utf-8") for path in files] if outcome.result else [outcome.words]
        assert any(re.search(pattern, text) for text in words)

    return check
