"""The media worker speaks protocol v1; what it does not need is not loaded."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from backend.media.limits import MediaLimits
from base_detector import FacePack
from shared.settings import Settings

LIMITS = asdict(MediaLimits.of(Settings()))

ROOT = Path(__file__).resolve().parents[2]


class Caller:
    """One connection to a worker."""

    def __init__(self, exchange: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(120)
        self._socket.connect(str(exchange / "worker.sock"))
        self._stream = self._socket.makefile("rwb")

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._socket.close()

    def call(self, **request) -> tuple[dict, list[dict]]:
        """The answer, and the events before it."""
        self._stream.write(json.dumps(request).encode() + b"\n")
        self._stream.flush()
        events = []
        while "status" not in (line := json.loads(self._stream.readline())):
            events.append(line)
        return line, events


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("x")
    (folder / "out").mkdir()
    with (folder / "log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "backend.media.worker", "--serve", str(folder)], cwd=ROOT, stdout=log, stderr=log
        )
        deadline = time.monotonic() + 60
        while not (folder / "worker.sock").exists():
            assert worker.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield folder
        with Caller(folder) as caller:
            answer, _ = caller.call(verb="stop")
        assert answer == {"status": "ok"}
        assert worker.wait(20) == 0


def test_a_worker_extracts_with_progress_and_paths_of_its_exchange_folder(exchange: Path, astronaut_clip: Path):
    shutil.copy(astronaut_clip, exchange / "media")
    with Caller(exchange) as caller:
        assert caller.call(verb="health")[0]["verbs"] == ["corrupt", "extract", "load", "render", "vary"]
        assert caller.call(verb="load")[0] == {"status": "ok"}
        answer, events = caller.call(
            verb="extract",
            media="media",
            pack="out/pack",
            samplings=["every_frame"],
            mode="standard",
            context=2.0,
            limits=LIMITS,
        )
    assert answer["status"] == "ok"
    assert (answer["faces"], answer["frames"]) == (50, 50)
    assert answer["seconds"]["total"] > 0
    assert events == [{"event": "progress", "done": done, "total": 50} for done in (20, 40)]
    assert len(FacePack(exchange / "out" / "pack")) == 50


@pytest.mark.parametrize(
    ("request_members", "code"),
    [
        ({"verb": "extract", "media": "media", "pack": "out/other"}, "bad_request"),
        ({"verb": "extract", "samplings": ["fps:1"], "limits": LIMITS}, "bad_request"),
        ({"verb": "extract", "media": "media", "pack": "out/other", "samplings": ["fps:1"]}, "bad_request"),
        ({"verb": "extract", "media": "media", "pack": "out/other", "samplings": ["fps:1"], "limits": LIMITS, "colour": 1},
         "bad_request"),
        ({"verb": "extract", "media": "media", "pack": "out/other", "samplings": ["fps:1"], "limits": LIMITS | {"max_pixels": 9}},
         "media_too_large"),
        ({"verb": "extract", "media": "media", "pack": "out/other", "samplings": [], "windows": [[1, 61]], "limits": LIMITS},
         "bad_request"),
        ({"verb": "extract", "media": "media", "pack": "out/other", "samplings": [], "windows": ["long"], "limits": LIMITS},
         "bad_request"),
        ({"verb": "render", "media": "media"}, "bad_request"),
        ({"verb": "dance"}, "unknown_verb"),
    ],
)  # fmt: skip
def test_only_codes_cross_the_boundary(exchange: Path, astronaut_clip: Path, request_members: dict, code: str):
    shutil.copy(astronaut_clip, exchange / "media")
    with Caller(exchange) as caller:
        answer, _ = caller.call(**request_members)
    assert answer == {"status": "error", "code": code, "retryable": False}
    assert not list((exchange / "out").glob("*other*"))


def test_a_file_of_sound_is_a_medium_without_pictures(exchange: Path):
    from tests.media.sounds import tone, write_sound

    write_sound(exchange / "sound.mp4", tone(2.0, rate=48_000), codec="aac", rate=48_000)
    with Caller(exchange) as caller:
        request = {"media": "sound.mp4", "pack": "out/sound", "samplings": ["fps:1"], "windows": [[1.0, 0.5]]}
        answer, _ = caller.call(verb="extract", **request, limits=LIMITS)
    assert (answer["status"], answer["faces"], answer["frames"]) == ("ok", 0, 0)
    pack = FacePack(exchange / "out" / "sound")
    assert len(pack.sound) == pytest.approx(32_000, abs=500)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("backend.media.worker", ("torch", "openvino", "dlib", "sklearn", "av", "cv2", "scenedetect")),
        ("backend.media.extract", ("torch", "openvino", "dlib", "sklearn")),
    ],
)
def test_networks_are_loaded_only_when_they_are_used(module: str, absent: tuple[str, ...]):
    code = f"import sys, {module}; print([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
