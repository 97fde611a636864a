"""Results of detectors that judge whole pictures or sound, made from results of detectors that judge faces. All numbers are set here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backend.scores.aggregate import consensus
from shared.errors import sentence_for
from shared.findings import Sound
from shared.results import DetectorResult, PictureRow, Provenance, Result, Unit

_PROVENANCE = Provenance(version="1.0", contract="1", weights={}, parameters={}, runner="process", image=None)

#: AASIST's: 64,600 and 32,300 samples of 16,000 a second
WINDOW_S, HOP_S = 4.0375, 2.01875


def scored(
    name: str, title: str, unit: Unit, scores: Sequence[float | None], *, threshold: float = 0.5, **more: Any
) -> DetectorResult:
    """A detector of whole pictures or sound whose score of the file is the mean."""
    known = [score for score in scores if score is not None]
    mean = sum(known) / len(known)
    given: dict[str, Any] = {
        "id": name, "title": title, "unit": unit, "status": "ok", "fake_score": mean, "threshold": threshold, "strategy": "mean",
        "hard_label": "fake" if mean >= threshold else "real", "auc": 1 - mean, "scores": tuple(scores), "units_scored": len(known),
        "seconds": {"wall": 0.4}, "provenance": _PROVENANCE, "paper": "Jung et al., AASIST, ICASSP 2022",
    }  # fmt: skip
    return DetectorResult(**(given | more))


def without_score(name: str, title: str, unit: Unit, code: str) -> DetectorResult:
    """A detector that had nothing to judge."""
    return DetectorResult(
        id=name, title=title, unit=unit, status="not_applicable", code=code, message=sentence_for(code), threshold=0.5,
        strategy="mean", provenance=_PROVENANCE,
    )  # fmt: skip


def windows(count: int, *, window_s: float = WINDOW_S, hop_s: float = HOP_S) -> tuple[tuple[float, float], ...]:
    """Start and end of ``count`` windows at regular distances."""
    return tuple((round(hop_s * place, 6), round(hop_s * place + window_s, 6)) for place in range(count))


def with_sound(
    result: Result, scores: Sequence[float | None], *, name: str = "aasist", title: str = "AASIST"
) -> Result:
    """``result`` with a detector of sound that gave ``scores`` to its windows."""
    spans = windows(len(scores))
    end = max(result.media.duration_s, spans[-1][1])
    heard = scored(name, title, "sound", scores, windows=spans)
    return _with(result, heard, sound=Sound(samples=round(16_000 * end), start_s=0.0, speech=((0.5, end - 0.5),)))


def with_pictures(result: Result, scores: Sequence[float | None], *, name: str = "ferretnet") -> Result:
    """``result`` with a detector that gave ``scores`` to whole pictures, evenly spread over the clip."""
    step = result.media.duration_s / len(scores)
    rows = tuple(
        PictureRow(frame=round(place * step * (result.media.fps or 1)), time_s=round(place * step, 6), shot=0)
        for place in range(len(scores))
    )
    return _with(result, scored(name, "FerretNet", "picture", scores), pictures=rows)


def as_sound_file(result: Result, scores: Sequence[float | None] = (0.2, 0.9, None, 0.8)) -> Result:
    """What ``result`` would be for a voice recording; its detectors of faces had nothing to judge."""
    end = windows(len(scores))[-1][1]
    silent = tuple(without_score(item.id, item.title, item.unit, "no_picture") for item in result.detectors)
    media = result.media.__class__(**(vars(result.media) | {
        "name": "voice_message.m4a", "kind": "sound", "width": 0, "height": 0, "fps": None, "duration_s": end, "frames": 0,
        "codec": "aac", "container": "mov,mp4,m4a,3gp,3g2,mj2", "has_audio": True,
    }))  # fmt: skip
    bare = result.model_copy(
        update={
            "media": media, "sampled_frames": 0, "shots": (), "persons": (), "faces": (), "pictures": (), "detectors": silent,
            "consensus": (),
        }
    )  # fmt: skip
    return with_sound(bare, scores)


def pictures_only(result: Result, score: float = 0.93) -> Result:
    """What ``result`` (of a still) would be when only a detector of whole pictures was asked."""
    bare = result.model_copy(update={"persons": (), "faces": (), "detectors": (), "consensus": ()})
    return with_pictures(bare, [score])


def _with(result: Result, detector: DetectorResult, **more: Any) -> Result:
    detectors = (*result.detectors, detector)
    return result.model_copy(update={"detectors": detectors, "consensus": consensus(detectors)} | more)
