"""Fixtures of the worker tests: settings on a scratch of their own, and detectors that do what a test asks of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from backend.workers.exchange import Exchange
from backend.workers.process_runner import ProcessRunner
from backend.workers.spec import WorkerSpec
from backend.workers.worker import Worker
from base_detector import FACE_DTYPE, PACK_SCHEMA
from shared.origin import Action, Claim, Credentials, Fingerprint, Ingredient, Origin, Trace
from shared.settings import Settings
from tests.packs import write_no_pictures_nor_sound
from tests.workers.docker_fixtures import acting_image, container_spec, start_container

__all__ = ["acting_image", "container_spec", "start_container"]

HERE = Path(__file__).parent


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a back-end that starts processes and keeps nothing hot."""
    return Settings(data=tmp_path / "data", runner="process", hot=[], threads=1)


@pytest.fixture
def spec(monkeypatch: pytest.MonkeyPatch) -> WorkerSpec:
    """The worker of tests/workers/acting.py, a program that speaks the protocol and misbehaves on request."""
    monkeypatch.setattr("backend.workers.process_runner.ROOT", HERE)  # where its module is found
    return WorkerSpec(
        name="acting", module="acting", weights=None, image="none", memory_mb=200, bundled=True, output_mb=5
    )


@pytest.fixture
def start(spec: WorkerSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Worker]]:
    """Start workers of the acting program; all are ended after the test."""
    _acting_arguments(monkeypatch)
    runner = ProcessRunner(threads=1)
    workers: list[Worker] = []

    def begin(*, opened: bool = True) -> Worker:
        exchange = Exchange(tmp_path / f"acting-{len(workers)}", shared=False, linked=True)
        worker = Worker(spec, runner.start(spec, exchange), exchange)
        workers.append(worker)
        if opened:
            worker.open(timeout_s=20)
        return worker

    yield begin
    for worker in workers:
        worker.close()
    runner.close()


@pytest.fixture
def acting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process runner start the acting program."""
    _acting_arguments(monkeypatch)


def _acting_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WorkerSpec, "arguments", lambda self, exchange, *, weights: [self.module, exchange])


ORIGIN = Origin(
    credentials=Credentials(
        "invalid",
        claims=(
            Claim(
                title="A picture", generator=None, signer="Test camera", organisation=None, issuer="Tests", valid_from=None,
                valid_until=None, signed=None, actions=(Action("c2pa.created"),), ingredients=(Ingredient("old", "parentOf", True),),
                sources=("digitalCapture",), failures=("assertion.dataHash.mismatch",),
            ),
        ),
    ),
    traces=(Trace("make", "Maker"), Trace("place")),
    fingerprint=Fingerprint(("ab" * 32,), "0123abcd--------"),
)  # fmt: skip


def write_pack(folder: Path, *, faces: int = 4, side: int = 32) -> Path:
    """A small face pack: one person, one face a frame."""
    folder.mkdir(parents=True)
    rows = np.zeros(faces, FACE_DTYPE)
    rows["frame"] = np.arange(faces)
    rows["time_s"] = np.arange(faces) / 25
    rows["box"] = (8, 8, 24, 24)
    rows["confidence"] = 0.99
    rows["landmarks"] = np.nan
    rows["crop_offset"] = np.arange(faces) * side * side * 3
    rows["crop_height"] = rows["crop_width"] = side
    rows["crop_origin"] = (4, 6)
    np.save(folder / "faces.npy", rows)
    pixels = np.random.default_rng(7).integers(0, 256, faces * side * side * 3, np.uint8)
    (folder / "crops.bin").write_bytes(pixels.tobytes())
    info = {
        "schema": PACK_SCHEMA,
        "media": {
            "kind": "video",
            "width": 64,
            "height": 48,
            "fps": 25.0,
            "duration_s": 1.0,
            "frames": 25,
            "codec": "h264",
            "container": "mov,mp4",
            "rotation": 0,
            "has_audio": False,
            "sizes": [],
            "lossless": False,
        },
        "sampling": {"mode": "quick", "samplings": ["fps:1"], "context": 2.0, "detect_every": 5},
        "frames": [{"frame": i, "time_s": i / 25} for i in range(max(faces, 1))],
        "shots": [{"shot": 0, "start": 0, "end": 24, "start_s": 0.0, "end_s": 0.96}],
        "persons": [{"person": 0, "faces": faces, "first_s": 0.0, "last_s": faces / 25, "keyface": 0}] if faces else [],
        "notes": [{"code": "damaged", "start_s": 0.2, "end_s": 0.4, "value": None}],
        "sound": None,
        "origin": asdict(ORIGIN),
        "seconds": {"total": 0.5},
    }
    (folder / "pack.json").write_text(json.dumps(info))
    write_no_pictures_nor_sound(folder)
    return folder


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A face pack of four faces."""
    return write_pack(tmp_path / "pack")
