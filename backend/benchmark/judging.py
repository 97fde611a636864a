"""Judges the items of a data set with the pipeline that serves visitors, in each condition, and keeps a row of each at once.

Owns: the order of the work, ``scores.jsonl``, and what is done again after a stop: nothing that has its row. Promises: a file that cannot
be judged is a row with its reason; the files of the data set are only read. Imported by the command.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import structlog

from backend.benchmark import attacks
from backend.benchmark.items import Item
from backend.benchmark.records import Row, Status
from backend.board import Board, SilentBoard
from backend.job import Cancelled, Job, new_folder
from backend.pipeline import Pipeline
from backend.scores.references import UNTOUCHED
from backend.workers.calls import corrupt_media
from backend.workers.pool import WorkerPool
from backend.workers.spec import WorkerError, media_spec
from base_detector import Card, NotApplicable
from shared import durable
from shared.digest import sha256_of
from shared.errors import DfomError, RetryableError, UserError
from shared.names import shown
from shared.records import Mode, new_id
from shared.results import Conditions, DetectorResult

log = structlog.get_logger()

ROWS: Final = "scores.jsonl"
#: Corruptions of pictures and clips, and of sound (``backend.media.corrupt`` says what each does), in the order of the plots.
PICTURES: Final = (
    "jpeg_90", "jpeg_60", "jpeg_30", "h264_23", "h264_32", "h264_40", "half_size", "blur", "noise", "brightness", "messenger",
)  # fmt: skip
SOUNDS: Final = ("mp3_64", "aac_32", "sound_messenger", "telephone", "quieter", "sound_noise")


def corruptions_for(cards: Iterable[Card]) -> list[str]:
    """Those that change what one of the detectors judges."""
    units = {card.unit for card in cards}
    return [*(PICTURES if units & {"face", "picture"} else ()), *(SOUNDS if "sound" in units else ())]


def condition_of(eps: float) -> str:
    """The name of the condition of an attack; that of 0 is untouched units, the same ones and as many."""
    return f"pgd_{eps:g}"


@dataclass
class Plan:
    """What is measured. ``cards``: of the detectors, in order. ``seed`` decides noise and attacks."""

    items: Sequence[Item]
    cards: Sequence[Card]
    mode: Mode = "standard"
    corruptions: Sequence[str] = ()
    pgd: bool = False
    seed: int = 0

    def cards_for(self, condition: str) -> list[Card]:
        """The detectors whose units the condition changes."""
        sound = condition in SOUNDS
        return [card for card in self.cards if condition == UNTOUCHED or (card.unit == "sound") == sound]

    def seed_of(self, item: Item) -> int:
        """A seed of its own for each file, by its name."""
        return int.from_bytes(
            hashlib.sha256(f"{self.seed} {item.name}".encode("utf-8", "surrogateescape")).digest()[:4]
        )


class Rows:
    """The rows so far, in ``OUT/scores.jsonl``: one line each, appended when it is known. The last line of a key counts."""

    def __init__(self, folder: Path) -> None:
        self._path, self._lock = folder / ROWS, threading.Lock()
        self.known: dict[tuple[str, str, str], Row] = {}
        content = self._path.read_bytes() if self._path.exists() else b""
        for line in content.splitlines():
            with contextlib.suppress(ValueError):  # the line that was being written when it was killed
                self._note(Row.model_validate_json(line))
        if content and not content.endswith(b"\n"):
            durable.append_line(self._path, "")

    def add(self, row: Row) -> None:
        """Keep a row for good."""
        with self._lock:
            durable.append_line(self._path, json.dumps(row.model_dump(mode="json"), allow_nan=False))
            self._note(row)

    def has(self, item: Item, condition: str, detector: str, *, sha256: str) -> bool:
        """Whether this was judged, with these bytes; a failure that may pass is tried again."""
        row = self.known.get((item.name, condition, detector))
        return row is not None and row.sha256 == sha256 and row.status not in ("failed", "timed_out")

    def of(self, items: Iterable[Item], conditions: Sequence[str], detectors: Sequence[str]) -> list[Row]:
        """The rows of these items, with the truth that the data set states today."""
        found = []
        for item in items:
            truth = {"fake": item.fake, "subset": item.subset, "group": item.group, "whole": item.whole}
            keys = [(item.name, condition, detector) for condition in conditions for detector in detectors]
            found += [self.known[key].model_copy(update=truth) for key in keys if key in self.known]
        return found

    def _note(self, row: Row) -> None:
        self.known[row.item, row.condition, row.detector] = row


@dataclass
class Bench:
    """Where the work is done. ``attackers``: a pool of its own for attacks, None without."""

    pipeline: Pipeline
    rows: Rows
    attackers: WorkerPool | None = None
    cancelled: Callable[[], bool] = lambda: False
    #: detector -> why it is not attacked
    refused: dict[str, str] = field(default_factory=dict)

    def judge(self, plan: Plan, item: Item, board: Board | None = None) -> Iterator[Row]:
        """What is not known yet of one item; each row is kept before it is given."""
        board = board or SilentBoard()
        try:
            sha256 = sha256_of(item.path)
        except OSError:
            sha256 = ""  # the rows will say that it cannot be read
        for condition in (UNTOUCHED, *plan.corruptions):
            cards = plan.cards_for(condition)
            wanted = [card for card in cards if not self.rows.has(item, condition, card.id, sha256=sha256)]
            attacked = self._to_attack(plan, item, sha256) if condition == UNTOUCHED else []
            if wanted or attacked:
                for row in self._judged(plan, item, sha256, condition, wanted, attacked, board):
                    self.rows.add(row)
                    yield row

    def _to_attack(self, plan: Plan, item: Item, sha256: str) -> list[Card]:
        """Detectors to attack on this item: those not known to refuse, and with no row of it yet."""
        if self.attackers is None or not plan.pgd:
            return []
        for card in plan.cards:
            if reason := attacks.refused_before(card, self.pipeline.settings):
                self.refused.setdefault(card.id, reason)
        able = [card for card in plan.cards if card.id not in self.refused]
        return [card for card in able if not self.rows.has(item, condition_of(attacks.EPS[-1]), card.id, sha256=sha256)]

    def _judged(
        self,
        plan: Plan,
        item: Item,
        sha256: str,
        condition: str,
        wanted: list[Card],
        attacked: list[Card],
        board: Board,
    ) -> Iterator[Row]:
        folder = new_folder(self.pipeline.settings.scratch_folder)
        folder.mkdir(parents=True)
        try:
            media: Path | None = item.path.resolve()
            if condition != UNTOUCHED:
                media = self._damaged(item, condition, folder, seed=plan.seed_of(item))
            if media is None:
                return
            # an untouched item was read for its digest already; one that could not be read fails here, with its reason
            digest = (sha256 if condition == UNTOUCHED else "") or sha256_of(media)
            job = self._job(media, folder / "job", [card.id for card in wanted or attacked], plan.mode, sha256=digest)
            result = self.pipeline.judge(job, board)
            like = result.conditions
            assert like is not None
            for answer in result.detectors if wanted else ():
                yield _row(item, sha256, condition, answer, like)
            for card in attacked:
                yield from self._attacked(plan, item, sha256, card, job.pack, like)
        except NotApplicable as reason:
            yield from self._failed(item, sha256, condition, wanted, UserError(str(reason)))
        except (DfomError, OSError) as error:
            if self.cancelled():
                raise Cancelled from None
            yield from self._failed(item, sha256, condition, wanted, error)
        finally:
            durable.remove(folder)

    def _damaged(self, item: Item, condition: str, folder: Path, *, seed: int) -> Path | None:
        """The damaged copy of an item, None where the corruption is not for its kind."""
        target = folder / "damaged"
        with self.pipeline.pool.lease(media_spec(self.pipeline.settings)) as worker:
            made = corrupt_media(
                worker,
                item.path.resolve(),
                target,
                name=new_id(),
                how=condition,
                seed=seed,
                settings=self.pipeline.settings,
            )
        return target if made else None

    def _job(self, media: Path, folder: Path, detectors: Sequence[str], mode: Mode, *, sha256: str) -> Job:
        return Job.of_file(
            media,
            sha256=sha256,
            size=media.stat().st_size,
            name=media.name,
            detectors=detectors,
            mode=mode,
            video=False,
            folder=folder,
            cancelled=self.cancelled,
        )

    def _attacked(self, plan: Plan, item: Item, sha256: str, card: Card, pack: Path, like: Conditions) -> Iterator[Row]:
        """The rows of the attacks of all strengths on one file; a refusal holds for all files."""
        assert self.attackers is not None
        settings = self.pipeline.settings
        common = _common(item, sha256, card.id) | {"like": like}
        try:
            answer = attacks.attack(
                self.attackers,
                attacks.attack_spec(card, settings),
                pack,
                fake=item.fake,
                seed=plan.seed_of(item),
                name=new_id(),
                timeout_s=settings.detector_timeout_s,
            )
        except (WorkerError, DfomError) as error:
            log.warning("attack_failed", detector=card.id, file=shown(item.name), code=error.code)
            self.refused[card.id] = "failed"
            return
        if isinstance(answer, str):
            self.refused[card.id] = answer
            return
        for eps, scores in zip((0.0, *attacks.EPS), answer.scores, strict=True):
            mean = float(np.mean(scores)) if scores else None
            state = {"status": "ok"} if scores else {"status": "not_applicable", "code": "not_judgeable"}
            yield Row(condition=condition_of(eps), fake_score=mean, units=tuple(scores), **state, **common)

    def _failed(
        self, item: Item, sha256: str, condition: str, cards: Iterable[Card], error: Exception
    ) -> Iterator[Row]:
        code = error.code if isinstance(error, DfomError) else "no_such_file"
        # what may pass is tried again when the benchmark goes on; the rest is what a visitor would be told
        passing = error.retryable if isinstance(error, WorkerError) else isinstance(error, RetryableError | OSError)
        status: Status = "failed" if passing else "not_applicable"
        log.warning("not_judged", file=shown(item.name), condition=condition, code=code)
        for card in cards:
            yield Row(condition=condition, status=status, code=code, **_common(item, sha256, card.id))


def _common(item: Item, sha256: str, detector: str) -> dict[str, Any]:
    facts = {"subset": item.subset, "group": item.group, "whole": item.whole}
    return {"item": item.name, "sha256": sha256, "fake": item.fake, "detector": detector, **facts}


def _row(item: Item, sha256: str, condition: str, answer: DetectorResult, like: Conditions) -> Row:
    return Row(
        condition=condition,
        status=answer.status,
        code=answer.code,
        fake_score=answer.fake_score,
        units=tuple(score for score in answer.scores if score is not None),
        like=like,
        seconds=round(sum(answer.seconds.values()), 4),
        **_common(item, sha256, answer.id),
    )
