"""The small set to try the training commands with."""

from __future__ import annotations

import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from detectors.training.blends import blend
from detectors.training.dataset import read_dataset
from detectors.training.small import CLEAR, PLAIN, SIDE, Portrait, clear_seed, portraits, write_clips, write_pictures
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


def test_pictures_are_pairs_that_differ_in_a_clear_blend_alone(portrait: Portrait, tmp_path: Path):
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
        assert np.abs(real - fake).max() > PLAIN
    write_pictures(portrait, tmp_path / "again", seed=3)
    for item in items:
        assert item.path.read_bytes() == (tmp_path / "again" / item.name).read_bytes()


def test_a_clear_seed_is_the_first_that_is_clear(portrait: Portrait):
    seed = clear_seed(portrait.luma, portrait.landmarks, seed=50, change=CLEAR)
    mixed, mask = blend(portrait.luma, portrait.landmarks, rng=np.random.default_rng(seed))
    assert np.abs(mixed - portrait.luma).sum() / mask.sum() >= CLEAR
    for before in range(50, seed):
        mixed, mask = blend(portrait.luma, portrait.landmarks, rng=np.random.default_rng(before))
        assert np.abs(mixed - portrait.luma).sum() / mask.sum() < CLEAR


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
    ("name", "people", "steps", "least"),
    [("meso_cnn", 120, 300, 0.55), ("noise_3dcnn", 60, 120, 0.55), ("noise_gru", 60, 400, 0.5)],
)
def test_each_network_learns_from_blended_real_faces(
    research: Path, tmp_path: Path, name: str, people: int, steps: int, least: float
):
    import json

    from detectors.training.__main__ import main

    clips = ["--clips"] if name != "meso_cnn" else []
    faces = ["--faces", str(research / "faces"), "--out", str(tmp_path / "data"), "--people", str(people)]
    assert main(["small", *faces, *clips]) == 0
    arguments = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--steps", str(steps)]
    assert main(["train", name, *arguments, "--check-every", str(steps // 4)]) == 0
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["validation"]["auc"] > least
    assert card["run"]["steps"] == steps
