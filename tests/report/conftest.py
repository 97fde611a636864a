"""Made-up results to report on: the numbers are set here, so every test knows what must come out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import PermanentError, sentence_for
from shared.results import (
    DetectorResult,
    FaceRow,
    MediaFacts,
    Person,
    PersonScore,
    Provenance,
    Result,
    Shot,
)


def detector(
    name: str, *, faces: list[FaceRow], level: float, title: str = "", threshold: float = 0.5, **more: Any
) -> DetectorResult:
    """A detector that scores every face about ``level``, with a slow wave."""
    wave = [
        min(1.0, max(0.0, level + 0.12 * float(np.sin(face.frame / 6 + len(name))) - 0.25 * (face.person == 1)))
        for face in faces
    ]
    scores = tuple(round(value, 4) for value in wave)
    mean = sum(scores) / len(scores)
    persons = []
    for person in sorted({face.person for face in faces}):
        own = [score for score, face in zip(scores, faces, strict=True) if face.person == person]
        value = sum(own) / len(own)
        persons.append(
            PersonScore(
                person=person, faces=len(own), fake_score=value, hard_label="fake" if value >= threshold else "real"
            )
        )
    return DetectorResult(
        **{
            "id": name,
            "title": title or name.title(),
            "status": "ok",
            "fake_score": mean,
            "hard_label": "fake" if mean >= threshold else "real",
            "threshold": threshold,
            "strategy": "mean",
            "auc": 1 - mean,
            "persons": tuple(persons),
            "scores": scores,
            "units_scored": len(scores),
            "seconds": {"wall": 1.5},
            "provenance": provenance(),
            "paper": "Afchar et al., MesoNet: a compact facial video forgery detection network, WIFS 2018",
            "limits": ("Trained on face swaps of 2018; newer methods may pass unseen.",),
            **more,
        }
    )


def silent(name: str, *, status: str, code: str, title: str = "") -> DetectorResult:
    """A detector without a score."""
    return DetectorResult(
        id=name,
        title=title or name.title(),
        status=status,
        code=code,
        message=sentence_for(code),
        threshold=0.5,
        strategy="mean",
        provenance=provenance(),
    )


def provenance() -> Provenance:
    """Where the scores come from."""
    return Provenance(
        version="1.0",
        contract="1",
        weights={"Meso4_DF.h5": "ab" * 32},
        parameters={"input": 256},
        runner="docker",
        image="deepfake-o-meter/mesonet@sha256:" + "cd" * 32,
    )


def make_result(
    *,
    size: tuple[int, int] = (640, 480),
    frames: int = 50,
    fps: float = 25.0,
    persons: int = 1,
    boxes: list[tuple[float, float, float, float]] | None = None,
    kind: str = "video",
    name: str = "clip.mp4",
    detectors: Callable[[list[FaceRow]], list[DetectorResult]] | None = None,
) -> Result:
    """A result for a clip in which every frame shows ``persons`` faces that move slowly to the right."""
    width, height = size
    starts = boxes or [
        (width * (0.1 + 0.45 * p), height * 0.15, width * (0.45 + 0.45 * p), height * 0.75) for p in range(persons)
    ]
    faces = [
        FaceRow(
            frame=frame,
            time_s=round(frame / fps, 6),
            shot=0,
            person=person,
            box=(x1 + frame, y1, x2 + frame, y2),
            confidence=0.99,
            tracked=frame % 5 > 0,
        )
        for frame in range(frames)
        for person, (x1, y1, x2, y2) in enumerate(starts[:persons])
    ]
    made = detectors(faces) if detectors else [detector("mesonet", faces=faces, level=0.8, title="MesoNet")]
    still = kind == "image"
    duration = 0.0 if still else frames / fps
    return Result(
        id="a" * 26,
        created=datetime(2026, 11, 21, 9, 30, tzinfo=UTC),
        platform_version="0.1.0",
        media=MediaFacts(
            name=name,
            sha256="ef" * 32,
            bytes=123_456,
            kind=kind,
            width=width,
            height=height,
            fps=None if still else fps,
            duration_s=duration,
            frames=frames,
            codec="png" if still else "h264",
            container="png" if still else "mov,mp4,m4a,3gp,3g2,mj2",
            rotation=0,
            has_audio=not still,
        ),
        mode="thorough",
        sampled_frames=frames,
        shots=(Shot(shot=0, start=0, end=max(0, frames - 1), start_s=0.0, end_s=duration),),
        persons=tuple(
            Person(person=p, faces=frames, first_s=0.0, last_s=duration) for p in range(persons if frames else 0)
        ),
        faces=tuple(faces),
        detectors=tuple(made),
        consensus=(),
        seconds={"stage": 0.01, "media": 2.5},
    )


@pytest.fixture(scope="session")
def made_result() -> Callable[..., Result]:
    """``make_result`` above."""
    return make_result


@pytest.fixture(scope="session")
def made_detector() -> Callable[..., DetectorResult]:
    """``detector`` above."""
    return detector


@pytest.fixture(scope="session")
def made_silent() -> Callable[..., DetectorResult]:
    """``silent`` above."""
    return silent


@pytest.fixture
def no_video() -> Callable[[Path, Path], None]:
    """A renderer that cannot."""

    def refuse(plan: Path, out: Path) -> None:
        raise PermanentError("worker_died")

    return refuse
