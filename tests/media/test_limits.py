"""Bounds end in a name, before they cost anything."""

from __future__ import annotations

import resource
import struct
import time
import zlib
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from backend.media.limits import Deadline, MediaLimits
from base_detector import WorkerFailure
from shared.errors import SENTENCES
from shared.settings import Settings
from tests.media.clips import encode, moving


def code_of(run_pass, path: Path, **options) -> str:
    with pytest.raises(WorkerFailure) as caught:
        run_pass(path, **options)
    assert [item.name for item in path.parent.iterdir() if "pack" in item.name] == []
    assert caught.value.code in SENTENCES
    return caught.value.code


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"max_pixels": 320 * 240 - 1}, "media_too_large"),
        ({"max_duration_s": 0.3}, "media_too_long"),
        ({"max_frames": 14}, "media_too_long"),
        ({"max_pack_mb": 0.2}, "pack_too_large"),
        ({"media_timeout_s": 1e-9}, "media_timed_out"),
    ],
)
def test_each_limit_has_its_name(run_pass, tmp_path: Path, astronaut: np.ndarray, limits: dict, code: str):
    clip = encode(tmp_path / "a.mp4", moving(astronaut, count=25))
    assert code_of(run_pass, clip, limits=limits) == code


def test_a_medium_at_its_limits_passes(run_pass, tmp_path: Path, astronaut: np.ndarray):
    clip = encode(tmp_path / "a.mp4", moving(astronaut, count=15))
    limits = {"max_pixels": 320 * 240, "max_frames": 15, "max_duration_s": 0.6}
    assert len(run_pass(clip, limits=limits)) == 15


def test_a_header_of_four_billion_pixels_costs_nothing(run_pass, tmp_path: Path):
    body = struct.pack(">IIBBBBB", 65535, 65535, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + body
    data = b"IDAT" + zlib.compress(b"\0" * 1000)
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", len(body)) + chunk + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    )  # fmt: skip
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    assert code_of(run_pass, tmp_path / "a.png") == "media_too_large"
    assert time.perf_counter() - started < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_a_video_larger_than_allowed_is_not_even_decoded(run_pass, tmp_path: Path):
    flat = np.full((2160, 3840, 3), 90, np.uint8)
    clip = encode(tmp_path / "a.mkv", [flat], codec="mjpeg", pix_fmt="yuvj420p")
    assert code_of(run_pass, clip, limits={"max_pixels": 1920 * 1080}) == "media_too_large"


def test_limits_of_a_request_are_checked():
    whole = asdict(MediaLimits.of(Settings(max_pixels=5, media_timeout_s=2.5)))
    assert MediaLimits.from_request(whole) == MediaLimits.of(Settings(max_pixels=5, media_timeout_s=2.5))
    less = {name: value for name, value in whole.items() if name != "max_frames"}
    for wrong in (
        whole | {"pixels": 1},
        whole | {"max_pixels": "many"},
        whole | {"media_timeout_s": float("nan")},
        whole | {"max_frames": -1},
        whole | {"max_frames": True},
        less,
        {},
        None,
        [1],
    ):
        with pytest.raises(WorkerFailure, match="bad_request"):
            MediaLimits.from_request(wrong)


def test_limits_are_settings_under_the_same_names():
    limits = asdict(MediaLimits.of(Settings()))
    assert len(limits) == 5
    assert limits.items() <= Settings().model_dump().items()


def test_the_deadline_leaves_time_to_answer():
    now = [100.0]
    deadline = Deadline(MediaLimits.of(Settings(media_timeout_s=100)), clock=lambda: now[0])
    now[0] = 196.0
    deadline.check()
    now[0] = 198.0
    with pytest.raises(WorkerFailure, match="media_timed_out"):
        deadline.check()
