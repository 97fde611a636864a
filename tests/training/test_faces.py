"""Which pictures train and which are held out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from detectors.training.doubles import doubles
from detectors.training.faces import HELD_OUT, PARTS, Bank, build_bank, identity_of, part_of

NAMES = [f"Person_{n % 30:02d}_{n // 30 + 1:04d}.jpg" for n in range(90)]


@pytest.mark.parametrize(
    ("name", "identity"),
    [
        ("Abdullah_Gul_0016.jpg", "grey:Abdullah_Gul"),
        ("KatrinaKaif_20.jpg", "grey:KatrinaKaif"),
        ("Dileep7.jpg", "grey:Dileep"),
        ("1_0_anhu_0200.jpg", "colour:anhu"),
        ("0_0_anhu_0004.jpg", "colour:anhu"),
        ("398.jpg", "unnamed"),
        ("augmented_image_227.jpg", None),
        ("2020-06-23-120107 (another copy).jpg", None),
    ],
)
def test_the_file_name_says_whose_face_it_is(name: str, identity: str | None):
    assert identity_of(Path("any") / name) == identity


def test_pictures_of_nobody_by_name_never_leave_the_train_part():
    assert part_of("unnamed") == "train"


def test_the_parts_have_about_their_shares():
    found = [part_of(f"grey:Somebody_{n}") for n in range(4000)]
    for part, share in HELD_OUT.items():
        assert found.count(part) / len(found) == pytest.approx(share, abs=0.02)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, astronaut: np.ndarray) -> Bank:
    folder = tmp_path_factory.mktemp("pictures")
    face = cv2.cvtColor(astronaut[40:230, 130:320], cv2.COLOR_RGB2BGR)
    for name in NAMES:
        cv2.imwrite(str(folder / name), face)
    cv2.imwrite(str(folder / "12.jpg"), face)
    cv2.imwrite(str(folder / "augmented_image_3.jpg"), face)

    def detect(image: np.ndarray) -> SimpleNamespace:
        height, width = image.shape[:2]
        box = np.array([[width * 0.36, height * 0.30, width * 0.62, height * 0.66]], np.float32)
        points = np.array([[[0.43, 0.43], [0.55, 0.43], [0.49, 0.51], [0.44, 0.57], [0.54, 0.57]]], np.float32)
        return SimpleNamespace(boxes=box, confidence=np.ones(1), landmarks=points * np.float32([width, height]))

    return build_bank(folder.glob("*.jpg"), folder / "bank", detect=detect)


def test_no_identity_lies_in_two_parts(built: Bank):
    assert len(built.rows) == len(NAMES) + 1  # the augmented one is left out
    parts_of_identity: dict[int, set[int]] = {}
    for row in built.rows:
        parts_of_identity.setdefault(int(row["identity"]), set()).add(int(row["part"]))
    assert len(parts_of_identity) == 31
    assert all(len(parts) == 1 for parts in parts_of_identity.values())
    assert {part for parts in parts_of_identity.values() for part in parts} == {0, 1, 2}


def test_the_stored_face_shows_its_landmarks_inside(built: Bank):
    for row in built.rows:
        assert (row["landmarks"] > 0).all()
        assert (row["landmarks"] < 160).all()


def test_a_held_out_person_who_trains_under_another_name_is_found(built: Bank):
    descriptors = np.eye(len(built.rows), 128, dtype=np.float32)  # everybody far from everybody
    assert len(doubles(built, descriptors)) == 0
    held, trained = built.of_part("test")[0], built.of_part("train")[0]
    descriptors[held] = descriptors[trained] + 0.01
    assert doubles(built, descriptors).tolist() == [built.rows["identity"][held]]
    assert PARTS[built.rows["part"][held]] == "test"
