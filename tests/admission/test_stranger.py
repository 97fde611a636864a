"""A stranger's worker, written from the pages alone and without a line of ours, passes the admission check."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.admission.check import Admission, Check, report_of
from backend.admission.practice import PracticePacks
from backend.admission.template import SAMPLES
from backend.catalog.cards import card_of_label
from backend.commands.run import make_pack
from backend.harvest.scores import harvest_masks, harvest_scores, harvested_masks
from backend.workers.logbook import Logbook
from backend.workers.pool import WorkerPool
from backend.workers.process_runner import ProcessRunner, RunningProcess
from backend.workers.runner import Runners
from backend.workers.spec import WorkerError, WorkerSpec
from base_detector import Card, FacePack, NotApplicable
from shared.settings import Settings
from tests.packs import turned_pack

STRANGER = Path(__file__).parent / "stranger.pl"
#: What its image carries as a label: the card behind the program.
LABEL = " ".join(STRANGER.read_text(encoding="utf-8").partition("__DATA__\n")[2].split())
TAG = "dfom-test/stranger"


class PerlRunner(ProcessRunner):
    """Starts the stranger as a process, which the platform itself never does with a third party's detector."""

    def available(self, spec: WorkerSpec) -> str | None:
        return None

    def start(self, spec: WorkerSpec, exchange: Any, *, gpu: str | None = None) -> RunningProcess:
        exchange.wipe()
        process = subprocess.Popen(
            ["perl", str(STRANGER), str(exchange.folder)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={}, cwd="/", start_new_session=True,
        )  # fmt: skip
        return RunningProcess(process, Logbook(exchange.folder.with_suffix(".log")))


@pytest.fixture(scope="module")
def card() -> Card:
    return card_of_label(json.loads(LABEL), folder=Path("stranger"))


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> PracticePacks:
    """The packs of the check, from its own portrait and the media pass."""
    folder = tmp_path_factory.mktemp("portrait")
    settings = Settings(data=folder / "data", runner="process", hot=[])
    with contextlib.closing(WorkerPool(settings)) as pool:
        portrait = make_pack(
            SAMPLES / "portrait.jpg",
            folder / "portrait",
            settings=settings,
            pool=pool,
            wanted={"samplings": ["every_frame"], "context": 3.0},
            mode="quick",
        )
    return PracticePacks(folder / "packs", portrait=portrait.folder)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A sharp face and a blurred one: what the detector claims to tell apart."""
    (tmp_path / "check").mkdir()
    for name in ("real.png", "fake.png"):
        shutil.copy(SAMPLES / name, tmp_path / "check" / name)
    return tmp_path / "check"


def spec_of(card: Card, *, image: str = "none") -> WorkerSpec:
    return WorkerSpec(card.id, "detectors.stranger", None, image, card.memory_mb, bundled=False, version=card.version)


@pytest.fixture
def asked(card: Card, packs: PracticePacks, pictures: Path) -> Callable[[WorkerPool, WorkerSpec], list[Check]]:
    def ask(pool: WorkerPool, spec: WorkerSpec) -> list[Check]:
        admission = Admission(
            card, spec, lease=lambda: pool.lease(spec), packs=packs, pictures=pictures, on_check=lambda check: None
        )
        return admission.run()

    return ask


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[WorkerPool]:
    settings = Settings(data=tmp_path / "data", runner="process", hot=[])
    with contextlib.closing(WorkerPool(settings, runners=Runners(None, PerlRunner(threads=1)))) as opened:
        yield opened


def left_open(checks: list[Check]) -> set[str]:
    assert [check for check in checks if check.outcome == "failed"] == []
    return {check.name for check in checks if check.outcome == "not_tried"}


def test_a_strangers_worker_passes_the_admission_check(card: Card, pool: WorkerPool, asked: Any):
    checks = asked(pool, spec_of(card))
    assert left_open(checks) == {"golden pictures", "no network wanted"}
    assert len(checks) == 12
    assert report_of(card, checks)["passed"]


def test_it_has_nothing_of_ours():
    text = STRANGER.read_text(encoding="utf-8")
    assert set(line.split()[1].rstrip(";") for line in text.splitlines() if line.startswith("use ")) == {
        "strict",
        "warnings",
        "IO::Socket::UNIX",
    }


def test_it_finds_a_turned_face_in_its_picture(card: Card, pool: WorkerPool, packs: PracticePacks, tmp_path: Path):
    upright, scores = FacePack(packs.clip(4)), []
    turned = [turned_pack(upright, tmp_path / str(turn), turn=turn).folder for turn in (90, 180, 270)]
    for number, pack in enumerate([upright.folder, *turned]):
        with pool.lease(spec_of(card)) as worker, worker.room(f"job{number}") as room:
            room.link(pack, "pack")
            worker.call("predict", timeout_s=60, pack=room.path("pack"), out=room.path("out"))
            scores.append(harvest_scores(room.out, card_id=card.id, units=4).fake_score)
    np.testing.assert_allclose(scores[1:], [scores[0]] * 3, atol=0.01)


def test_its_evidence_and_its_reasons_are_taken(card: Card, pool: WorkerPool, packs: PracticePacks, tmp_path: Path):
    spec, pack = spec_of(card), packs.clip(24)
    with pool.lease(spec) as worker, worker.room("job") as room:
        room.link(pack, "pack")
        progress: list[tuple[int, int]] = []
        worker.call(
            "predict", timeout_s=60, on_progress=lambda done, total: progress.append((done, total)),
            pack=room.path("pack"), out=room.path("out"),
        )  # fmt: skip
        assert progress == [(1, 24)]
        scores = harvest_scores(room.out, card_id=card.id, units=24)
        harvest_masks(room.out, scores, tmp_path / "ours")
    assert len(set(scores.fake_score)) > 1, "it looks at the pixels"
    (mask,) = harvested_masks(tmp_path / "ours", scores).values()
    pixels = np.load(mask, allow_pickle=False)
    box = FacePack(pack).faces["box"][0]
    assert pixels.shape[1] == pytest.approx(1.3 * max(box[2] - box[0], box[3] - box[1]), abs=2)
    assert pixels.std() > 1
    with pool.lease(spec) as worker, worker.room("small") as room:
        room.link(packs.example(np.zeros((5, 5, 3), np.uint8)), "pack")
        with pytest.raises(NotApplicable, match="face_too_small"):
            worker.call("predict", timeout_s=60, pack=room.path("pack"), out=room.path("out"))
        with pytest.raises(WorkerError, match="unknown_verb"):
            worker.call("dance", timeout_s=60)


@pytest.mark.docker
def test_a_strangers_image_passes_the_admission_check(
    engine: Any, card: Card, asked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from docker.errors import ImageNotFound

    try:
        engine.images.get("debian:bookworm-slim")
    except ImageNotFound:
        pytest.skip("debian:bookworm-slim is not here ('make images' gets it)")
    dockerfile = (
        "FROM debian:bookworm-slim\n"
        "COPY stranger.pl /stranger.pl\n"
        'CMD ["perl", "/stranger.pl"]\n'
        f"LABEL org.deepfake-o-meter.card='{LABEL}'\n"
    )
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for name, content in (("Dockerfile", dockerfile.encode()), ("stranger.pl", STRANGER.read_bytes())):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    context.seek(0)
    engine.images.build(fileobj=context, custom_context=True, tag=TAG, rm=True)
    try:
        assert json.loads(engine.images.get(TAG).labels["org.deepfake-o-meter.card"]) == json.loads(LABEL)
        settings = Settings(data=tmp_path / "data", runner="docker", hot=[])
        with contextlib.closing(WorkerPool(settings)) as pool:
            checks = asked(pool, spec_of(card, image=TAG))
        assert left_open(checks) == {"golden pictures"}
        assert report_of(card, checks)["passed"]
    finally:
        engine.images.remove(TAG, force=True)
