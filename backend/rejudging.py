"""Judges some units of a job again after mild changes, for the stability band: which packs, which workers, what is kept.

One ``Rejudging`` for each job, so that detectors of the same units share the changed packs. Promises: whatever goes wrong is the reason
in a variant and ends nothing (only a container engine that is away, and a job that is cancelled, do); a finished band survives a crash,
and the cache keeps it. The arithmetic is in ``backend.scores.stability``. Imported by the pipeline.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, TypeVar

import structlog

from backend.harvest.scores import HarvestedScores
from backend.harvest.stored import take_scores
from backend.job import Job
from backend.scores.assemble import DetectorOutcome
from backend.scores.cache import ScoreCache, pack_digest
from backend.scores.stability import band_of
from backend.scores.subset import PIXELS, chosen, shifted, with_pixels, write_subset
from backend.workers.calls import judge_pack, vary_pack
from backend.workers.spec import ENGINE_AWAY, WorkerError, WorkerSpec, detector_spec, media_spec
from backend.workers.worker import Worker
from base_detector import Card, NotApplicable
from shared import durable
from shared.errors import PermanentError, RetryableError, StoreTrouble
from shared.findings import MediaPack
from shared.reading import RecordInvalid, read_record
from shared.results import Provenance, Stability
from shared.settings import Settings
from shared.stability import EDITION, Variant, is_judged_again, variants_of

log = structlog.get_logger()

Answer = TypeVar("Answer")

#: What a variant's packs and answers are called where nothing was changed.
AS_IS: Final = "as_is"
_BAND: Final = "band.json"


class Asks(Protocol):
    """How a worker is asked: started, leased, replaced once when it dies."""

    def __call__(self, spec: WorkerSpec, work: Callable[[Worker], Answer], job: Job) -> Answer:
        """What ``work`` gives."""


@dataclass
class Rejudging:
    """The bands of one job. ``deadline``: seconds for a detector and so many units."""

    job: Job
    pack: MediaPack
    settings: Settings
    asks: Asks
    deadline: Callable[[Card, int], float]
    cache: ScoreCache | None = None
    #: unit, whether in a row, lengths of windows -> variant -> its pack, or why there is none
    _packs: dict[tuple[object, ...], dict[str, MediaPack | str]] = field(default_factory=dict)
    #: codes of what failed and may succeed another time: such a band is not kept for others
    _failures: set[str | None] = field(default_factory=lambda: {"not_made"})

    def band(self, outcome: DetectorOutcome) -> Stability | None:
        """The band of the scores of ``outcome``; None where it has none, and where its detector does not judge again in this job."""
        if outcome.scores is None or not is_judged_again(outcome.card, self.job.stability, mode=self.job.mode):
            return None
        folder = self.job.band(outcome.card.id)
        try:
            if durable.exists(folder):
                return _read(folder)
        except PermanentError:
            durable.remove(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        key = self._key(outcome.card, outcome.provenance)
        if self.cache and (band := self.cache.fetch(key, folder, read=_read)):
            return band
        band = self._judged(outcome.card, outcome.scores)
        with durable.staging(folder) as staging:
            staging.mkdir()
            durable.replace_json(staging / _BAND, band.model_dump(mode="json"))
        if self.cache and not self._failures.intersection(item.code for item in band.variants):
            self.cache.keep(key, folder)
        return band

    def prepare(self, cards: Iterable[Card], made_by: Callable[[Card], Provenance]) -> None:
        """Have the media worker change the pixels for those of ``cards`` that will judge again, while it is still there after its pass."""
        for card in cards:
            if not is_judged_again(card, self.job.stability, mode=self.job.mode) or self.pack.lacks(card):
                continue
            if durable.exists(self.job.band(card.id)) or (
                self.cache and self.cache.holds(self._key(card, made_by(card)))
            ):
                continue
            self._made(card)

    def close(self) -> None:
        """Remove the packs."""
        shutil.rmtree(self._room, ignore_errors=True)

    # -- inside

    def _key(self, card: Card, made_by: Provenance) -> str:
        return ScoreCache.key(
            detector=card.id,
            provenance=made_by,
            media_sha256=self.job.sha256,
            pack_digest=pack_digest(self.pack, card),
            what=f"stability {EDITION}",
        )

    @property
    def _room(self) -> Path:
        return self.job.folder / "again"

    def _judged(self, card: Card, whole: HarvestedScores) -> Stability:
        began, again = time.perf_counter(), dict[str, HarvestedScores | str]()
        packs = self._made(card)
        wanted = self._to_judge(card)
        for name in (AS_IS, *(item.name for item in wanted)) if wanted else ():
            found = packs.get(name, "not_made")
            again[name] = found if isinstance(found, str) else self._scores(card, found)
            if name == AS_IS and isinstance(again[name], str):
                break  # what cannot be judged as it is cannot be compared
        part = packs[AS_IS]
        assert not isinstance(part, str)
        return band_of(card, whole, self.pack, part=part, again=again, seconds=time.perf_counter() - began)

    def _to_judge(self, card: Card) -> list[Variant]:
        """The variants that the detector of ``card`` has to judge."""
        found = [item for item in variants_of(card, is_clip=False) if item.maker != "scores"]
        return [item for item in found if item.original or not card.lossless_only]

    def _scores(self, card: Card, pack: MediaPack) -> HarvestedScores | str:
        """What the detector of ``card`` says of ``pack``, or the code why it says nothing."""
        units, out = len(pack.units(card)), pack.folder.with_name(f"{pack.folder.name}-{card.id}")

        def work(worker: Worker) -> HarvestedScores:
            return judge_pack(
                worker,
                pack.folder,
                name=self.job.id,
                timeout_s=self.deadline(card, units),
                take=lambda found: take_scores(found, out, card_id=card.id, units=units, unit=card.unit),
                cancelled=self.job.cancelled,
            )

        try:
            return self._asked(detector_spec(card, self.settings), work)
        except NotApplicable as reason:
            return str(reason)
        except (WorkerError, PermanentError) as error:
            self._failures.add(error.code)
            log.warning(
                "not_judged_again", job=self.job.id, detector=card.id, variant=pack.folder.name, code=error.code
            )
            return error.code
        finally:
            durable.remove(out)

    def _made(self, card: Card) -> dict[str, MediaPack | str]:
        """The packs for detectors like ``card``: made when the first of them asks."""
        kind = (card.unit, card.input == "video", card.window_s, card.hop_s)
        if kind not in self._packs:
            self._packs[kind] = self._make(card, self._room / str(len(self._packs)))
        made = self._packs[kind]
        missing = [item for item in self._to_judge(card) if item.name not in made]
        if missing:
            base = made[AS_IS]
            assert not isinstance(base, str)
            made |= self._changed(base, card, missing)
        return made

    def _make(self, card: Card, folder: Path) -> dict[str, MediaPack | str]:
        durable.remove(folder)  # of an attempt that was killed
        base = write_subset(self.pack, card, chosen(card, self.pack), folder / AS_IS)
        return {AS_IS: base}

    def _changed(self, base: MediaPack, card: Card, variants: list[Variant]) -> dict[str, MediaPack | str]:
        """The pack of each of ``variants``, or the code why there is none."""
        found: dict[str, MediaPack | str] = {}
        pixels = [item.name for item in variants if item.maker == "media"]
        folder = base.folder.parent
        files, trouble = self._varied(base, card.unit, pixels) if pixels else (set(), None)
        for item in variants:
            target = folder / item.name
            if item.maker == "table":
                try:
                    shifted(base, card.unit, target, **item.parameters)
                except ValueError:
                    found[item.name] = "not_made"
                    continue
            elif item.name in files:
                with_pixels(base, card.unit, folder / f"pixels/{item.name}", target)
            else:
                found[item.name] = trouble or "not_made"
                continue
            found[item.name] = MediaPack(target)
        return found

    def _varied(self, base: MediaPack, unit: str, names: list[str]) -> tuple[set[str], str | None]:
        """The names of the files of pixels that the media worker made, and why it made none."""
        target = base.folder.parent / "pixels"
        durable.remove(target)
        target.mkdir()
        size = (base.folder / PIXELS[unit]).stat().st_size

        def work(worker: Worker) -> set[str]:
            return vary_pack(
                worker,
                base.folder,
                target,
                name=self.job.id,
                unit=unit,
                variants=names,
                size=size,
                settings=self.settings,
                cancelled=self.job.cancelled,
            )

        try:
            return self._asked(media_spec(self.settings), work), None
        except (WorkerError, PermanentError) as error:
            self._failures.add(error.code)
            log.warning("not_varied", job=self.job.id, code=error.code)
            return set(), error.code

    def _asked(self, spec: WorkerSpec, work: Callable[[Worker], Answer]) -> Answer:
        try:
            return self.asks(spec, work, self.job)
        except WorkerError as error:
            if error.code == ENGINE_AWAY:
                raise RetryableError(error.code) from None
            raise


def _read(folder: Path) -> Stability:
    """A band that we stored before; PermanentError when it is damaged."""
    try:
        return read_record(folder / _BAND, Stability)
    except StoreTrouble:
        raise
    except (FileNotFoundError, RecordInvalid):
        raise PermanentError("detector_bad_output") from None
