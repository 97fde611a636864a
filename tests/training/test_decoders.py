"""Faces through decoders: what is pasted, what stays, and which scenes an autoencoder may have seen."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from detectors.training import decoded_clips as copies_of
from detectors.training.clips import SIDE, Clip, Faces, Seen
from detectors.training.decoded_clips import decoded_clips, only, teachers
from detectors.training.decoders import FAMILIES, HELD_OUT, KINDS, chain, doubling, matched, pasted, teach, through
from detectors.training.folds import Fold

#: Where MTCNN's five points are in ``square``.
POINTS = np.array([[54, 64], [90, 64], [72, 88], [58, 105], [88, 105]], np.float32)


@pytest.fixture(scope="module")
def square(astronaut: np.ndarray) -> np.ndarray:
    """A face, (144, 144, 3) uint8 RGB."""
    return cv2.resize(astronaut[30:230, 120:320], (144, 144), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_decoder_doubles_the_side_and_learns_the_face_it_is_taught(kind: str, square: np.ndarray):
    assert doubling(kind, 5, 7)(torch.zeros(2, 5, 6, 6)).shape == (2, 7, 12, 12)
    one, other = (
        through(teach(kind, square[None], side=32, levels=2, steps=steps, seed=1), side=32) for steps in (1, 60)
    )
    errors = [np.abs(decode(square.astype(np.float32)) - square).mean() for decode in (one, other)]
    assert errors[1] < 0.6 * errors[0]


def test_a_decoder_that_nobody_knows_is_refused():
    with pytest.raises(ValueError, match="transposed, nearest, subpixel"):
        doubling("wavelet", 1, 1)


def test_the_pasted_face_leaves_the_rest_alone_and_its_colours_as_they_were(square: np.ndarray):
    face = square.astype(np.float32)

    def blue_and_soft(picture: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(picture, (0, 0), 3) * np.float32([0.5, 0.7, 1.0]) + np.float32([0, 10, 40])

    for seed in range(4):
        made = pasted(face, POINTS, blue_and_soft, rng=np.random.default_rng(seed))
        moved = np.abs(made - face).max(axis=2)
        assert moved[:8].max() == moved[:, :6].max() == 0
        inside = moved > 2
        assert inside.mean() > 0.02
        assert np.abs(made[inside].mean(axis=0) - face[inside].mean(axis=0)).max() < 8
    level = matched(np.full((9, 9, 3), 50, np.float32), np.full((9, 9, 3), 90, np.float32), mask=np.ones((9, 9, 1)))
    assert np.allclose(level, 90)


def test_a_chain_without_a_network_treats_every_frame_of_a_clip_alike(square: np.ndarray):
    face = square.astype(np.float32)
    decode = chain(np.random.default_rng(3))
    assert np.array_equal(decode(face), decode(face))
    assert np.abs(decode(face) - face).mean() > 1
    assert not np.array_equal(chain(np.random.default_rng(4))(face), decode(face))


def _clip(name: str, scene: str, *, fake: bool = False) -> Clip:
    return Clip(Path(name), fake, "m" if fake else "", "swap" if fake else "", name, "", scene)


def test_a_decoder_is_taught_by_scenes_that_no_other_fold_judges():
    shared, own, other = _clip("a", "shared"), _clip("b", "own"), _clip("c", "other")
    fakes = [_clip("f", "shared", fake=True), _clip("g", "shared", fake=True)]
    folds = [
        Fold(0, ("m",), (other,), (shared, own, fakes[0]), ()),
        Fold(1, ("n",), (own,), (other, fakes[1]), (shared,)),
    ]
    assert teachers(folds[0], folds) == [own]
    assert teachers(folds[1], folds) == [other]


def test_decoded_copies_are_made_once_one_a_family_and_differ_from_their_original(
    square: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    frames = [np.ascontiguousarray(np.pad(square, ((20, 20), (40, 40), (0, 0)), mode="edge"))] * 4
    clip = Clip(tmp_path / "a.mp4", False, "", "", "ada", "", "s")
    clip.path.write_bytes(b"stands for a clip")
    box, width = np.array([64, 38, 160, 146]) / 224, 224
    points = (POINTS + np.array([40, 20])) / width
    numbers = np.arange(4)
    seen = Seen(numbers, numbers / 25, np.full(4, 108.0), np.repeat(box[None], 4, 0), np.repeat(points[None], 4, 0))
    monkeypatch.setattr(copies_of, "seen_in", lambda path: seen)
    monkeypatch.setattr(copies_of, "frames_of", lambda path, count: iter(frames[:count]))
    stored = np.broadcast_to(cv2.resize(square, (SIDE, SIDE)), (4, 3, SIDE, SIDE, 3))
    faces = {clip: Faces(clip, stored, numbers[:3], np.full(3, 108.0), np.zeros((3, 5, 2)))}
    folds = [Fold(0, ("m",), (), (clip,), ())]
    told: list[str] = []
    (copy,) = decoded_clips(faces, folds, tmp_path / "cache", steps=2, tell=told.append)
    assert copy.pixels.shape == (len(FAMILIES), 4, SIDE, SIDE, 3)
    assert (copy.clip.fake, copy.clip.pair, copy.clip.scene, copy.clip.path) == (True, "ada", "s", clip.path)
    again = decoded_clips(faces, folds, tmp_path / "cache", steps=2, tell=told.append)
    assert np.array_equal(again[0].pixels, copy.pixels)
    assert told == ["decoded: a.mp4"]
    (trained,) = only([copy], [name for name in FAMILIES if name != HELD_OUT])
    assert np.array_equal(trained.pixels, copy.pixels[: len(FAMILIES) - 1])
    middle = copy.pixels[:, 0, 50:110, 50:110].astype(int)
    for one in range(len(FAMILIES)):
        for other in range(one):
            assert np.abs(middle[one] - middle[other]).mean() > 1, "every family leaves a face of its own"
    facts = next((tmp_path / "cache").glob("*-decoded*.json"))
    assert json.loads(facts.read_text())["reason"] == ""
