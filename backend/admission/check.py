"""The admission check: what a detector must do before its scores are shown.

Owns the list of checks. A detector is asked through the worker protocol, so a folder in a process, a container
and a third party's image are judged alike. Promises: nothing is guessed; a check that could not be tried is reported as such and does
not count as passed. May be imported by the command line of detectors.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import structlog
from PIL import Image

from backend.admission.practice import PracticePacks
from backend.admission.practice_units import read_wav
from backend.catalog.cards import card_of_label
from backend.harvest.scores import HarvestedScores, harvest_scores
from backend.workers.calls import judge_pack
from backend.workers.spec import WorkerError, WorkerSpec
from backend.workers.worker import Worker
from base_detector import CONTRACT_VERSION, Array, Card, ContractError, FacePack, NotApplicable
from shared.errors import PermanentError, sentence_for

Outcome = Literal["passed", "failed", "not_tried"]

#: Faces, pictures or windows of the packs: for repeated input, for memory; and how much more memory a long pack may take than a short one.
FEW, MANY, GROWTH_MB = 24, {"face": 600, "picture": 60, "sound": 60}, 300
#: What the time is measured for, and the ending of an example in the folder ``check``.
PER, ENDINGS = (
    {"face": "face", "picture": "picture", "sound": "window"},
    {"face": "png", "picture": "png", "sound": "wav"},
)
#: Largest difference of fake scores between one face and a batch, and between a golden picture and its score by default.
BATCH_TOLERANCE, GOLDEN_TOLERANCE = 1e-4, 1e-3
DEADLINE_S: Final = 1800.0
#: What a card promises beyond the measured peak, and the step it is rounded up to, MB: allocators differ from run to run.
ALLOWANCE_MB, STEP_MB = 32, 64


@dataclass(frozen=True)
class Check:
    """One line of the list. ``needed``: it must pass for admission."""

    name: str
    outcome: Outcome
    words: str
    figures: dict[str, float] = field(default_factory=dict)
    needed: bool = False


@dataclass(frozen=True)
class NoOpinion:
    """The answer of a detector that cannot judge a pack; ``reason`` is a code of ``shared.errors``."""

    reason: str

    @property
    def sentence(self) -> str:
        """The reason in words."""
        return sentence_for(self.reason)


class NotTried(Exception):
    """Something that a check needs is missing; the words say what."""


class Failed(Exception):
    """The detector does not do what it must; the words say what to correct."""


#: What a passed check returns: words and figures. Else it raises NotTried or Failed.
Finding = tuple[str, dict[str, float]]


class Admission:
    """Runs all checks on one worker. ``lease`` gives a ready worker (a fresh one when the last broke); ``on_check`` gets each line."""

    def __init__(
        self,
        card: Card,
        spec: WorkerSpec,
        *,
        lease: Callable[[], AbstractContextManager[Worker]],
        packs: PracticePacks,
        pictures: Path | None,
        on_check: Callable[[Check], None],
    ) -> None:
        self.card, self.spec, self.pictures = card, spec, pictures
        self._lease, self._packs, self._on_check = lease, packs, on_check
        self._loaded_mb: float | None = None
        self._clips = card.aggregation == "own" or card.input == "video"

    def run(self) -> list[Check]:
        """All checks in order; when the detector does not start, the rest is skipped."""
        needed, wanted = True, False
        checks: list[tuple[str, bool, Callable[[], Finding]]] = [
            ("starts and loads", needed, self._starts),
            ("describes itself", needed, self._describes),
            ("golden pictures", wanted, self._golden),
            ("same input twice", needed, self._twice),
            ("batch equals single", wanted, self._single),
            ("direction", wanted, self._direction),
            (f"no {self.card.unit}", needed, self._nothing),
            ("one frame", wanted, self._one_frame),
            ("broken pack", needed, self._broken_pack),
            ("memory on a long pack", needed, self._memory),
            ("no network wanted", wanted, self._network),
            (f"time per {PER[self.card.unit]}", wanted, self._time),
        ]
        done: list[Check] = []
        for name, is_needed, ask in checks:
            done.append(self._asked(name, ask, needed=is_needed))
            self._on_check(done[-1])
            if done[0].outcome != "passed":
                break
        return done

    def _asked(self, name: str, ask: Callable[[], Finding], *, needed: bool) -> Check:
        try:
            words, figures = ask()
        except NotTried as reason:
            return Check(name, "not_tried", str(reason), needed=needed)
        except Failed as reason:
            return Check(name, "failed", str(reason), needed=needed)
        except (WorkerError, PermanentError) as error:
            return Check(name, "failed", f"{error.code}: {error.sentence}", needed=needed)
        return Check(name, "passed", words, figures, needed=needed)

    # -- the checks

    def _starts(self) -> Finding:
        started = time.perf_counter()
        with self._lease() as worker:
            where = "in a container" if worker.started_by == "docker" else "as a process"
            seconds = time.perf_counter() - started
        with contextlib.suppress(NotTried, WorkerError):  # the check of memory says what is missing
            self._loaded_mb = self._peak_mb()
        return where, {"seconds": round(seconds, 2)}

    def _describes(self) -> Finding:
        with self._lease() as worker:
            untrusted = worker.call("describe", timeout_s=60).get("card")
        try:
            found = card_of_label(untrusted, folder=self.card.folder).as_json()
        except ContractError as error:
            raise Failed(f"its answer to describe is not a card: {error}") from None
        wanted = self.card.as_json()
        # the operator decides about its state
        differing = sorted(name for name in wanted if name != "state" and found[name] != wanted[name])
        if differing:
            raise Failed(
                f"its answer to describe differs from its card in {', '.join(differing)}: build its image again."
            )
        return f"{self.card.id} {self.card.version}, contract {CONTRACT_VERSION}", {}

    def _golden(self) -> Finding:
        file = self.pictures / "golden.json" if self.pictures else None
        if file is None or not file.is_file():
            raise NotTried(
                f'no check/golden.json ({{"example.{self._ending}": fake_score, ...}}): a port of published work needs one.'
            )
        wanted = _golden_scores(file)
        worst = 0.0
        for name, score in wanted.items():
            found = self._score_of(self._example(name))
            if isinstance(found, NoOpinion):
                raise Failed(f"no score for {name}, golden is {score}: {found.sentence}")
            worst = max(worst, abs(found - score))
        if worst > GOLDEN_TOLERANCE:
            raise Failed(f"scores differ by up to {worst:.2g} from check/golden.json (allowed {GOLDEN_TOLERANCE:g}).")
        return f"{len(wanted)} examples", {"largest_difference": worst}

    def _twice(self) -> Finding:
        pack = self._packs.clip(FEW)
        first, second = self._scores(pack), self._scores(pack)
        if (first.fake_score, first.video_fake_score) != (second.fake_score, second.video_fake_score):
            raise Failed(
                "the same pack gave other scores the second time: fix seeds, switch dropout and shuffling off."
            )
        return f"{len(first.fake_score)} scores, bit for bit", {}

    def _single(self) -> Finding:
        if self._clips:
            raise NotTried("it judges whole clips, so one face alone is a different input.")
        whole = self._scores(self._packs.clip(FEW))
        worst = 0.0
        for index, score in list(zip(whole.index, whole.fake_score, strict=True))[:6]:
            alone = self._predict(self._packs.row_of_clip(FEW, index))
            if isinstance(alone, NoOpinion):
                raise Failed(f"face {index} has a score in the batch and none alone: {alone.sentence}")
            worst = max(worst, abs(alone.fake_score[0] - score))
        if worst > BATCH_TOLERANCE:
            raise Failed(
                f"the score of a face alone differs by up to {worst:.2g} from that in a batch (allowed {BATCH_TOLERANCE:g})."
            )
        return "faces alone and in a batch", {"largest_difference": worst}

    def _direction(self) -> Finding:
        folder, names = self.pictures, [f"{kind}.{self._ending}" for kind in ("real", "fake")]
        if folder is None or not all((folder / name).is_file() for name in names):
            raise NotTried(
                f"no check/{names[0]} and check/{names[1]}: one it must call real, and a fake of what it claims to see."
            )
        real, fake = (self._score_of(self._example(name)) for name in names)
        if isinstance(real, NoOpinion) or isinstance(fake, NoOpinion):
            raise NotTried("it cannot judge a single example.")
        if fake <= real:
            raise Failed(
                f"check/{names[1]} scores {fake:.3f}, check/{names[0]} {real:.3f}: a fake must score higher. Is the soft label 1 for real?"
            )
        return f"real {real:.3f}, fake {fake:.3f}", {"real": real, "fake": fake}

    def _nothing(self) -> Finding:
        if not isinstance(self._predict(self._packs.empty()), NoOpinion):
            raise Failed(f"a pack without any {self.card.unit} got a score.")
        return "no score", {}

    def _one_frame(self) -> Finding:
        found = self._predict(self._packs.row_of_clip(FEW, 0))
        return (f"no score: {found.sentence}" if isinstance(found, NoOpinion) else f"{found.fake_score[0]:.3f}"), {}

    def _broken_pack(self) -> Finding:
        try:
            # this check provokes the traceback: the log need not show it
            with structlog.contextvars.bound_contextvars(expected=True):
                found = self._predict(self._packs.truncated(FEW))
        except WorkerError as error:
            code = error.code
        else:
            wrong = "was taken for one it cannot judge" if isinstance(found, NoOpinion) else "got a score"
            raise Failed(f"a pack with half its pixels missing {wrong}: answer with an error.")
        if not isinstance(self._predict(self._packs.empty()), NoOpinion):  # whether it still answers
            raise Failed("after a broken pack it gives scores for an empty one.")
        return f"{code}, and it goes on working", {}

    def _memory(self) -> Finding:
        self._predict(self._packs.clip(FEW))
        few = self._peak_mb()
        most, noun = MANY[self.card.unit], f"{PER[self.card.unit]}s"
        self._predict(self._packs.clip(most))
        many = self._peak_mb()
        loaded = self._loaded_mb if self._loaded_mb is not None else few
        figures = {"peak_mb": many, "peak_mb_short": few, "peak_mb_load": loaded}
        measured = f"{loaded:.0f} MB after loading, {many:.0f} MB at the peak of {most} {noun}"
        if many > self.card.memory_mb:
            raise Failed(
                f"{measured}; the card promises {self.card.memory_mb}: set resources.memory_mb to {promise_for(many)}."
            )
        if many - few > GROWTH_MB:
            raise Failed(f"{many - few:.0f} MB more on {most} {noun} than on {FEW}: do not keep all prepared ones.")
        words = f"{measured}, card {self.card.memory_mb} MB"
        if self.card.memory_mb > 2 * promise_for(many):
            words += f": {promise_for(many)} would do, and leave room for other workers"
        return words, figures

    def _network(self) -> Finding:
        with self._lease() as worker:
            if worker.started_by != "docker":
                raise NotTried(
                    "it ran as a process; only a container certainly has no network. Start Docker, run 'make images'."
                )
        return "everything above ran in a container without any network", {}

    def _time(self) -> Finding:
        pack = self._packs.clip(FEW)
        each = []
        for _ in range(5):
            started = time.perf_counter()
            self._scores(pack)
            each.append((time.perf_counter() - started) / FEW)
        seconds, promised, unit = statistics.median(each), self.card.seconds_per_face, PER[self.card.unit]
        if seconds > 10 * promised:
            raise Failed(
                f"{seconds:.4f} s a {unit}, the card says {promised}: jobs would be cut off. Correct seconds_per_face."
            )
        return (
            f"{1000 * seconds:.1f} ms a {unit} (median of 5, {FEW} of them), card {1000 * promised:.1f} ms",
            {"seconds_per_face": seconds},
        )

    # -- asking

    def _predict(self, pack: Path) -> HarvestedScores | NoOpinion:
        """The scores of a pack, or why the detector has none."""
        units = len(FacePack(pack).units(self.card))
        with self._lease() as worker:
            try:
                return judge_pack(
                    worker,
                    pack,
                    name="check",
                    timeout_s=DEADLINE_S,
                    take=lambda out: harvest_scores(out, card_id=self.card.id, units=units, unit=self.card.unit),
                )
            except NotApplicable as reason:
                return NoOpinion(str(reason))

    def _scores(self, pack: Path) -> HarvestedScores:
        """The scores of a practice clip; NotTried where the detector has none."""
        found = self._predict(pack)
        if isinstance(found, NoOpinion):
            raise NotTried(f"it cannot judge the practice clip: {found.sentence}")
        return found

    def _score_of(self, content: Array) -> float | NoOpinion:
        found = self._predict(self._packs.example(content))
        if isinstance(found, NoOpinion):
            return found
        return found.video_fake_score if found.video_fake_score is not None else float(np.mean(found.fake_score))

    @property
    def _ending(self) -> str:
        return ENDINGS[self.card.unit]

    def _example(self, name: str) -> Array:
        """A picture of the folder ``check``, (H, W, 3) uint8 RGB, or a sound, (n,) float32."""
        assert self.pictures is not None
        if self.card.unit == "sound":
            try:
                return read_wav(self.pictures / Path(name).name)
            except (OSError, ValueError) as error:
                wanted = "put a WAV file of 16 bits, mono, 16,000 samples a second there"
                raise Failed(f"check/{Path(name).name} cannot be used ({error}): {wanted}.") from None
        try:
            with Image.open(self.pictures / Path(name).name) as image:
                return np.asarray(image.convert("RGB"))
        except OSError:
            raise Failed(f"check/{Path(name).name} is not a picture: put a PNG or JPEG file there.") from None

    def _peak_mb(self) -> float:
        with self._lease() as worker:
            untrusted = worker.call("health", timeout_s=60).get("peak_mb")
        if not isinstance(untrusted, int | float) or isinstance(untrusted, bool) or not 0 < untrusted < 1e9:
            raise NotTried("its answer to health has no peak_mb, the largest memory it used so far in MB.")
        return float(untrusted)


def promise_for(peak_mb: float) -> int:
    """What a card should promise for a measured peak, MB."""
    return -int(-(peak_mb + ALLOWANCE_MB) // STEP_MB) * STEP_MB


def _golden_scores(file: Path) -> dict[str, float]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        scores = {str(name): float(score) for name, score in found.items()}
    except (ValueError, TypeError, AttributeError):
        scores = {}
    if not scores or not all(0 <= score <= 1 for score in scores.values()):
        raise Failed('check/golden.json must be {"picture.png": fake_score, ...}, scores from 0 to 1: correct it.')
    return scores


def report_of(card: Card, checks: list[Check]) -> dict[str, Any]:
    """The admission report: passed when nothing failed and all that is needed passed."""
    ok = all(check.outcome == "passed" if check.needed else check.outcome != "failed" for check in checks)
    return {"detector": card.id, "version": card.version, "passed": ok, "checks": [asdict(check) for check in checks]}


def measured_part(report: dict[str, Any], *, day: str, machine: str) -> str:
    """The part of a model card that the check writes: a table in Markdown."""
    rows = [
        f"| {check['name']} | {check['outcome'].replace('_', ' ')} | {check['words']} |" for check in report["checks"]
    ]
    head = f"Version {report['version']}, checked on {day}, {machine}:\n\n| check | outcome | |\n| --- | --- | --- |\n"
    return head + "\n".join(rows) + "\n"
