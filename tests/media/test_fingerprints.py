"""Marks of pictures and sounds: near copies keep them, other files do not have them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("av")

from backend.media.fingerprints import apart, picture_mark, sound_marks
from base_detector import SOUND_RATE
from shared.origin import MOST_PICTURE_MARKS
from shared.seen import PICTURES_APART, SOUND_APART, SOUND_RUN, Marks, sound_apart
from tests.media.clips import encode, moving


def grey(picture: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)


def test_a_picture_keeps_its_mark_when_it_is_scaled_compressed_and_cropped_and_not_when_it_is_mirrored(
    astronaut: np.ndarray,
):
    own = picture_mark(grey(astronaut))
    small = cv2.resize(astronaut, (180, 180), interpolation=cv2.INTER_AREA)
    _, packed = cv2.imencode(".jpg", astronaut, [cv2.IMWRITE_JPEG_QUALITY, 15])
    cropped = astronaut[13:-13, 13:-13]
    for copy in (small, cv2.imdecode(packed, cv2.IMREAD_COLOR), cropped):
        assert apart(own, picture_mark(grey(np.ascontiguousarray(copy)))) <= PICTURES_APART
    assert apart(own, picture_mark(grey(np.ascontiguousarray(astronaut[:, ::-1])))) > PICTURES_APART
    assert picture_mark(np.full((200, 300), 17, np.uint8)) is None


def marks_of(samples: np.ndarray) -> Marks:
    digits = sound_marks(samples)
    words = [digits[at : at + 8] for at in range(0, len(digits), 8)]
    return Marks(
        "",
        "sound",
        np.zeros((0, 32), np.uint8),
        np.array([0 if word[0] == "-" else int(word, 16) for word in words], np.uint32),
        np.array([word[0] != "-" for word in words]),
    )


def speechlike(seed: int, *, seconds: float = 12.0) -> np.ndarray:
    """Noise in bands that come and go several times a second, (n,) float32."""
    chance = np.random.default_rng(seed)
    times = np.arange(round(seconds * SOUND_RATE)) / SOUND_RATE
    out = np.zeros(len(times))
    for hertz in chance.uniform(250, 2400, 12):
        steps = np.interp(times, np.arange(0, seconds + 1, 0.12), chance.random(len(np.arange(0, seconds + 1, 0.12))))
        out += steps**3 * np.sin(2 * np.pi * hertz * times + chance.uniform(0, 6))
    return (0.05 * out).astype(np.float32)


def test_a_sound_is_found_again_quieter_noisy_and_later_and_another_is_not():
    one = speechlike(1)
    own = marks_of(one)
    later = np.concatenate([np.zeros(SOUND_RATE // 2 + 77, np.float32), 0.4 * one])
    noisy = later + np.random.default_rng(3).normal(0, 0.004, len(later)).astype(np.float32)
    assert len(own.sound) > SOUND_RUN
    assert sound_apart(own, marks_of(noisy)) <= SOUND_APART
    assert sound_apart(own, marks_of(speechlike(2))) > SOUND_APART
    assert sound_apart(own, marks_of(np.zeros(12 * SOUND_RATE, np.float32))) == 1.0
    assert sound_marks(np.zeros(100, np.float32)) == ""


def test_the_pass_marks_pictures_by_shot_and_asks_for_what_it_is_told(run_pass, tmp_path: Path, astronaut: np.ndarray):
    other = np.ascontiguousarray(astronaut[::-1])
    clip = encode(tmp_path / "a.mp4", [*moving(astronaut, count=30), *moving(other, count=30)])
    pack = run_pass(clip, samplings=(), pictures=("frames:2",), origin=("traces", "fingerprint"))
    assert pack.origin.credentials is None
    assert len(pack.shots) == 2
    marks = pack.origin.fingerprint.pictures
    assert 4 <= len(marks) <= MOST_PICTURE_MARKS
    first, last = (np.frombuffer(bytes.fromhex(mark), np.uint8) for mark in (marks[0], marks[-1]))
    assert apart(first, last) > PICTURES_APART
    assert pack.origin.fingerprint.sound == ""
    assert run_pass(clip, name="bare", samplings=(), pictures=("frames:2",)).origin.traces is None
