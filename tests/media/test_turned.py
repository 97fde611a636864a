"""Faces on their side or head in the pixels: found, judged upright, placed right in the frame as shown, at a bounded cost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from backend.harvest.media_pack import harvest_pack
from backend.media.extract import warm_detector
from base_detector import BaseDetector, FacePack, load_detector
from tests.media.clips import encode, moving, scene

TURNS = (90, 180, 270)


def shown_turned(picture: np.ndarray, turn: int) -> np.ndarray:
    """``picture`` as it is shown when ``turn`` degrees clockwise make it upright."""
    return np.ascontiguousarray(np.rot90(picture, turn // 90))


def assert_found(pack: FacePack, turn: int, *, share: float = 1.0) -> None:
    """Faces in nearly every frame, with this turn, upright in their crops; the medium's note says so."""
    assert len(pack) >= share * len(pack.frames)
    assert set(pack.faces["turn"].tolist()) == {turn}
    assert [note.value for note in pack.notes if note.code == "faces_turned"] == [turn]
    for index in range(len(pack)):
        left, right, nose, mouth_left, mouth_right = pack.face(index).landmarks
        assert max(left[1], right[1]) < nose[1] < min(mouth_left[1], mouth_right[1])
        assert left[0] < right[0]


@pytest.fixture(scope="module")
def portrait_box(astronaut: np.ndarray) -> np.ndarray:
    """The box of the upright face of ``scene``."""
    return warm_detector().detect(scene(astronaut)).boxes[0]


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
def test_a_turned_still_is_judged_upright_and_its_box_is_where_the_face_is(
    run_pass, tmp_path: Path, astronaut: np.ndarray, portrait_box: np.ndarray, turn: int, kind: str
):
    upright = scene(astronaut)
    Image.fromarray(shown_turned(upright, turn)).save(tmp_path / f"a.{kind}", quality=92)
    pack = run_pass(tmp_path / f"a.{kind}")
    assert_found(pack, turn)
    np.testing.assert_allclose(pack.upright["box"][0], portrait_box, atol=12)
    x1, y1, x2, y2 = pack.faces["box"][0]
    marked = np.zeros(pack.frame_size[::-1], bool)
    marked[int(y1) : int(y2), int(x1) : int(x2)] = True
    wanted = np.zeros(upright.shape[:2], bool)
    left, top, right, bottom = portrait_box.astype(int)
    wanted[top:bottom, left:right] = True
    wanted = np.rot90(wanted, turn // 90)
    assert (marked & wanted).sum() > 0.7 * (marked | wanted).sum()
    harvest_pack(pack.folder, tmp_path / "harvested")


@pytest.mark.parametrize(
    ("turn", "name", "codec", "pix_fmt"),
    [
        (180, "a.mp4", "libx264", "yuv420p"),
        (90, "a.webm", "libvpx-vp9", "yuv420p"),
        (270, "a.mkv", "ffv1", "bgr0"),
        (180, "a.avi", "mpeg4", "yuv420p"),
        (90, "a.mov", "mjpeg", "yuvj420p"),
        (270, "a.ts", "mpeg2video", "yuv420p"),
        (180, "a.gif", "gif", "rgb8"),
    ],
)
def test_a_turned_clip_is_judged_upright_in_every_frame(
    run_pass, tmp_path: Path, astronaut: np.ndarray, turn: int, name: str, codec: str, pix_fmt: str
):
    pictures = [shown_turned(picture, turn) for picture in moving(astronaut, count=8)]
    pack = run_pass(encode(tmp_path / name, pictures, codec=codec, pix_fmt=pix_fmt))
    assert_found(pack, turn)
    assert [person.faces for person in pack.persons] == [8]


def pair(astronaut: np.ndarray, *, turn: int, shift: int = 0) -> np.ndarray:
    """Two people in a wide picture: the left one upright, the right one (in other light) turned."""
    small = cv2.resize(astronaut, (220, 220), interpolation=cv2.INTER_AREA)
    canvas = np.full((240, 480, 3), 60, np.uint8)
    canvas[10:230, 10 + shift : 230 + shift] = small
    canvas[10:230, 250:470] = shown_turned(cv2.flip(small, 1) // 4 * 3, turn)
    return canvas


@pytest.mark.parametrize("turn", TURNS)
def test_one_person_upright_and_one_turned_are_both_judged_each_in_its_own_direction(
    run_pass, tmp_path: Path, astronaut: np.ndarray, turn: int
):
    Image.fromarray(pair(astronaut, turn=turn)).save(tmp_path / "a.jpg", quality=95)
    pack = run_pass(tmp_path / "a.jpg")
    left, right = sorted(pack.faces, key=lambda row: row["box"][0])
    assert (left["turn"], right["turn"]) == (0, turn)
    assert left["box"][2] < 240 < right["box"][0]


def test_a_person_who_lies_beside_another_one_in_a_clip_is_judged(run_pass, tmp_path: Path, astronaut: np.ndarray):
    clip = encode(tmp_path / "a.mp4", [pair(astronaut, turn=90, shift=index // 3) for index in range(30)])
    pack = run_pass(clip)
    assert len(pack.persons) == 2
    rows = pack.faces
    assert (rows["turn"][rows["box"][:, 0] < 240] == 0).all()
    lying = rows[rows["box"][:, 0] > 240]
    assert set(lying["turn"].tolist()) == {90}
    assert len(lying) >= 25  # other directions are tried in the second search, and what they find is followed back


def test_a_camera_that_is_turned_over_in_mid_clip_and_cuts_are_followed(
    run_pass, tmp_path: Path, astronaut: np.ndarray
):
    upright = moving(astronaut, count=20, step=1)
    black = [np.zeros_like(upright[0])] * 10
    clip = encode(tmp_path / "a.mp4", black + upright + [shown_turned(picture, 180) for picture in upright])
    pack = run_pass(clip)
    turns = dict(zip(pack.faces["frame"].tolist(), pack.faces["turn"].tolist(), strict=True))
    assert all(turns[frame] == 0 for frame in range(10, 30))
    assert all(turns[frame] == 180 for frame in range(30, 50))


# --------------------------------------------------------------------------- cost


class Counting:
    """MTCNN that counts its pixels."""

    def __init__(self) -> None:
        self.pixels: list[int] = []

    def detect(self, image: np.ndarray, *, min_face: float = 20.0):
        self.pixels.append(image.shape[0] * image.shape[1])
        return warm_detector().detect(image, min_face=min_face)

    def settle(self, image: np.ndarray, boxes: np.ndarray):
        return warm_detector().settle(image, boxes)


def count(run_pass: Callable[..., FacePack], clip: Path, **options) -> tuple[FacePack, list[int]]:
    detector = Counting()
    return run_pass(clip, detector=detector, **options), detector.pixels


def landscape(width: int = 480, height: int = 360) -> np.ndarray:
    noise = np.random.default_rng(11).integers(0, 255, (9, 12, 3), np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def test_a_clip_without_a_face_costs_a_few_searches_more(run_pass, tmp_path: Path):
    wide = landscape(800)
    clip = encode(tmp_path / "a.mp4", [wide[:, index : index + 480] for index in range(150)])
    pack, pixels = count(run_pass, clip)
    whole = sum(size == 480 * 360 for size in pixels)
    assert not len(pack)
    usual = 31  # every fifth picture
    assert usual <= whole <= usual + 3 * (4 + usual // 30)
    assert len(pixels) - whole < 20  # looks at what seemed to be a face


def test_an_ordinary_clip_pays_one_small_try(run_pass, tmp_path: Path, astronaut: np.ndarray):
    pictures = [cv2.resize(picture, (720, 540)) for picture in moving(astronaut, count=50, step=1)]
    pack, pixels = count(run_pass, encode(tmp_path / "a.mp4", pictures))
    assert len(pack) == 50
    whole = [size for size in pixels if size == 720 * 540]
    tries = [size for size in pixels if size == 360 * 270]
    assert len(tries) <= 3
    assert len(whole) <= 12
    assert sum(tries) < 0.1 * sum(whole)


def test_a_face_that_looks_upright_on_its_head_does_not_pass_as_upright(run_pass, tmp_path: Path, research: Path):
    """MTCNN finds these on their heads with a confidence of .93 and more, and the second look believes it."""
    import av

    for name in ("real_r083.mp4", "real_r092.mp4", "real_r152.mp4"):
        with av.open(str(research / "media" / "clips" / name)) as container:
            picture = [
                frame.to_ndarray(format="rgb24") for frame, _ in zip(container.decode(video=0), range(21), strict=False)
            ][-1]
        assert warm_detector().detect(shown_turned(picture, 180)).confidence.max() > 0.9
        Image.fromarray(shown_turned(picture, 180)).save(tmp_path / f"{name}.png")
        assert_found(run_pass(tmp_path / f"{name}.png", name=name), 180)


# --------------------------------------------------------------------------- scores


@pytest.fixture(scope="module")
def judge() -> BaseDetector:
    loaded = load_detector("detectors.selfblend")
    loaded.load(Path("nowhere"), "cpu")
    return loaded


def mean_score(judge: BaseDetector, pack: FacePack, out: Path) -> float:
    out.mkdir()
    return float(np.mean(judge.run_pack(pack, out)["fake_score"]))


@pytest.mark.parametrize(
    ("name", "turn"),
    [
        ("ffpp_deepfakes_519_515.mp4", 180),
        ("ffpp_neuraltextures_004_982.mp4", 270),
        ("ffpp_real_519.mp4", 180),
        ("ffpp_real_004.mp4", 90),
    ],
)
def test_a_turned_clip_scores_as_the_upright_one(run_pass, tmp_path: Path, research: Path, judge, name: str, turn: int):
    import av

    with av.open(str(research / "media" / name)) as container:
        pictures = [
            frame.to_ndarray(format="rgb24") for frame, _ in zip(container.decode(video=0), range(6), strict=False)
        ]
    upright = encode(tmp_path / "upright.mkv", pictures, codec="ffv1", pix_fmt="bgr0")
    turned = encode(tmp_path / "turned.mkv", [shown_turned(p, turn) for p in pictures], codec="ffv1", pix_fmt="bgr0")
    packs = [run_pass(clip, name=clip.stem) for clip in (upright, turned)]
    assert_found(packs[1], turn)
    scores = [mean_score(judge, pack, tmp_path / f"out{number}") for number, pack in enumerate(packs)]
    assert scores[1] == pytest.approx(scores[0], abs=0.05)
