"""Pictures that change their size or shape within a clip, and pixels that are not square: shown, judged and drawn in their own shape."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext

from backend.harvest.media_pack import harvest_pack
from backend.media.limits import UNLIMITED, MediaLimits
from backend.media.marks import Marks
from backend.media.panel import Rect
from backend.media.render import lay_out, render
from backend.media.shape import believed_aspect, squared
from backend.media.shots import ShotFinder
from backend.media.video import VideoMedium
from shared.errors import PermanentError
from shared.settings import Settings
from tests.media.clips import scene
from tests.media.test_clock_video import plan

LIMITS = MediaLimits.of(Settings())


@dataclass(frozen=True)
class Part:
    """A run of pictures of one size; ``aspect`` of its pixels, ``turn``: clockwise degrees that its display matrix asks for."""

    size: tuple[int, int]
    count: int = 8
    aspect: Fraction = Fraction(1)
    turn: int = 0

    @property
    def shown(self) -> tuple[int, int]:
        width, height = round(self.size[0] * self.aspect), self.size[1]
        return (height, width) if self.turn % 180 else (width, height)


def view(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The middle of ``picture`` in the shape of ``size``, scaled to it: what a camera sees that is turned."""
    height, width = picture.shape[:2]
    factor = max(size[0] / width, size[1] / height)
    across, down = min(width, round(size[0] / factor)), min(height, round(size[1] / factor))
    left, top = (width - across) // 2, (height - down) // 2
    return cv2.resize(picture[top : top + down, left : left + across], size, interpolation=cv2.INTER_AREA)


def changing(
    path: Path, picture: np.ndarray, parts: Sequence[Part], *, codec: str, options: dict[str, str] | None = None
) -> Path:
    """``picture`` encoded in ``parts``, one encoder each, in one stream. As shown, all parts have the same view."""
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *parts[0].size, pix_fmt
        start = 0
        for part in parts:
            encoder = av.CodecContext.create(codec, "w")
            encoder.width, encoder.height, encoder.pix_fmt = *part.size, pix_fmt
            encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
            encoder.options = options or {}
            if part.aspect != 1:
                encoder.sample_aspect_ratio = part.aspect
            shown = view(picture, part.shown)
            stored = cv2.resize(np.rot90(shown, part.turn // 90), part.size, interpolation=cv2.INTER_AREA)
            turned = (
                BitStreamFilterContext(f"h264_metadata=display_orientation=insert:rotate={-part.turn % 360}", stream)
                if part.turn
                else None
            )
            for k in [*range(part.count), None]:
                frame = None
                if k is not None:
                    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(stored), format="rgb24")
                    frame.pts = k
                for packet in encoder.encode(frame):
                    for done in turned.filter(packet) if turned else [packet]:
                        fresh = av.Packet(bytes(done))
                        fresh.pts, fresh.dts = done.pts + start, done.dts + start
                        fresh.time_base, fresh.stream, fresh.is_keyframe = Fraction(1, 25), stream, done.is_keyframe
                        out.mux(fresh)
            start += part.count
    return path


NO_B = {"bf": "0"}
HEVC = {"x265-params": "log-level=none:bframes=0"}
SMALL, LARGE, TALL = Part((160, 120)), Part((320, 240), count=12), Part((240, 320), count=12)
VARIANTS = {
    "h264 grows.mp4": ("libx264", [SMALL, LARGE], NO_B),
    "h264 shrinks.mkv": ("libx264", [LARGE, SMALL], NO_B),
    "h264 turned.ts": ("libx264", [replace(LARGE, count=8), TALL], NO_B),
    "h264 there and back.mov": ("libx264", [LARGE, SMALL, LARGE], NO_B),
    "h264 with b-frames.ts": ("libx264", [SMALL, LARGE], {"bf": "2"}),
    "hevc grows.mp4": ("libx265", [SMALL, LARGE], HEVC),
    "hevc turned.ts": ("libx265", [replace(LARGE, count=8), TALL], HEVC),
    "vp8 grows.webm": ("libvpx", [SMALL, LARGE], {}),
    "vp9 turned.webm": ("libvpx-vp9", [replace(LARGE, count=8), TALL], {}),
    "mpeg-4 shrinks.avi": ("mpeg4", [LARGE, SMALL], {}),
    "h264 grows.flv": ("libx264", [SMALL, LARGE], NO_B),
    "mjpeg at each picture.mov": ("mjpeg", [replace(SMALL, count=1), replace(TALL, count=1)] * 3 + [LARGE], {}),
    "h264 pixels become wide.ts": ("libx264", [LARGE, Part((160, 240), aspect=Fraction(2))], NO_B),
    "h264 pixels become wide, b-frames.ts": ("libx264", [LARGE, Part((160, 240), aspect=Fraction(2))], {"bf": "2"}),
    "mpeg-2 pixels become wide.ts": ("mpeg2video", [Part((320, 240), aspect=Fraction(1)), Part((320, 240), aspect=Fraction(4, 3))], {}),
    "h264 display matrix turns.ts": ("libx264", [LARGE, replace(LARGE, turn=90, count=8)], NO_B),
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_each_picture_has_its_own_size_and_shape(tmp_path: Path, astronaut: np.ndarray, name: str):
    codec, parts, options = VARIANTS[name]
    picture = scene(astronaut)
    clip = changing(tmp_path / name, picture, parts, codec=codec, options=options)
    expected = [part.shown for part in parts for _ in range(part.count)]
    thumbs = set()
    with VideoMedium(clip, limits=UNLIMITED) as medium:
        found = []
        for item in medium.pictures():
            found.append(item.size)
            assert item.rgb().shape == (item.size[1], item.size[0], 3)
            wanted = view(picture, item.size).astype(float)
            assert np.abs(item.rgb() - wanted).mean() < 12, item.index
            thumbs.add(item.thumb().shape)
        facts = medium.facts()
    assert found == expected
    assert len(thumbs) == 1
    assert (facts.width, facts.height) == max(dict.fromkeys(expected), key=expected.count)
    starts = [0, *(k for k in range(1, len(expected)) if expected[k] != expected[k - 1])]
    assert facts.sizes == (tuple((k, *expected[k]) for k in starts) if len(starts) > 1 else ())
    assert ("size_changes" in [note.code for note in medium.notes]) == (len(set(expected)) > 1)
    aspects = [part.aspect for part in parts if part.aspect != 1]
    assert [note.value for note in medium.notes if note.code == "pixels_not_square"] == pytest.approx(aspects[:1])


@pytest.mark.parametrize(
    ("name", "codec", "parts"),
    [
        ("grows.webm", "libvpx", [Part((160, 120), count=8), Part((640, 480), count=10)]),
        ("turned.ts", "libx264", [Part((640, 480), count=8), Part((360, 640), count=10)]),
        ("wide.mp4", "libx264", [Part((320, 480), count=10, aspect=Fraction(2))]),
    ],
)
def test_faces_are_cut_from_the_picture_as_shown_and_are_one_person(
    run_pass, tmp_path: Path, astronaut, name, codec, parts
):
    clip = changing(tmp_path / name, scene(astronaut, width=640, height=480, side=440, left=130), parts, codec=codec)
    pack = run_pass(clip)
    harvest_pack(pack.folder, tmp_path / "harvested")
    assert [person.faces for person in pack.persons] == [sum(part.count for part in parts)]
    sizes = {
        frame: part.shown for frame, part in zip(range(100), [p for p in parts for _ in range(p.count)], strict=False)
    }
    for row in pack.faces:
        width, height = sizes[int(row["frame"])]
        factor = max(width / 640, height / 480)
        middle, own = np.array([320, 240] * 2), np.array([width / 2, height / 2] * 2)
        box = (row["box"] - own) / factor + middle  # in pixels of the whole view
        np.testing.assert_allclose(box, [284, 65, 359, 160], atol=12)
        assert not row["tracked"] or sizes[int(row["frame"]) - 1] == sizes[int(row["frame"])]


def test_a_change_of_size_alone_is_no_cut(tmp_path: Path, astronaut: np.ndarray):
    view = scene(astronaut, width=640, height=480, side=440)
    parts = [
        Part((640, 480), count=20),
        Part((320, 240), count=20),
        Part((160, 120), count=20),
        Part((640, 480), count=20),
    ]
    clip = changing(tmp_path / "a.mkv", view, parts, codec="libx264", options=NO_B)
    shots = ShotFinder(fps=25.0)
    with VideoMedium(clip, limits=UNLIMITED) as medium:
        jumps = [shots.feed(picture) for picture in medium.pictures()]
    assert not any(jumps)
    assert len(shots.shots()) == 1


def test_a_crop_outside_its_own_frame_is_refused(run_pass, tmp_path: Path, astronaut: np.ndarray):
    parts = [Part((160, 120), count=4), Part((320, 240), count=6)]
    pack = run_pass(changing(tmp_path / "a.mkv", scene(astronaut), parts, codec="libx264", options=NO_B))
    content = json.loads((pack.folder / "pack.json").read_text())
    assert content["media"]["sizes"] == [[0, 160, 120], [4, 320, 240]]
    for sizes in ([[0, 320, 240], [4, 160, 120]], [[1, 320, 240]], [[4, 320, 240], [0, 160, 120]]):
        content["media"]["sizes"] = sizes
        (pack.folder / "pack.json").write_text(json.dumps(content))
        with pytest.raises(PermanentError, match="media_bad_output"):
            harvest_pack(pack.folder, tmp_path / "harvested")


# --------------------------------------------------------------------------- pixels that are not square


@pytest.mark.parametrize(
    ("stored", "aspect", "believed"),
    [
        ((720, 576), Fraction(16, 15), Fraction(16, 15)),  # PAL
        ((720, 480), Fraction(8, 9), Fraction(8, 9)),  # NTSC
        ((1440, 1080), Fraction(4, 3), Fraction(4, 3)),  # HDV
        ((360, 480), Fraction(2), Fraction(2)),
        ((640, 480), None, 1),
        ((640, 480), Fraction(0), 1),
        ((640, 480), Fraction(1000), 1),
        ((640, 480), Fraction(1, 1000), 1),
        ((1920, 1080), Fraction(16, 9), 1),  # the shape of the display, written as that of a pixel
        ((1080, 1920), Fraction(9, 16), 1),
        ((852, 480), Fraction(1280, 1281), 1),  # rounding
    ],
)
def test_aspect_ratios_that_cannot_be_meant_are_ignored(
    stored: tuple[int, int], aspect: Fraction | None, believed: Fraction
):
    assert believed_aspect(stored, aspect) == believed


def test_stretching_never_passes_the_limit_of_pixels():
    assert squared((360, 480), Fraction(2), max_pixels=10**6) == (720, 480)
    assert squared((720, 480), Fraction(1, 2), max_pixels=10**6) == (720, 960)
    assert squared((360, 480), Fraction(2), max_pixels=360 * 480) == (360, 240)
    assert squared((720, 480), Fraction(1, 2), max_pixels=720 * 480) == (360, 480)


# --------------------------------------------------------------------------- drawn


def test_the_video_letterboxes_another_shape_and_its_boxes_follow(tmp_path: Path):
    bar = np.full((480, 640, 3), 40, np.uint8)
    bar[120:360, 160:320] = 255  # white from a quarter to a half of both sides
    parts = [Part((640, 480), count=10), Part((240, 480), count=6)]
    clip = changing(tmp_path / "a.ts", bar, parts, codec="libx264", options=NO_B)
    path = plan(tmp_path / "plan.json", size=(640, 480), duration_s=0.64, frames=16)
    content = json.loads(path.read_text()) | {"sizes": [[0, 640, 480], [10, 240, 480]]}
    content["boxes"] = {
        "frame": [2, 12], "shot": [0, 0], "person": [0, 0], "box": [[160, 120, 320, 360], [0, 120, 120, 360]],
        "words": ["1 of 1", "1 of 1"], "level": [1, 1],
    }  # fmt: skip
    path.write_text(json.dumps(content))
    render(clip, path, tmp_path / "out.mp4", limits=LIMITS)
    pane = lay_out((640, 480), kind="video", duration_s=0.64).picture
    with av.open(str(tmp_path / "out.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for number, edges in {2: (160, 320), 12: (200, 320)}.items():
        image = frames[number][int(pane.y1) : int(pane.y2), int(pane.x1) : int(pane.x2)].astype(int)
        white = (image.min(axis=2) > 200).sum(axis=0) > 100
        assert np.flatnonzero(white)[[0, -1]] == pytest.approx(edges, abs=10)
        red = (image[..., 0] - image[..., 1:].max(axis=2)) > 60
        columns = np.flatnonzero(red.sum(axis=0) > 100)
        assert columns[[0, -1]] == pytest.approx(edges, abs=8)
    beside = frames[12][100:-100, int(pane.x1) : int(pane.x1) + 190]
    assert beside.max() < 60  # nothing but the surround


def test_a_pane_holds_another_shape_in_its_middle():
    pane = Rect(10, 20, 650, 500)
    assert pane.holding((320, 240)) == pane
    assert pane.holding((480, 640)) == Rect(150, 20, 510, 500)
    assert pane.holding((1280, 240)) == Rect(10, 200, 650, 320)


def test_a_box_moves_evenly_over_a_change_of_size():
    content = {
        "levels": [[0, 0, 0], [255, 0, 0]], "gap": 10, "sizes": [[0, 160, 120], [4, 640, 480]],
        "boxes": {
            "frame": [2, 6], "shot": [0, 0], "person": [0, 0], "box": [[10, 10, 50, 50], [80, 40, 240, 200]],
            "words": ["1 of 1", "1 of 1"], "level": [1, 1],
        },
    }  # fmt: skip
    marks = Marks(content, size=(640, 480), pane=Rect(0, 0, 640, 480))
    assert [marks.at(frame)[0].box for frame in (2, 4, 6)] == [
        (40, 40, 200, 200),
        (60, 40, 220, 200),
        (80, 40, 240, 200),
    ]


def test_a_clip_with_wide_pixels_is_drawn_as_players_show_it(research: Path, tmp_path: Path):
    clip = research / "field" / "half_width_pixels.mp4"
    with VideoMedium(clip, limits=UNLIMITED) as medium:
        next(iter(medium.pictures()))
        facts = medium.facts()
    assert (facts.width, facts.height) == (720, 480)
