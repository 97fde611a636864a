"""Assembles ``Result`` from the face pack and what the detectors gave; the only place where scores become a result.

Nothing is filled in: a detector without scores has null, its state, and the sentence that says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from backend.harvest.scores import HarvestedScores
from backend.job import Job
from backend.scores.aggregate import consensus, report_auc, video_score
from backend.scores.alarms import alone
from backend.scores.conditions import conditions_of
from backend.scores.evidence import worth_of
from backend.scores.findings import finding_of
from backend.scores.lanes import joint_of, stretches_of
from backend.scores.references import References
from base_detector import Array, Card, NotApplicable
from shared.clock import utc_now
from shared.errors import sentence_for
from shared.findings import LEAST_SOUND_S, MediaPack
from shared.records import DetectorProgress, DetectorState, Mode
from shared.results import (
    Conditions,
    DetectorResult,
    FaceRow,
    MediaFacts,
    MediaWorker,
    Person,
    PictureRow,
    Provenance,
    Result,
    Stability,
)

#: the sets that are beside the detectors
_SHIPPED_ONLY: Final = References(None)


@dataclass
class DetectorOutcome:
    """The outcome of one detector: its harvested scores, or why there are none."""

    card: Card
    provenance: Provenance
    folder: Path
    status: DetectorState = "ok"
    code: str | None = None
    scores: HarvestedScores | None = None
    cached: bool = False
    wall_s: float = 0.0
    stability: Stability | None = None

    def fail(self, code: str) -> None:
        """Say that it failed, and why."""
        self.status, self.code = "timed_out" if code == "detector_timed_out" else "failed", code

    def progress(self) -> DetectorProgress:
        """What the board shows."""
        return DetectorProgress(
            detector=self.card.id,
            title=self.card.title,
            state=self.status,
            code=self.code,
            seconds=round(self.wall_s, 2),
            cached=self.cached,
            unit=self.card.unit,
        )


def assemble(
    job: Job,
    pack: MediaPack,
    outcomes: list[DetectorOutcome],
    *,
    seconds: dict[str, float],
    media_worker: MediaWorker | None = None,
    references: References = _SHIPPED_ONLY,
) -> Result:
    """The result of ``job``, without the report's files. ``references``: what its scores are weighed by."""
    media = MediaFacts(name=job.name, sha256=job.sha256, bytes=job.bytes, **vars(pack.media))
    like = conditions_of(media, pack)
    detectors = tuple(
        _weighed(detector_result(outcome, pack), outcome, references, mode=job.mode, like=like) for outcome in outcomes
    )
    parts = {f"media.{name}": value for name, value in pack.seconds.items()}
    return Result(
        id=job.id,
        created=utc_now(),
        platform_version=version("deepfake-o-meter"),
        media=media,
        mode=job.mode,
        sampled_frames=len(pack.frames),
        notes=pack.notes,
        shots=pack.shots,
        persons=tuple(Person(**vars(item)) for item in pack.persons),
        faces=tuple(_face_rows(pack.faces)),
        pictures=tuple(_picture_rows(pack.pictures)),
        sound=pack.heard,
        detectors=detectors,
        consensus=consensus(detectors),
        joint_stretches=joint_of(detectors, mode=job.mode, faces={item.person: item.faces for item in pack.persons}),
        conditions=like,
        origin=pack.origin,
        media_worker=media_worker,
        seconds={name: round(value, 4) for name, value in (seconds | parts).items()},
    )


def _face_rows(faces: Array) -> Iterator[FaceRow]:
    """A row for each of ``faces`` (N,) FACE_DTYPE: read by column, because a member of a numpy row costs more than a number of a list."""
    names = ("frame", "time_s", "shot", "person", "box", "confidence", "tracked")
    for frame, time_s, shot, person, box, confidence, tracked in zip(
        *(faces[name].tolist() for name in names), strict=True
    ):
        x1, y1, x2, y2 = (round(value, 2) for value in box)
        yield FaceRow(
            frame=frame,
            time_s=round(time_s, 6),
            shot=shot,
            person=person,
            box=(x1, y1, x2, y2),
            confidence=round(confidence, 5),
            tracked=tracked,
        )


def _picture_rows(pictures: Array) -> Iterator[PictureRow]:
    """A row for each of ``pictures`` (n,) PICTURE_DTYPE."""
    for frame, time_s, shot in zip(*(pictures[name].tolist() for name in ("frame", "time_s", "shot")), strict=True):
        yield PictureRow(frame=frame, time_s=round(time_s, 6), shot=shot)


def scores_of(card: Card, pack: MediaPack, judge: Callable[[], HarvestedScores]) -> HarvestedScores:
    """What ``judge`` gives, asked only where there is something to judge; NotApplicable with the reason why there is no score."""
    if reason := pack.lacks(card):
        raise NotApplicable(reason)
    scores = judge()
    if reason := too_few(card, scores, of=len(pack.units(card))):
        raise NotApplicable(reason)
    return scores


def too_few(card: Card, scores: HarvestedScores, *, of: int) -> str | None:
    """Why so few of ``of`` units were scored that the detector says nothing of the whole, as a reason code; None when enough were."""
    if len(scores.index) >= card.least_units:
        return None
    if of >= card.least_units and scores.skipped:
        return max(scores.skipped, key=scores.skipped.__getitem__)
    return "sound_too_short" if card.unit == "sound" else "not_judgeable"


def _sentence(card: Card, code: str) -> str:
    """Why there is no score; with the seconds of sound that are needed, where these are too few."""
    if code != "sound_too_short":
        return sentence_for(code)
    several = card.window_s + (card.least_units - 1) * card.hop_s if card.least_units > 1 else 0.0
    needed = max(LEAST_SOUND_S, several)
    return f"Too little sound with speech in it: this detector needs about {round(needed)} s. Upload a longer part with speech."


def detector_result(outcome: DetectorOutcome, pack: MediaPack) -> DetectorResult:
    """The result of one detector, without the report's pictures."""
    card, scores = outcome.card, outcome.scores
    common: dict[str, Any] = {
        "id": card.id,
        "title": card.title,
        "unit": card.unit,
        "threshold": card.threshold,
        "strategy": card.aggregation,
        "provenance": outcome.provenance,
        "paper": card.paper,
        "limits": card.limits,
        "family": card.family,
        "looks_for": card.looks_for,
        "cached": outcome.cached,
        "seconds": {"wall": round(outcome.wall_s, 4)},
    }
    if scores is None:
        code = outcome.code or "detector_failed"
        return DetectorResult(status=_final(outcome), code=code, message=_sentence(card, code), **common)
    each = np.full(len(pack.units(card)), np.nan)
    each[list(scores.index)] = scores.fake_score
    score = video_score(
        card.aggregation,
        scores=each,
        faces=np.asarray(pack.faces) if card.unit == "face" else None,
        persons_scores={item.person: item.fake_score for item in scores.persons},
        own=scores.video_fake_score,
    )
    common["seconds"] |= {name: round(value, 4) for name, value in scores.seconds.items()}
    return DetectorResult(
        status="ok",
        fake_score=score,
        hard_label="fake" if score >= card.threshold else "no_trace" if card.lossless_only else "real",
        auc=report_auc(np.asarray(scores.fake_score)),
        persons=scores.persons,
        scores=tuple(None if np.isnan(value) else float(value) for value in each),
        windows=tuple(map(tuple, pack.window_times(card).round(6).tolist())) if card.unit == "sound" else (),
        units_scored=len(scores.index),
        skipped=dict(scores.skipped),
        stretches=stretches_of(card, each, pack),
        stability=outcome.stability,
        **common,
    )


def _weighed(
    answer: DetectorResult, outcome: DetectorOutcome, references: References, *, mode: Mode, like: Conditions
) -> DetectorResult:
    """``answer`` with what its score is worth, and where it points."""
    if answer.fake_score is None:
        return answer
    card = outcome.card
    ran, is_clip = answer.provenance, like.kind == "video"
    usable = references.best(card, ran, mode=mode, kind=like.kind)
    worth = worth_of(answer.fake_score, usable, threshold=card.threshold, like=like) if usable else None
    answer = answer.model_copy(update={"worth": worth})
    elsewhere = worth is None and references.measured(card, ran)
    finding = finding_of(answer, card, like=like, is_clip=is_clip, elsewhere=elsewhere)
    return answer.model_copy(update={"finding": finding, "false_stretches": alone(answer, mode=mode)})


def shadow_entry(outcome: DetectorOutcome, pack: MediaPack) -> dict[str, Any]:
    """What is recorded of a detector on trial: nothing that identifies the submission."""
    found = detector_result(outcome, pack)
    return {
        "day": utc_now().date().isoformat(),
        "version": outcome.card.version,
        "status": found.status,
        "code": found.code,
        "fake_score": found.fake_score,
        "units_scored": found.units_scored,
        "seconds": round(outcome.wall_s, 3),
    }


def _final(outcome: DetectorOutcome) -> Any:
    return outcome.status if outcome.status in ("not_applicable", "failed", "timed_out") else "failed"
