"""JPEG and PNG files that lost bytes: only rows that the rest of the file determines are looked at."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")

from PIL import Image

from backend.media.limits import UNLIMITED, MediaLimits
from backend.media.mending import whole_part
from backend.media.opening import open_medium
from base_detector import WorkerFailure
from shared.findings import Note
from tests.media.clips import scene

KINDS = {
    "baseline": ("JPEG", "RGB", {}),
    "no subsampling": ("JPEG", "RGB", {"subsampling": 0, "optimize": True}),
    "progressive": ("JPEG", "RGB", {"progressive": True}),
    "restart markers": ("JPEG", "RGB", {"restart_marker_blocks": 7}),
    "grey": ("JPEG", "L", {}),
    "cmyk": ("JPEG", "CMYK", {}),
    "png": ("PNG", "RGB", {}),
    "png with palette": ("PNG", "P", {}),
    "png with alpha": ("PNG", "RGBA", {}),
}


@pytest.fixture(scope="module")
def saved(astronaut: np.ndarray) -> Callable[[str], bytes]:
    """The portrait as a file of a kind."""

    def save(kind: str) -> bytes:
        container, mode, options = KINDS[kind]
        buffer = io.BytesIO()
        Image.fromarray(astronaut).convert(mode).save(buffer, container, **options)
        return buffer.getvalue()

    return save


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def refused(content: bytes) -> str:
    with pytest.raises(WorkerFailure) as caught:
        whole_part(content, limits=UNLIMITED)
    return caught.value.code


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_without_a_fault_is_left_alone(saved: Callable, kind: str):
    content = saved(kind)
    for behind in (b"", bytes(4096), b"\0\0\0\x18ftypmp42" + np.random.default_rng(3).bytes(4096)):
        assert whole_part(content + behind, limits=UNLIMITED) is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("left", [0.95, 0.6])
@pytest.mark.parametrize("filled", [False, True], ids=["cut", "filled with zeros"])
def test_what_is_kept_of_a_file_without_its_end_is_the_picture_itself(
    saved: Callable, kind: str, left: float, filled: bool
):
    content = saved(kind)
    kept = int(len(content) * left)
    broken = content[:kept] + bytes(len(content) - kept if filled else 0)
    if kind == "progressive" and left < 0.9:  # details of all rows are missing
        assert refused(broken) == "picture_cut_off"
        return
    if kind == "png with palette" and filled and left < 0.9:  # one damaged chunk: nothing of it can be believed
        assert refused(broken) == "picture_cut_off"
        return
    part = whole_part(broken, limits=UNLIMITED)
    assert part is not None
    shown, true = pixels(part.content), pixels(content)
    assert shown.shape[1:] == true.shape[1:]
    assert 16 <= len(shown) < len(true)
    assert part.share == pytest.approx(len(shown) / len(true))
    np.testing.assert_array_equal(shown[:-1], true[: len(shown) - 1])
    assert np.abs(shown[-1] - true[len(shown) - 1]).max() < 16  # chroma is smoothed across rows


@pytest.mark.parametrize("kind", ["baseline", "progressive", "restart markers", "grey"])
def test_a_jpeg_that_lacks_only_its_end_marker_is_whole(saved: Callable, kind: str, tmp_path: Path):
    content = saved(kind)
    (tmp_path / "a.jpg").write_bytes(content[:-2])
    with open_medium(tmp_path / "a.jpg", limits=UNLIMITED) as medium:
        picture = next(iter(medium.pictures())).rgb()
        assert list(medium.notes) == []
    np.testing.assert_array_equal(picture, pixels(content))


@pytest.mark.parametrize("kind", ["baseline", "restart markers", "grey"])
def test_a_hole_ends_the_whole_part(saved: Callable, kind: str):
    content = saved(kind)
    middle = len(content) // 2
    part = whole_part(content[:middle] + bytes(1024) + content[middle + 1024 :], limits=UNLIMITED)
    assert part is not None
    shown = pixels(part.content)
    assert 0.2 < part.share < 0.8
    np.testing.assert_array_equal(shown[:-1], pixels(content)[: len(shown) - 1])


@pytest.mark.parametrize("kind", ["baseline", "progressive", "restart markers", "grey"])
def test_a_jpeg_damaged_at_an_unknown_place_is_refused(saved: Callable, kind: str):
    content = saved(kind)
    middle = len(content) // 2
    assert refused(content[:middle] + content[middle + 1024 :]) == "media_unreadable"


def test_a_png_damaged_in_the_middle_is_whole_up_to_there(astronaut: np.ndarray):
    buffer = io.BytesIO()
    Image.fromarray(np.tile(astronaut, (2, 1, 1))).save(buffer, "PNG")
    content = bytearray(buffer.getvalue())
    content[len(content) // 2] ^= 0x55
    part = whole_part(bytes(content), limits=UNLIMITED)
    assert part is not None
    assert 0.3 < part.share < 0.6
    shown = pixels(part.content)
    np.testing.assert_array_equal(shown, np.tile(astronaut, (2, 1, 1))[: len(shown)])


def test_an_interlaced_png_without_its_end_is_refused(astronaut: np.ndarray):
    buffer = io.BytesIO()
    Image.fromarray(astronaut).save(buffer, "PNG")
    content = bytearray(buffer.getvalue())
    content[28] = 1  # the header's interlace method; its checksum follows
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    assert refused(bytes(content[: len(content) // 2])) == "picture_cut_off"


def test_too_many_pixels_are_refused_before_anything_is_decoded(saved: Callable):
    limits = MediaLimits(max_duration_s=1, max_pixels=1000, max_frames=1, max_pack_mb=1, media_timeout_s=1)
    for kind in ("baseline", "png"):
        with pytest.raises(WorkerFailure, match="media_too_large"):
            whole_part(saved(kind)[:-400], limits=limits)


# --------------------------------------------------------------------------- faces


@pytest.mark.parametrize(
    ("orientation", "edge"),
    [(1, "bottom"), (2, "bottom"), (3, "top"), (4, "top"), (5, "right"), (6, "left"), (7, "left"), (8, "right")],
)
def test_the_cut_is_at_the_side_where_the_missing_rows_would_be(
    tmp_path: Path, astronaut: np.ndarray, orientation: int, edge: str
):
    tag = Image.Exif()
    tag[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(astronaut).save(buffer, "JPEG", exif=tag, quality=95)
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue()[:-30_000])
    with open_medium(tmp_path / "a.jpg", limits=UNLIMITED) as medium:
        facts = medium.facts()
        width, height = facts.width, facts.height
        near = {
            "bottom": (100, height - 101, 200, height - 1), "top": (100, 1, 200, 101),
            "left": (1, 100, 101, 200), "right": (width - 101, 100, width - 1, 200),
        }  # fmt: skip
        for side, box in near.items():
            assert medium.whole(np.array(box, np.float32)) == (side != edge)


def test_a_face_in_the_whole_part_is_judged_and_the_loss_is_said(run_pass, tmp_path: Path, astronaut: np.ndarray):
    for name in ("a.jpg", "a.png"):
        Image.fromarray(scene(astronaut)).save(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: int(len(content) * 0.75)])
        pack = run_pass(tmp_path / name, name=name[2:])
        assert len(pack) == 1
        (note,) = pack.notes
        assert note == Note("cut_off", value=pytest.approx(pack.media.height / 240, abs=1e-3))
        assert 120 < pack.media.height < 235


@pytest.mark.parametrize("share", [0.12, 0.28], ids=["above the face", "through the face"])
def test_a_face_that_is_not_whole_is_not_judged(run_pass, tmp_path: Path, astronaut: np.ndarray, share: float):
    """The face of the portrait is in its rows 60 to 175 of 512."""
    buffer = io.BytesIO()
    Image.fromarray(astronaut).save(buffer, "JPEG", quality=90)
    content = buffer.getvalue()[: int(len(buffer.getvalue()) * share)]
    part = whole_part(content, limits=UNLIMITED)
    assert part is not None
    assert part.share * 512 < 175
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(WorkerFailure, match="picture_cut_off"):
        run_pass(tmp_path / "a.jpg")
