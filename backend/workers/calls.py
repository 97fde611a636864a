"""Requests to workers: the media worker finds faces in a file, draws a result, damages a file or changes a small pack mildly; a detector's
worker judges a face pack.

Owns the members of the five requests. The answers are untrusted: they are checked before the room is removed. Imported by the
pipeline, the admission check and the command line of detectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from backend.harvest.media_pack import harvest_pack
from backend.harvest.untrusted import harvest_file
from backend.media.limits import MediaLimits
from backend.workers.signers import signers
from backend.workers.worker import Worker
from base_detector import Card
from shared.errors import PermanentError
from shared.records import Mode
from shared.settings import Settings

#: Context crops reach this factor times the face box, or further when a chosen detector's margin asks for it.
CONTEXT = 2.0

#: What every pass looks for of where a file comes from; the marks of "seen before" come with a setting.
ABOUT_ORIGIN = ("credentials", "traces")

Progress = Callable[[int, int], None]
Taken = TypeVar("Taken")


def context_for(cards: Iterable[Card]) -> float:
    """Side of the context crops, in box sides, so that all of ``cards`` can cut their own crops from them."""
    return max([CONTEXT, *(card.margin for card in cards)])


def wanted_by(cards: Iterable[Card]) -> dict[str, Any]:
    """What a media pass for the detectors of ``cards`` has to find, as members of the request ``extract``."""
    known = list(cards)
    return {
        "samplings": sorted({card.sampling for card in known if card.unit == "face"}),
        "context": context_for(card for card in known if card.unit == "face"),
        "pictures": sorted({card.sampling for card in known if card.unit == "picture"}),
        "windows": sorted({(card.window_s, card.hop_s) for card in known if card.unit == "sound"}),
    }


def make_pack(
    worker: Worker,
    media: Path,
    target: Path,
    *,
    name: str,
    wanted: Mapping[str, Any],
    mode: Mode,
    settings: Settings,
    on_progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> None:
    """Run the media pass for what is ``wanted`` (``wanted_by``); the pack is in ``target`` afterwards. ``name`` is that of the room.

    Raises WorkerError, NotApplicable or PermanentError (``media_bad_output``).
    """
    parts = [*ABOUT_ORIGIN, *(["fingerprint"] if settings.seen_before else [])]
    with worker.room(name) as room, signers(settings) as listed:
        room.link(media, "media")
        if listed:
            room.link(listed, "signers.pem")
        worker.call(
            "extract",
            timeout_s=settings.media_timeout_s,
            on_progress=on_progress,
            cancelled=cancelled,
            media=room.path("media"),
            pack=room.path("out/pack"),
            mode=mode,
            **wanted,
            origin=parts,
            anchors=room.path("signers.pem") if listed else None,
            limits=asdict(MediaLimits.of(settings)),
        )
        harvest_pack(room.out / "pack", target, moved=worker.started_by == "process")


def draw_result(
    worker: Worker,
    media: Path,
    plan: Path,
    target: Path,
    *,
    name: str,
    settings: Settings,
    on_progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> None:
    """Draw the result video, or the marked still, of ``plan`` (``backend.report.plan``) to ``target``. Raises as ``make_pack``."""
    with worker.room(name) as room:
        room.link(media, "media")
        room.link(plan, "plan.json")
        worker.call(
            "render",
            timeout_s=settings.media_timeout_s,
            on_progress=on_progress,
            cancelled=cancelled,
            media=room.path("media"),
            plan=room.path("plan.json"),
            out=room.path(f"out/{target.name}"),
            limits=asdict(MediaLimits.of(settings)),
        )
        most = settings.max_pack_mb * 1_000_000
        harvest_file(room.out, target.name, target, max_bytes=most, moved=worker.started_by == "process")


def corrupt_media(
    worker: Worker, media: Path, target: Path, *, name: str, how: str, seed: int, settings: Settings
) -> bool:
    """Write a copy of ``media`` damaged by ``how`` (``backend.media.corrupt``) to ``target``; False when it is not for this kind of file.

    Raises as ``make_pack``.
    """
    with worker.room(name) as room:
        room.link(media, "media")
        answer = worker.call(
            "corrupt",
            timeout_s=settings.media_timeout_s,
            media=room.path("media"),
            out=room.path("out/damaged"),
            how=how,
            seed=seed,
            limits=asdict(MediaLimits.of(settings)),
        )
        if not answer.get("units"):
            return False
        most = settings.max_pack_mb * 1_000_000
        harvest_file(room.out, "damaged", target, max_bytes=most, moved=worker.started_by == "process")
        return True


def vary_pack(
    worker: Worker,
    pack: Path,
    target: Path,
    *,
    name: str,
    unit: str,
    variants: Sequence[str],
    size: int,
    settings: Settings,
    cancelled: Callable[[], bool] | None = None,
) -> set[str]:
    """Let the media worker write the pixels (or samples) of ``pack`` after ``variants`` (``backend.media.vary``) to files of these names
    below ``target``, ``size`` bytes each; the names of those that it could make. Raises as ``make_pack``.
    """
    with worker.room(name) as room:
        room.link(pack, "pack")
        answer = worker.call(
            "vary",
            timeout_s=settings.media_timeout_s,
            cancelled=cancelled,
            pack=room.path("pack"),
            out=room.path("out"),
            unit=unit,
            variants=list(variants),
            limits=asdict(MediaLimits.of(settings)),
        )
        untrusted_made = answer.get("made")
        made = {item for item in variants if isinstance(untrusted_made, list) and item in untrusted_made}
        for item in made:
            harvest_file(room.out, item, target / item, max_bytes=size, moved=worker.started_by == "process")
            if (target / item).stat().st_size != size:
                raise PermanentError("media_bad_output")
        return made


def judge_pack(
    worker: Worker,
    pack: Path,
    *,
    name: str,
    timeout_s: float,
    take: Callable[[Path], Taken],
    on_progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Taken:
    """Let a detector judge the face pack; what ``take`` makes of its untrusted output folder. Raises WorkerError, NotApplicable."""
    with worker.room(name) as room:
        room.link(pack, "pack")
        worker.call(
            "predict",
            timeout_s=timeout_s,
            on_progress=on_progress,
            cancelled=cancelled,
            pack=room.path("pack"),
            out=room.path("out"),
        )
        return take(room.out)
