"""A detector judges a part of a job again after mild changes: through the real verbs of the workers, without their processes.

The detector is made up: its fake score of a face is the mean of its crop's red channel, so each score can be worked out from the pixels.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.admission.practice_units import PracticePictures, PracticeSounds
from backend.harvest.media_pack import check_pack
from backend.harvest.stored import take_scores
from backend.job import Job
from backend.media.vary import seen
from backend.media.worker import verbs as media_verbs
from backend.rejudging import Rejudging
from backend.scores.assemble import DetectorOutcome, detector_result
from backend.scores.cache import ScoreCache
from backend.scores.subset import chosen, shifted, write_subset
from backend.workers.exchange import Exchange
from backend.workers.spec import WorkerError
from base_detector import FACE_DTYPE, Array, BaseDetector, Card, detector_verbs, square_crop
from shared.errors import RetryableError
from shared.findings import MediaPack
from shared.results import Provenance, Stability
from shared.settings import Settings
from shared.stability import BY_NAME, MOST_IN_A_ROW, MOST_UNITS
from tests.detectors.test_units import PICTURE, SOUND, card_of
from tests.packs import finish_pack, write_faces
from tests.scores.sets import card
from tests.workers.conftest import write_pack as write_portrait

MADE_BY = Provenance(version="1", contract="1", weights={}, parameters={}, runner="process", image=None)
FACES = 40


class Direct:
    """A worker in this process: the platform's requests reach the verbs of its program, in a real exchange folder."""

    started_by = "process"

    def __init__(self, folder: Path, verbs: dict[str, Any]) -> None:
        self._exchange, self._verbs = Exchange(folder, shared=False, linked=True), verbs
        self.asked: list[str] = []

    def room(self, name: str) -> Any:
        return self._exchange.room(name)

    def call(
        self, verb: str, *, timeout_s: float, on_progress: Any = None, cancelled: Any = None, **request: Any
    ) -> Any:
        self.asked.append(verb)
        with contextlib.chdir(self._exchange.folder):
            return self._verbs[verb](request, lambda done, total: None)


def red(own: Card) -> BaseDetector:
    """Judges a face by the mean of its red channel; of a picture or sound the mean."""

    class Red(BaseDetector):
        card = own

        def load(self, weights: Path, device: str) -> None:
            pass

        def preproc(self, face: Array) -> Array:
            return np.asarray(
                1 - (face[..., 0] if face.ndim == 3 else np.abs(face)).mean() / (255 if face.ndim == 3 else 1)
            )

        def get_softlabel(self, batch: Array) -> Array:
            return batch

    return Red()


class World:
    """One job with its pack, its workers, and what became of them."""

    def __init__(
        self, folder: Path, pack: MediaPack, own: Card, *, mode: str = "standard", stability: str = "all"
    ) -> None:
        self.pack, self.card, self.folder = pack, own, folder
        self.media, self.judge = (
            Direct(folder / "m", media_verbs("cpu")),
            Direct(folder / "d", detector_verbs(red(own), folder, "cpu")),
        )
        self.fails: dict[str, WorkerError] = {}
        self.job = self._job("a", mode, stability)
        self.whole = self._outcome()

    def _job(self, letter: str, mode: str, stability: str) -> Job:
        return Job(
            id=letter * 26, source=self.folder / "clip", sha256=hashlib.sha256(b"media").hexdigest(), bytes=5, name="clip.mp4",
            detectors=(self.card.id,), mode=mode, video_per_detector=False, folder=self.folder / letter, stability=stability,
        )  # fmt: skip

    def _outcome(self) -> DetectorOutcome:
        out = self.folder / "scores"
        with self.judge.room("whole") as room:
            room.link(self.pack.folder, "pack")
            self.judge.call("predict", timeout_s=1, pack=room.path("pack"), out=room.path("out"))
            scores = take_scores(
                room.out, out, card_id=self.card.id, units=len(self.pack.units(self.card)), unit=self.card.unit
            )
        self.judge.asked.clear()
        return DetectorOutcome(self.card, MADE_BY, out, scores=scores)

    def asks(self, spec: Any, work: Callable[[Any], Any], job: Job) -> Any:
        if spec.name in self.fails:
            raise self.fails[spec.name]
        return work(self.media if spec.name == "media" else self.judge)

    def again(self, cache: ScoreCache | None = None, *, job: Job | None = None) -> Rejudging:
        return Rejudging(
            job or self.job, self.pack, Settings(data=self.folder), self.asks, lambda card, units: 60.0, cache
        )

    def band(self, cache: ScoreCache | None = None, *, job: Job | None = None) -> Stability:
        found = self.again(cache, job=job).band(self.whole)
        assert found is not None
        return found

    def other_job(self) -> Job:
        return self._job("b", self.job.mode, self.job.stability)


@pytest.fixture
def pack(tmp_path: Path, astronaut: np.ndarray) -> MediaPack:
    """A clip of 40 frames, each with a face in the middle of its own crop, brighter from frame to frame."""
    folder = tmp_path / "pack"
    folder.mkdir()
    rows = np.zeros(FACES, FACE_DTYPE)
    rows["frame"] = np.arange(FACES)
    rows["time_s"], rows["box"], rows["confidence"] = np.arange(FACES) / 25, (30, 20, 90, 84), 0.99
    crops = [(astronaut[100:220, 180:300] * (0.5 + 0.01 * frame)).astype(np.uint8) for frame in range(FACES)]
    write_faces(folder, rows, crops)
    finish_pack(folder, size=(640, 480), mode="standard")
    check_pack(folder)
    return MediaPack(folder)


@pytest.fixture
def world(tmp_path: Path, pack: MediaPack) -> World:
    return World(tmp_path, pack, card("mesonet", weights=(), id="mesonet", margin=1.2))


def level(picture: Array, box: Array, own: Card) -> float:
    return float(square_crop(picture, box, margin=own.margin)[..., 0].mean() / 255)


def test_the_band_of_a_known_score_is_exact_for_every_change(world: World):
    band, pack, own = world.band(), world.pack, world.card
    rows, box = chosen(own, pack), pack.face(0).box
    before = np.array([level(pack.image(row), box, own) for row in rows])
    whole = np.array([level(pack.image(row), box, own) for row in range(FACES)])
    score = whole.mean()
    wanted = {"even_frames": whole[0::2].mean(), "odd_frames": whole[1::2].mean()}
    for name in ("jpeg_60", "half_size", "h264_28", "h264_36"):
        after = [level(seen(pack.image(row), BY_NAME[name]), box, own) for row in rows]
        wanted[name] = score + np.mean(after) - before.mean()
    wanted["shift_1px"] = score + np.mean([level(pack.image(row), box + 1, own) for row in rows]) - before.mean()
    assert len(rows) == MOST_UNITS
    assert {item.name: item.fake_score for item in band.variants} == pytest.approx(wanted, abs=1e-6)
    assert (band.low, band.high) == pytest.approx((min(score, *wanted.values()), max(score, *wanted.values())))
    assert [item.name for item in band.variants] == [name for name in BY_NAME if "face" in BY_NAME[name].units]
    assert world.media.asked == ["vary"]
    assert world.judge.asked == ["predict"] * 6


def test_the_result_has_the_band_beside_the_score(world: World):
    world.whole.stability = world.band()
    found = detector_result(world.whole, world.pack)
    assert found.stability == world.whole.stability
    assert found.fake_score is not None
    assert found.stability.low <= found.fake_score <= found.stability.high


@pytest.mark.parametrize(("stability", "mode"), [("off", "standard"), ("fast", "quick")])
def test_no_worker_is_asked_where_nobody_wants_a_band(tmp_path: Path, pack: MediaPack, stability: str, mode: str):
    world = World(tmp_path, pack, card("mesonet", weights=()), mode=mode, stability=stability)
    again = world.again()
    again.prepare([world.card], lambda card: MADE_BY)
    assert again.band(world.whole) is None
    assert world.media.asked + world.judge.asked == []


def test_a_media_worker_that_fails_is_the_reason_of_its_changes_and_ends_nothing(world: World):
    world.fails["media"] = WorkerError("media_timed_out")
    found = {item.name: item.code for item in world.band().variants}
    assert found == dict.fromkeys(("jpeg_60", "half_size", "h264_28", "h264_36"), "media_timed_out") | dict.fromkeys(
        ("shift_1px", "even_frames", "odd_frames")
    )


def test_a_detector_that_fails_is_the_reason_and_is_asked_once_only(world: World):
    world.fails["mesonet"] = WorkerError("out_of_memory")
    band = world.band()
    assert {item.code for item in band.variants if item.name.endswith("frames")} == {None}
    assert {item.code for item in band.variants if not item.name.endswith("frames")} == {"out_of_memory"}
    assert world.judge.asked == []


def test_an_engine_that_is_away_ends_the_attempt(world: World):
    world.fails["mesonet"] = WorkerError("engine_unavailable", retryable=True)
    with pytest.raises(RetryableError, match="engine_unavailable"):
        world.band()


def test_a_band_survives_a_crash_and_comes_from_the_cache_for_the_next_job(world: World, tmp_path: Path):
    cache = ScoreCache(tmp_path / "cache")
    first = world.band(cache)
    world.fails = {name: WorkerError("worker_died") for name in ("media", "mesonet")}
    assert world.band() == first, "the same job goes on"
    other = world.again(cache, job=world.other_job())
    other.prepare([world.card], lambda card: MADE_BY)
    assert other.band(world.whole) == first


def test_another_table_of_changes_is_another_entry_of_the_cache(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cache = ScoreCache(tmp_path / "cache")
    world.band(cache)
    monkeypatch.setattr("backend.rejudging.EDITION", "another")
    world.band(cache, job=world.other_job())
    assert world.media.asked == ["vary", "vary"]


def test_a_band_with_a_passing_failure_is_not_kept_for_others(world: World, tmp_path: Path):
    cache = ScoreCache(tmp_path / "cache")
    world.fails["media"] = WorkerError("media_timed_out")
    world.band(cache)
    world.fails = {}
    assert all(item.code is None for item in world.band(cache, job=world.other_job()).variants)


def test_detectors_of_the_same_units_share_the_changed_pixels(world: World):
    again = world.again()
    again.prepare([world.card, replace(world.card, id="other")], lambda card: MADE_BY)
    again.band(world.whole)
    assert world.media.asked == ["vary"]
    again.close()
    assert not (world.job.folder / "again").exists()


# --------------------------------------------------------------------------- the small packs


def test_a_part_of_faces_keeps_the_rules_of_packs_and_its_pixels(pack: MediaPack, tmp_path: Path):
    rows = chosen(card("mesonet"), pack)
    assert (rows[0], rows[-1], len(rows)) == (0, FACES - 1, MOST_UNITS)
    part = write_subset(pack, card("mesonet"), rows, tmp_path / "part")
    shifted(part, "face", tmp_path / "shifted", pixels=1)
    for folder in (part.folder, tmp_path / "shifted"):
        check_pack(folder)
    assert all(np.array_equal(part.image(at), pack.image(row)) for at, row in enumerate(rows))
    moved = MediaPack(tmp_path / "shifted")
    assert np.array_equal(moved.face(3).box, part.face(3).box + 1)
    assert np.array_equal(moved.image(3), part.image(3))


def test_a_detector_of_faces_over_time_gets_the_first_ones_in_a_row(pack: MediaPack, tmp_path: Path):
    own = card("noise_gru")
    rows = chosen(own, pack)
    assert rows.tolist() == list(range(min(FACES, MOST_IN_A_ROW)))
    check_pack(write_subset(pack, own, rows, tmp_path / "part").folder)


def test_whole_pictures_lose_a_column_and_a_row(tmp_path: Path):
    own = card_of(PICTURE.replace("lossless_only = true", ""), tmp_path / "toy")
    pack = MediaPack(PracticePictures(tmp_path / "packs", portrait=write_portrait(tmp_path / "one", faces=1)).clip(20))
    part = write_subset(pack, own, chosen(own, pack), tmp_path / "part")
    shifted(part, "picture", tmp_path / "shifted", pixels=1)
    for folder in (part.folder, tmp_path / "shifted"):
        check_pack(folder)
    assert np.array_equal(MediaPack(tmp_path / "shifted").picture(2), part.picture(2)[1:, 1:])


def test_large_pictures_are_judged_again_in_smaller_number(pack: MediaPack, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("backend.scores.subset.MOST_BYTES", 3 * 120 * 120 * 3)
    assert len(chosen(card("mesonet"), pack)) == 3
    monkeypatch.setattr("backend.scores.subset.MOST_BYTES", 1)
    assert len(chosen(card("mesonet"), pack)) == 1


def test_sound_is_judged_again_after_mp3_and_8_khz(tmp_path: Path):
    own = card_of(SOUND, tmp_path / "toy")
    sounds = PracticeSounds(tmp_path / "packs", portrait=write_portrait(tmp_path / "one", faces=1), card=own)
    world = World(tmp_path, MediaPack(sounds.clip(30)), own)
    part = write_subset(world.pack, own, chosen(own, world.pack), tmp_path / "part")
    check_pack(part.folder)
    assert len(part.windows) == MOST_UNITS
    first, last = (world.pack.windows[at] for at in (0, 29))
    assert np.array_equal(part.sound[:8000], world.pack.sound[first["start"] : first["stop"]])
    assert np.array_equal(part.sound[-8000:], world.pack.sound[last["start"] : last["stop"]])
    band = world.band()
    assert [item.name for item in band.variants] == ["mp3_64", "through_8khz"]
    assert all(item.units == MOST_UNITS for item in band.variants)
    assert band.low is not None
    assert band.high is not None
    assert 0 < band.high - band.low < 0.05
