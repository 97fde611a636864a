"""The small set to try the training commands with."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from detectors.training.__main__ import main
from detectors.training.blends import blend
from detectors.training.dataset import read_dataset
from detectors.training.small import (
    COVERS,
    NOISE,
    SIDE,
    SMOOTH,
    Portrait,
    detail_kept,
    portraits,
    smooth_seed,
    write_clips,
    write_pictures,
)
from tests.training.conftest import POINTS


class Found:
    """What a detector of faces answers for the public-domain portrait in its border."""

    def __init__(self, image: np.ndarray) -> None:
        self.boxes = np.array([[300, 200, 460, 400]], np.float32)
        self.confidence = np.array([0.99])
        self.landmarks = np.tile(np.array([[350, 300]], np.float32), (1, 5, 1))


@pytest.fixture(scope="module")
def portrait(astronaut: np.ndarray) -> Portrait:
    luma = cv2.cvtColor(astronaut[20:270, 100:350], cv2.COLOR_RGB2GRAY)
    points = (POINTS - np.array([100, 20], np.float32)) * (SIDE / 250)
    return Portrait("Eileen", cv2.resize(luma, (SIDE, SIDE)).astype(np.float32), points)


def test_portraits_are_one_a_person_from_folders_and_archives(astronaut: np.ndarray, tmp_path: Path):
    written = cv2.imencode(".jpg", astronaut[:, :, ::-1])[1].tobytes()
    (tmp_path / "more").mkdir()
    for name in ("Ada_0001.jpg", "Ada_0002.jpg", "Bob_Two_0001.jpg", "0_0_someone_0001.jpg", "12.jpg"):
        (tmp_path / "more" / name).write_bytes(written)
    (tmp_path / "Cleo_0007.jpg").write_bytes(written)
    with tarfile.open(tmp_path / "faces.tar", "w") as archive:
        archive.add(tmp_path / "Cleo_0007.jpg", "grey/Cleo_0007.jpg")
    (tmp_path / "Cleo_0007.jpg").unlink()
    found = list(portraits(tmp_path, people=10, detect=Found))
    assert sorted(one.identity for one in found) == ["Ada", "Bob_Two", "Cleo"]
    assert found[0].luma.shape == (SIDE, SIDE)
    two = list(portraits(tmp_path, people=2, detect=Found))
    assert [one.identity for one in two] == [one.identity for one in found[:2]]


def test_pictures_are_pairs_that_differ_in_a_blend_alone(portrait: Portrait, tmp_path: Path):
    write_pictures(portrait, tmp_path, seed=3)
    items = read_dataset(tmp_path)
    assert [(item.name, item.identity) for item in items] == [
        (f"{label}/Eileen_{number:04d}.png", "Eileen") for label in ("fake", "real") for number in range(2)
    ]
    for number in range(2):
        real, fake = (
            cv2.imread(str(tmp_path / label / f"Eileen_{number:04d}.png"), cv2.IMREAD_GRAYSCALE).astype(int)
            for label in ("real", "fake")
        )
        assert real.shape == (SIDE, SIDE)
        assert 0.02 < np.mean(real != fake) < 0.9
        assert np.abs(real - fake).max() > 6
    write_pictures(portrait, tmp_path / "again", seed=3)
    for item in items:
        assert item.path.read_bytes() == (tmp_path / "again" / item.name).read_bytes()


@pytest.mark.parametrize("detailed", [False, True])
def test_a_smooth_seed_is_the_first_that_is_smooth_and_large_or_else_the_smoothest(portrait: Portrait, detailed: bool):
    """The portrait has more detail of its own than most blends take away; on an even face with noise the first smooth one is found."""
    base = portrait.luma if detailed else np.full_like(portrait.luma, 128)
    luma = base + np.random.default_rng(1).normal(0, NOISE, base.shape).astype(np.float32)

    def kept(seed: int) -> float:
        mixed, mask = blend(luma, portrait.landmarks, rng=np.random.default_rng(seed))
        return detail_kept(luma, mixed, mask) if mask.mean() >= COVERS else np.inf

    seed, all_kept = smooth_seed(luma, portrait.landmarks, seed=50), []
    while not all_kept or (all_kept[-1] > SMOOTH and len(all_kept) < 40):
        all_kept.append(kept(50 + len(all_kept)))
    assert seed == 50 + int(np.argmin(all_kept))
    assert (min(all_kept) > SMOOTH) == detailed
    assert detail_kept(luma, luma, np.ones_like(luma)) == pytest.approx(1)
    assert detail_kept(luma, np.full_like(luma, 9), np.ones_like(luma)) == pytest.approx(0, abs=1e-5)


def test_clips_move_alike_and_the_fake_one_is_blended_in_every_frame(portrait: Portrait, tmp_path: Path):
    av = pytest.importorskip("av")
    write_clips(portrait, tmp_path, seed=8)
    frames = {}
    for label in ("real", "fake"):
        with av.open(str(tmp_path / label / "Eileen_0001.mp4")) as container:
            stream = container.streams.video[0]
            assert stream.average_rate == 6
            frames[label] = [frame.to_ndarray(format="gray").astype(int) for frame in container.decode(stream)]
    assert len(frames["real"]) == len(frames["fake"]) == 22
    changes = [np.abs(r - f).mean() for r, f in zip(frames["real"], frames["fake"], strict=True)]
    moves = [np.abs(a - b).mean() for a, b in zip(frames["real"], frames["real"][1:], strict=False)]
    assert min(changes) > 0.3
    assert min(moves) > 0.5


# --------------------------------------------------------------------------- the whole way, as a person goes it


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("name", "people", "options"),
    [
        ("meso_cnn", 100, "--steps 400 --check-every 50 --rate 0.003 --batch 16"),
        ("noise_3dcnn", 70, "--steps 120 --check-every 20 --rate 0.01 --batch 8"),
        ("noise_gru", 70, "--steps 150 --check-every 25 --rate 0.02 --batch 16"),
    ],
)
def test_each_network_learns_from_blended_real_faces(
    research: Path, tmp_path: Path, name: str, people: int, options: str
):
    """The runs of the model cards. On people it never saw each is better than a net that says one half of everything (ln 2)."""
    clips = ["--clips"] if name != "meso_cnn" else []
    faces = ["--faces", str(research / "faces"), "--out", str(tmp_path / "data"), "--people", str(people)]
    assert main(["small", *faces, *clips]) == 0
    arguments = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), *options.split()]
    assert main(["train", name, *arguments]) == 0
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["validation"]["loss"] < 0.69
    assert card["validation"]["auc"] > 0.5
    assert card["data"]["used"]["test"]["identities"] >= 4
    assert card["test"]["auc_low"] <= card["test"]["auc"] <= card["test"]["auc_high"]
