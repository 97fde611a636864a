"""Data sets on disk: identities, parts, and faces that are found once."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from base_detector import Face, FacePack, load_detector
from detectors.training import store
from detectors.training.dataset import PARTS, DataError, Item, counts, part_of, read_dataset
from detectors.training.kinds import kind_of
from detectors.training.store import Look, find_faces, main_face

LOOK = Look(side=40, margin=1.2, sampling="fps:6", most=30)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


# --------------------------------------------------------------------------- layouts


def test_folders_give_identities_by_sub_folder_or_name(tmp_path: Path):
    touch(
        tmp_path,
        "real/000.mp4",
        "fake/000_003.mp4",
        "real/Ada_L_0001.jpg",
        "real/Ada_L_0002.jpg",
        "fake/bob/take_7.MP4",
        "real/bob/x/one.png",
        "real/notes.txt",
        "other/clip.mp4",
    )
    found = {item.name: (item.identity, item.fake, item.is_picture) for item in read_dataset(tmp_path)}
    assert found == {
        "real/000.mp4": ("000", False, False),
        "fake/000_003.mp4": ("000", True, False),
        "real/Ada_L_0001.jpg": ("Ada_L", False, True),
        "real/Ada_L_0002.jpg": ("Ada_L", False, True),
        "fake/bob/take_7.MP4": ("bob", True, False),
        "real/bob/x/one.png": ("bob", False, True),
    }


def test_parts_of_the_dfdc_give_the_original_as_identity(tmp_path: Path):
    touch(tmp_path, "part_0/a.mp4", "part_0/b.mp4", "part_1/c.mp4", "part_1/d.mp4")
    first = {
        "a.mp4": {"label": "REAL", "split": "train", "original": None},
        "b.mp4": {"label": "FAKE", "split": "train", "original": "a.mp4"},
        "gone.mp4": {"label": "FAKE", "split": "train", "original": "a.mp4"},
    }
    second = {"c.mp4": {"label": "FAKE", "original": "a.mp4"}, "d.mp4": {"label": "REAL"}}
    for name, table in (("part_0", first), ("part_1", second)):
        (tmp_path / name / "metadata.json").write_text(json.dumps(table))
    found = {item.name: (item.identity, item.fake) for item in read_dataset(tmp_path)}
    assert found == {
        "part_0/a.mp4": ("a.mp4", False),
        "part_0/b.mp4": ("a.mp4", True),
        "part_1/c.mp4": ("a.mp4", True),
        "part_1/d.mp4": ("d.mp4", False),
    }


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("[1]", "is not a metadata.json of the DFDC"),
        ("{broken", "is not a metadata.json of the DFDC"),
        ('{"a.mp4": {"label": "MAYBE"}}', "it must be REAL or FAKE"),
        ('{"a.mp4": {"label": "REAL"}}', "has 1 real and 0 fake"),
        ('{"../../a.mp4": {"label": "REAL"}}', "has 1 real and 0 fake"),  # a table names files beside it, nothing else
    ],
)
def test_a_table_that_cannot_be_used_is_reported(tmp_path: Path, table: str, sentence: str):
    touch(tmp_path, "a.mp4")
    (tmp_path / "metadata.json").write_text(table)
    with pytest.raises(DataError, match=sentence):
        read_dataset(tmp_path)


def test_an_empty_folder_is_told_what_to_hold(tmp_path: Path):
    with pytest.raises(DataError, match=r"has 0 real and 0 fake .*/real and .*/fake, or name a folder of the DFDC"):
        read_dataset(tmp_path)


# --------------------------------------------------------------------------- parts


def test_no_identity_lies_in_two_parts_and_parts_have_their_shares():
    names = [f"person {n}" for n in range(4000)]
    items = [Item(Path(f"{n}.mp4"), f"{n}.mp4", n % 3 > 0, names[n // 3]) for n in range(12000)]
    parts: dict[str, set] = {}
    for item in items:
        parts.setdefault(item.identity, set()).add(item.part)
    assert len(parts) == 4000
    assert all(len(own) == 1 for own in parts.values())
    shares = Counter(part_of(name) for name in names)
    for part, share in PARTS.items():
        assert shares[part] / 4000 == pytest.approx(share, abs=0.025)
    found = counts(items)
    assert sum(row["identities"] for row in found.values()) == 4000
    assert sum(row["real"] + row["fake"] for row in found.values()) == 12000
    assert {part: row["identities"] for part, row in found.items()} == dict(shares)


# --------------------------------------------------------------------------- faces


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the items that were searched; every search finds three grey faces, a file named ``empty`` none."""
    names: list[str] = []

    def faces_of(self, item):
        names.append(item.name)
        if "empty" in item.name:
            return np.zeros((0, 40, 40, 3), np.uint8), [], [], "no_face"
        return np.full((3, 40, 40, 3), 7, np.uint8), [0.0, 0.5, 1.0], [0, 0, 1], ""

    monkeypatch.setattr(store._Finder, "faces_of", faces_of)
    return names


def test_a_second_run_opens_no_file_again_and_a_changed_file_once(tmp_path: Path, opened: list[str]):
    touch(tmp_path / "data", "real/a.mp4", "fake/a_1.mp4", "real/empty.mp4")
    items = read_dataset(tmp_path / "data")
    first, without = find_faces(items, tmp_path / "cache", look=LOOK, tell=lambda line: None)
    assert [source.item.name for source in first] == ["fake/a_1.mp4", "real/a.mp4"]
    assert without == {"no_face": 1}
    assert sorted(opened) == ["fake/a_1.mp4", "real/a.mp4", "real/empty.mp4"]
    second, again = find_faces(items, tmp_path / "cache", look=LOOK, tell=lambda line: None)
    assert len(opened) == 3
    assert again == without
    assert isinstance(second[0].pixels, np.memmap)
    np.testing.assert_array_equal(second[0].pixels, first[0].pixels)
    assert second[0].shots.tolist() == [0, 0, 1]
    os.utime(tmp_path / "data/real/a.mp4", ns=(1, 1))
    find_faces(items, tmp_path / "cache", look=LOOK, tell=lambda line: None)
    assert opened[3:] == ["real/a.mp4"]


def test_an_interrupted_search_goes_on_where_it_stopped(
    tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
):
    touch(tmp_path / "data", *(f"real/{n}.mp4" for n in range(4)), "fake/0_1.mp4")
    items = read_dataset(tmp_path / "data")
    whole = store._write

    def broken(path, *found):
        whole(path, *found)
        if len(opened) == 3:
            path.with_suffix(".json").unlink()  # as if the power had gone before the last rename
            raise KeyboardInterrupt

    monkeypatch.setattr(store, "_write", broken)
    with pytest.raises(KeyboardInterrupt):
        find_faces(items, tmp_path / "cache", look=LOOK, tell=lambda line: None)
    monkeypatch.setattr(store, "_write", whole)
    assert len(find_faces(items, tmp_path / "cache", look=LOOK, tell=lambda line: None)[0]) == 5
    assert Counter(opened) == Counter([item.name for item in items] + [items[2].name])


def test_faces_of_a_clip_are_those_the_detector_sees(astronaut_clip: Path, tmp_path: Path):
    from backend.media.extract import extract_pack

    (tmp_path / "data" / "real").mkdir(parents=True)
    path = tmp_path / "data" / "real" / "eileen_1.mp4"
    path.write_bytes(astronaut_clip.read_bytes())
    kind = kind_of("meso_cnn")
    look = Look(side=150, margin=1.2, sampling="frames:5", most=4)
    (found,), without = find_faces([Item(path, "real/eileen_1.mp4", False, "eileen")], tmp_path / "cache", look=look)
    assert without == {}
    extract_pack(astronaut_clip, tmp_path / "pack", samplings=["frames:5"], context=2.0)
    pack = FacePack(tmp_path / "pack")
    assert len(pack) >= len(found.pixels) == 4
    detector = load_detector("detectors.meso_cnn")
    for index, pixels in enumerate(found.pixels):
        seen = detector.preproc(detector.crop_face(pack.image(index), pack.face(index)))
        np.testing.assert_array_equal(kind.prepare(pixels[None]), seen)
        assert found.times[index] == pack.faces[index]["time_s"]


def test_a_picture_is_scaled_as_the_detector_scales_it():
    image = np.random.default_rng(1).integers(0, 256, (90, 120, 3), np.uint8)
    box = np.array([20, 10, 80, 70], np.float32)
    detector = load_detector("detectors.mever")
    look = kind_of("mever-m1").look
    face = Face(box=box, landmarks=np.full((5, 2), np.nan, np.float32))
    seen = detector.preproc(detector.crop_face(image, face))
    np.testing.assert_allclose(kind_of("mever-m1").prepare(look.cut(image, box)[None]), seen, atol=1e-6)
    own = replace(look, scaling="own")
    assert not np.array_equal(own.cut(image, box), look.cut(image, box))
    assert own.folder(Path("x")) != look.folder(Path("x"))


def test_the_largest_sure_face_of_a_picture_is_taken_in_its_own_pixels():
    class Found:
        boxes = np.array([[300, 300, 340, 350], [310, 320, 410, 440], [300, 300, 500, 500]], np.float32)
        confidence = np.array([0.99, 0.99, 0.5])
        landmarks = np.tile(np.array([[350, 360]], np.float32), (3, 5, 1))

    asked = []

    def detect(image):
        asked.append(image.shape)
        return Found

    box, landmarks = main_face(np.zeros((200, 250, 3), np.uint8), detect=detect)
    assert asked == [(400, 450, 3)]  # 40 % of the longer side on each side
    np.testing.assert_allclose(box, [210, 220, 310, 340])
    np.testing.assert_allclose(landmarks, np.tile([[250, 260]], (5, 1)))
    main_face(np.zeros((1600, 1600, 3), np.uint8), detect=detect)
    assert asked[1] == (640, 640, 3)
