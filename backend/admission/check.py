"""The admission check: what a detector must do before anybody sees its scores.

Owns the list of checks and the packs they use. A detector is asked through the worker protocol, so a folder in a process, a container
and a stranger's image are judged alike. Promises: nothing is guessed; what could not be tried says so and is no pass. May be imported by
the command line of detectors.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import structlog
from PIL import Image

from backend.admission.practice import PracticePacks
from backend.harvest.scores import HarvestedScores, harvest_scores
from backend.workers.spec import WorkerError, WorkerSpec
from backend.workers.worker import Worker
from base_detector import CONTRACT_VERSION, Card, NotApplicable
from shared.errors import PermanentError, sentence_for

Array = npt.NDArray[Any]
Outcome = Literal["passed", "failed", "not_tried"]

#: Faces of the packs: for repeated input, for memory, and how much more memory a long pack may take than a short one.
FEW, MANY, GROWTH_MB = 24, 600, 300
#: Largest difference of fake scores between one face and a batch, and between a golden picture and its score by default.
BATCH_TOLERANCE, GOLDEN_TOLERANCE = 1e-4, 1e-3
DEADLINE_S: Final = 1800.0


@dataclass(frozen=True)
class Check:
    """One line of the list."""

    name: str
    outcome: Outcome
    words: str
    figures: dict[str, float] = field(default_factory=dict)


class NotTried(Exception):
    """What a check needs is not here; the words say what."""


class Failed(Exception):
    """The detector does not do what it must; the words say what to mend."""


class Admission:
    """Asks one worker everything. ``lease`` gives a ready worker (a fresh one when the last broke); ``told`` hears each line."""

    def __init__(
        self,
        card: Card,
        spec: WorkerSpec,
        *,
        lease: Callable[[], Any],
        packs: PracticePacks,
        pictures: Path | None,
        told: Callable[[Check], None],
    ) -> None:
        self.card, self.spec, self.pictures = card, spec, pictures
        self._lease, self._packs, self._told = lease, packs, told
        self._clips = card.aggregation == "own" or card.input == "video"

    def run(self) -> list[Check]:
        """All checks in order."""
        return list(self._each())

    def _each(self) -> Iterator[Check]:
        checks: list[tuple[str, Callable[[], tuple[str, dict[str, float]]]]] = [
            ("starts and loads", self._starts),
            ("describes itself", self._describes),
            ("golden pictures", self._golden),
            ("same input twice", self._twice),
            ("batch equals single", self._single),
            ("direction", self._direction),
            ("no face", self._no_face),
            ("one frame", self._one_frame),
            ("broken pack", self._broken_pack),
            ("memory on a long pack", self._memory),
            ("no network wanted", self._network),
            ("time per face", self._time),
        ]
        for name, ask in checks:
            try:
                words, figures = ask()
                check = Check(name, "passed", words, figures)
            except NotTried as reason:
                check = Check(name, "not_tried", str(reason))
            except Failed as reason:
                check = Check(name, "failed", str(reason))
            except (WorkerError, PermanentError) as error:
                check = Check(name, "failed", f"{error.code}: {error.sentence}")
            self._told(check)
            yield check
            if name == "starts and loads" and check.outcome != "passed":
                return

    # -- the checks

    def _starts(self) -> tuple[str, dict[str, float]]:
        started = time.perf_counter()
        with self._lease() as worker:
            where = "in a container" if worker.started_by == "docker" else "as a process"
            return where, {"seconds": round(time.perf_counter() - started, 2)}

    def _describes(self) -> tuple[str, dict[str, float]]:
        with self._lease() as worker:
            told = worker.call("describe", timeout_s=60).get("card")
        wanted = json.loads(json.dumps(self.card.as_json()))
        if told != wanted:
            differing = sorted(name for name in wanted if not isinstance(told, dict) or told.get(name) != wanted[name])
            raise Failed(
                f"what it says of itself differs from detector.toml in {', '.join(differing)}: build its image again."
            )
        return f"{self.card.id} {self.card.version}, contract {CONTRACT_VERSION}", {}

    def _golden(self) -> tuple[str, dict[str, float]]:
        file = self.pictures / "golden.json" if self.pictures else None
        if file is None or not file.is_file():
            raise NotTried(
                'no check/golden.json ({"picture.png": fake_score, ...}): a port of published work needs one.'
            )
        wanted = json.loads(file.read_text(encoding="utf-8"))
        worst = 0.0
        for name, score in wanted.items():
            found = self._score_of(self._picture(name))
            if found is None:
                raise Failed(f"no score for {name}, golden is {score}.")
            worst = max(worst, abs(found - float(score)))
        if worst > GOLDEN_TOLERANCE:
            raise Failed(f"scores differ by up to {worst:.2g} from check/golden.json (allowed {GOLDEN_TOLERANCE:g}).")
        return f"{len(wanted)} pictures", {"largest_difference": worst}

    def _twice(self) -> tuple[str, dict[str, float]]:
        pack = self._packs.clip(FEW)
        first, second = self._predict(pack), self._predict(pack)
        if first is None or second is None:
            raise NotTried(f"it has no opinion on the practice clip: {self._reason(pack)}")
        if (first.fake_score, first.video_fake_score) != (second.fake_score, second.video_fake_score):
            raise Failed(
                "the same pack gave other scores the second time: fix seeds, switch dropout and shuffling off."
            )
        return f"{len(first.fake_score)} scores, bit for bit", {}

    def _single(self) -> tuple[str, dict[str, float]]:
        if self._clips:
            raise NotTried("it judges whole clips, so one face alone is another input.")
        whole = self._predict(self._packs.clip(FEW))
        if whole is None:
            raise NotTried("it has no opinion on the practice clip.")
        worst = 0.0
        for index, score in list(zip(whole.face_index, whole.fake_score, strict=True))[:6]:
            alone = self._predict(self._packs.row_of_clip(FEW, index))
            if alone is None or len(alone.fake_score) != 1:
                raise Failed(f"face {index} has a score in the batch and none alone.")
            worst = max(worst, abs(alone.fake_score[0] - score))
        if worst > BATCH_TOLERANCE:
            raise Failed(
                f"a face alone scores up to {worst:.2g} otherwise than in a batch (allowed {BATCH_TOLERANCE:g})."
            )
        return "faces alone and in a batch", {"largest_difference": worst}

    def _direction(self) -> tuple[str, dict[str, float]]:
        if (
            self.pictures is None
            or not (self.pictures / "real.png").is_file()
            or not (self.pictures / "fake.png").is_file()
        ):
            raise NotTried(
                "no check/real.png and check/fake.png: a face it must call real, and a fake of what it claims to see."
            )
        real, fake = self._score_of(self._picture("real.png")), self._score_of(self._picture("fake.png"))
        if real is None or fake is None:
            raise NotTried("it has no opinion on single pictures.")
        if fake <= real:
            raise Failed(
                f"check/fake.png scores {fake:.3f}, check/real.png {real:.3f}: a fake must score higher. Is the soft label 1 for real?"
            )
        return f"real {real:.3f}, fake {fake:.3f}", {"real": real, "fake": fake}

    def _no_face(self) -> tuple[str, dict[str, float]]:
        if self._predict(self._packs.empty()) is not None:
            raise Failed("a pack without any face got a score.")
        return "no score", {}

    def _one_frame(self) -> tuple[str, dict[str, float]]:
        pack = self._packs.row_of_clip(FEW, 0)
        found = self._predict(pack)
        if found is None:
            return f"no score: {self._reason(pack)}", {}
        return f"{found.fake_score[0]:.3f}", {}

    def _broken_pack(self) -> tuple[str, dict[str, float]]:
        try:
            # its traceback is what was asked for: the log need not show it
            with structlog.contextvars.bound_contextvars(expected=True):
                found = self._predict(self._packs.truncated(FEW))
        except WorkerError as error:
            code = error.code
        else:
            raise Failed(
                "a pack with half its pixels missing "
                + ("got a score." if found else "was taken for one without faces.")
            )
        if self._predict(self._packs.empty()) is not None:  # whether it still answers
            raise Failed("after a broken pack it gives scores for nothing.")
        return f"{code}, and it works on", {}

    def _memory(self) -> tuple[str, dict[str, float]]:
        self._predict(self._packs.clip(FEW))
        few = self._peak_mb()
        self._predict(self._packs.clip(MANY))
        many = self._peak_mb()
        figures = {"peak_mb": many, "peak_mb_short": few}
        if many > self.card.memory_mb:
            raise Failed(
                f"{many:.0f} MB at its peak, the card promises {self.card.memory_mb}: correct resources.memory_mb."
            )
        if many - few > GROWTH_MB:
            raise Failed(f"{many - few:.0f} MB more on {MANY} faces than on {FEW}: do not keep all prepared faces.")
        return f"{many:.0f} MB of {self.card.memory_mb} MB, {MANY} faces", figures

    def _network(self) -> tuple[str, dict[str, float]]:
        with self._lease() as worker:
            if worker.started_by != "docker":
                raise NotTried(
                    "it ran as a process; only a container has no network for certain. Start Docker, run 'make images'."
                )
        return "everything above ran in a container without any network", {}

    def _time(self) -> tuple[str, dict[str, float]]:
        pack = self._packs.clip(FEW)
        each = []
        for _ in range(5):
            started = time.perf_counter()
            found = self._predict(pack)
            each.append((time.perf_counter() - started) / FEW)
        if found is None:
            raise NotTried("it has no opinion on the practice clip.")
        seconds = statistics.median(each)
        if seconds > 10 * self.card.seconds_per_face:
            raise Failed(
                f"{seconds:.4f} s a face, the card says {self.card.seconds_per_face}: jobs would be cut off. Correct seconds_per_face."
            )
        return (
            f"{1000 * seconds:.1f} ms a face (median of 5, {FEW} faces), card {1000 * self.card.seconds_per_face:.1f} ms",
            {"seconds_per_face": seconds},
        )

    # -- asking

    def _predict(self, pack: Path) -> HarvestedScores | None:
        """Scores of a pack; None when the detector has no opinion."""
        with self._lease() as worker, worker.room("check") as room:
            room.link(pack, "pack")
            try:
                worker.call("predict", timeout_s=DEADLINE_S, pack=room.path("pack"), out=room.path("out"))
            except NotApplicable as reason:
                self._last_reason = str(reason)
                return None
            faces = len(np.load(pack / "faces.npy", allow_pickle=False))
            return harvest_scores(room.out, card_id=self.card.id, face_count=faces)

    def _reason(self, pack: Path) -> str:
        self._predict(pack)
        return sentence_for(self._last_reason)

    def _score_of(self, picture: Array) -> float | None:
        found = self._predict(self._packs.picture(picture))
        if found is None:
            return None
        return found.video_fake_score if found.video_fake_score is not None else float(np.mean(found.fake_score))

    def _picture(self, name: str) -> Array:
        assert self.pictures is not None
        with Image.open(self.pictures / Path(name).name) as image:
            return np.asarray(image.convert("RGB"))

    def _peak_mb(self) -> float:
        with self._lease() as worker:
            return float(_peak_of(worker))


def _peak_of(worker: Worker) -> float:
    told = worker.call("health", timeout_s=60).get("peak_mb")
    if not isinstance(told, int | float):
        raise NotTried("the worker does not tell its memory: build its image again.")
    return told


def report_of(card: Card, checks: list[Check]) -> dict[str, Any]:
    """The admission report: passed when nothing failed and all that matters was tried."""
    needed = {
        "starts and loads",
        "describes itself",
        "same input twice",
        "no face",
        "broken pack",
        "memory on a long pack",
    }
    passed = {check.name for check in checks if check.outcome == "passed"}
    ok = needed <= passed and not any(check.outcome == "failed" for check in checks)
    return {"detector": card.id, "version": card.version, "passed": ok, "checks": [asdict(check) for check in checks]}


def measured_part(report: dict[str, Any], *, day: str, machine: str) -> str:
    """The part of a model card that the check writes: a table in Markdown."""
    rows = [
        f"| {check['name']} | {check['outcome'].replace('_', ' ')} | {check['words']} |" for check in report["checks"]
    ]
    head = f"Version {report['version']}, checked on {day}, {machine}:\n\n| check | outcome | |\n| --- | --- | --- |\n"
    return head + "\n".join(rows) + "\n"
