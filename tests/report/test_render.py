"""The result video: a real clip is drawn, decoded again and looked at."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from backend.media.canvas import Canvas, Matrix, fitted, legible, text_width
from backend.media.limits import MediaLimits
from backend.media.marks import Marks
from backend.media.panel import Rect
from backend.media.render import lay_out, render
from backend.report.plan import build_plan
from base_detector import WorkerFailure
from shared.curve_colours import CURVES
from shared.results import Result
from shared.settings import Settings

LIMITS = MediaLimits.of(Settings())


def draw(
    result: Result, media: Path, out: Path, *, detectors: list[str] | None = None, **limits: float
) -> dict[str, Any]:
    plan = out.with_suffix(".json")
    plan.write_text(json.dumps(build_plan(result, detectors)), encoding="utf-8")
    return render(media, plan, out, limits=replace(LIMITS, **limits))


def encode(
    path: Path, pictures: list[np.ndarray], times: list[float], *, codec: str = "libx264", pix_fmt: str = "yuv420p"
) -> Path:
    """A clip with the given presentation times, seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], pix_fmt
        stream.codec_context.time_base = Fraction(1, 1000)
        for picture, time_s in zip(pictures, times, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = round(time_s * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def flat(
    count: int, *, size: tuple[int, int] = (320, 240), colour: tuple[int, int, int] = (60, 90, 120)
) -> list[np.ndarray]:
    return [np.full((size[1], size[0], 3), colour, np.uint8) for _ in range(count)]


def decoded(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


# --------------------------------------------------------------------------- the whole


def test_a_clip_keeps_its_frames_times_sound_and_length(
    astronaut_clip: Path, made_result: Callable, tmp_path: Path
) -> None:
    out = tmp_path / "out.mp4"
    made = draw(made_result(), astronaut_clip, out)
    assert (made["frames"], made["sound"]) == (50, "kept")
    with av.open(str(out)) as drawn, av.open(str(astronaut_clip)) as source:
        video, sound = drawn.streams.video[0], drawn.streams.audio[0]
        assert (video.codec_context.name, video.codec_context.pix_fmt, sound.codec_context.name) == (
            "h264",
            "yuv420p",
            "aac",
        )
        assert drawn.duration / av.time_base == pytest.approx(source.duration / av.time_base, abs=0.1)
        ours = [round(frame.time, 3) for frame in drawn.decode(video)]
        theirs = [round(frame.time, 3) for frame in source.decode(video=0)]
        assert ours == theirs
        drawn.seek(0)
        heard = np.concatenate([frame.to_ndarray() for frame in drawn.decode(sound)], axis=1)
    with av.open(str(astronaut_clip)) as source:
        played = np.concatenate([frame.to_ndarray() for frame in source.decode(audio=0)], axis=1)
    assert heard.shape[1] / 44100 == pytest.approx(2.0, abs=0.12)
    assert np.sqrt(np.mean(heard**2)) == pytest.approx(np.sqrt(np.mean(played**2)), rel=0.05)
    assert np.sqrt(np.mean(played**2)) > 0.03  # the fixture's tone, no silence


def test_a_browser_can_begin_before_the_end_is_there(
    astronaut_clip: Path, made_result: Callable, tmp_path: Path
) -> None:
    draw(made_result(), astronaut_clip, tmp_path / "out.mp4")
    content = (tmp_path / "out.mp4").read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_the_picture_is_at_the_left_the_box_on_the_face_the_curve_at_the_right(
    astronaut_clip: Path, made_result: Callable, tmp_path: Path
) -> None:
    out = tmp_path / "out.mp4"
    draw(made_result(boxes=[(200, 60, 380, 300)]), astronaut_clip, out)
    layout = lay_out((640, 480), kind="video", duration_s=2.0)
    frames = [decoded(out)[i].to_ndarray(format="rgb24") for i in (0, 25, 49)]
    source = decoded(astronaut_clip)[25].to_ndarray(format="rgb24")
    shown = frames[1]
    assert shown.shape == (layout.height, layout.width, 3)
    corner = np.abs(shown[:50, :150].astype(int) - source[:50, :150]).mean()
    assert corner < 6  # the picture itself, but for compression
    columns = shown[140:160, 220:236].astype(int).mean(axis=0)  # across the left bar of the box, 25 frames on
    warmest = columns[(columns[:, 0] - columns[:, 2]).argmax()]
    assert warmest[0] > 150  # a high score is drawn in a warm colour
    assert warmest[0] > warmest[2] + 60
    drawn = [curve_pixels(frame[:, int(layout.panel.x1) :]) for frame in frames]
    assert drawn[0] < drawn[1] < drawn[2]  # the curve grows


def curve_pixels(panel: np.ndarray) -> int:
    """Pixels of the first curve's colour below the legend; the encoder halves the resolution of colours."""
    part = panel[panel.shape[0] // 4 :].astype(int)
    return int(((np.abs(part - CURVES[0]) < 75).all(axis=2)).sum())


def test_uneven_times_are_kept(made_result: Callable, tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.08, 0.5, 0.54, 2.0]
    media = encode(tmp_path / "in.mp4", flat(6), times)
    draw(made_result(size=(320, 240), frames=6, fps=3), media, tmp_path / "out.mp4")
    assert [frame.time for frame in decoded(tmp_path / "out.mp4")] == pytest.approx(times, abs=2e-3)


def test_more_frames_than_screens_show_are_thinned_out(made_result: Callable, tmp_path: Path) -> None:
    media = encode(tmp_path / "in.mp4", flat(60), [index / 240 for index in range(60)])
    draw(made_result(size=(320, 240), frames=60, fps=240), media, tmp_path / "out.mp4")
    frames = decoded(tmp_path / "out.mp4")
    assert 14 <= len(frames) <= 17
    assert frames[-1].time == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("size", [(101, 77), (2, 2), (640, 64), (90, 640)])
def test_odd_sizes_are_drawn(size: tuple[int, int], made_result: Callable, tmp_path: Path) -> None:
    media = encode(tmp_path / "in.mkv", flat(3, size=size), [0, 0.04, 0.08], codec="ffv1", pix_fmt="bgr0")
    draw(made_result(size=size, frames=3), media, tmp_path / "out.mp4")
    frame = decoded(tmp_path / "out.mp4")[0]
    layout = lay_out(size, kind="video", duration_s=0.12)
    assert (frame.width, frame.height) == (layout.width, layout.height)
    where = layout.picture
    middle = frame.to_ndarray(format="rgb24")[int(where.y1 + where.y2) // 2, int(where.x1 + where.x2) // 2]
    assert np.abs(middle.astype(int) - (60, 90, 120)).max() < 60  # the picture or its box, not the surround


def test_a_turned_clip_is_drawn_upright(made_result: Callable, tmp_path: Path) -> None:
    left_red = flat(4, size=(320, 240))
    for picture in left_red:
        picture[:, :160] = (200, 30, 30)
    plain = encode(tmp_path / "plain.mp4", left_red, [0, 0.04, 0.08, 0.12])
    turned = with_matrix(plain, tmp_path / "turned.mp4")
    draw(made_result(size=(240, 320), frames=4, boxes=[(0, 0, 1, 1)]), turned, tmp_path / "out.mp4")
    where = lay_out((240, 320), kind="video", duration_s=0.16).picture
    picture = decoded(tmp_path / "out.mp4")[0].to_ndarray(format="rgb24")
    inside = picture[int(where.y1) : int(where.y2), int(where.x1) : int(where.x2)].astype(int)
    top, bottom = inside[20:60, 60:].mean(axis=(0, 1)), inside[-60:-20, 60:].mean(axis=(0, 1))
    assert top[0] > 150  # stored left is shown at the top: a quarter turn clockwise
    assert bottom[0] < 110


def with_matrix(source: Path, target: Path) -> Path:
    """The same file with the track's display matrix set to a quarter turn clockwise (ISO/IEC 14496-12, 8.3.2)."""
    content = bytearray(source.read_bytes())
    start = content.index(b"tkhd") + 4
    assert content[start] == 0  # version 0: the matrix begins 40 bytes on
    matrix = [0, 1 << 16, 0, -(1 << 16), 0, 0, 240 << 16, 0, 1 << 30]
    content[start + 40 : start + 76] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    target.write_bytes(content)
    return target


def test_other_sound_is_encoded_anew_and_stays_in_time(made_result: Callable, tmp_path: Path) -> None:
    media = tmp_path / "in.mkv"
    with av.open(str(media), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=22050, layout="mono")
        for picture in flat(50):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
        for block in range(44):  # silence, and a tone from 1 s to 1.5 s
            moments = np.arange(block * 1002, (block + 1) * 1002) / 22050
            wave = np.where((moments >= 1) & (moments < 1.5), 0.3 * np.sin(2 * np.pi * 440 * moments), 0)
            frame = av.AudioFrame.from_ndarray((wave * 32767).astype(np.int16)[None], format="s16", layout="mono")
            frame.rate, frame.pts, frame.time_base = 22050, block * 1002, Fraction(1, 22050)
            container.mux(sound.encode(frame))
        container.mux(sound.encode())
    made = draw(made_result(size=(320, 240)), media, tmp_path / "out.mp4")
    assert made["sound"] == "aac"
    with av.open(str(tmp_path / "out.mp4")) as drawn:
        parts = [(frame.time, frame.to_ndarray()) for frame in drawn.decode(audio=0)]
    loud = [time for time, part in parts if np.abs(part).max() > 0.1]
    assert loud[0] == pytest.approx(1.0, abs=0.06)
    assert loud[-1] == pytest.approx(1.5, abs=0.06)


def test_broken_sound_costs_no_picture(
    astronaut_clip: Path, made_result: Callable, tmp_path: Path, monkeypatch: Any
) -> None:
    def breaks(self: Any, stream: Any) -> Any:
        raise av.error.InvalidDataError(1, "broken")
        yield

    monkeypatch.setattr("backend.media.soundtrack.Sound._copied", breaks)
    made = draw(made_result(), astronaut_clip, tmp_path / "out.mp4")
    assert (made["sound"], made["frames"]) == ("lost", 50)
    assert len(decoded(tmp_path / "out.mp4")) == 50


def test_a_still_becomes_a_marked_picture(made_result: Callable, astronaut: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(astronaut).save(tmp_path / "in.png")
    result = made_result(size=(512, 512), kind="image", frames=1, boxes=[(170, 60, 280, 200)])
    made = draw(result, tmp_path / "in.png", tmp_path / "out.png")
    assert made["frames"] == 1
    picture = np.asarray(Image.open(tmp_path / "out.png"))
    layout = lay_out((512, 512), kind="image", duration_s=0)
    assert picture.shape == (layout.height, layout.width, 3)
    part = picture[400:500, 10:150].astype(int) - astronaut[400:500, 10:150]
    assert np.abs(part).mean() < 3
    assert (picture[:, layout.panel.x1 and int(layout.panel.x1) :] == 255).all(axis=2).mean() > 0.5  # the paper


def test_an_animation_is_a_clip(made_result: Callable, tmp_path: Path) -> None:
    pictures = [Image.fromarray(picture) for picture in flat(3)]
    for index, picture in enumerate(pictures):
        picture.putpixel((index, 0), (255, 255, 255))
    pictures[0].save(tmp_path / "in.gif", save_all=True, append_images=pictures[1:], duration=100)
    made = draw(made_result(size=(320, 240), frames=3, fps=10), tmp_path / "in.gif", tmp_path / "out.mp4")
    assert (made["frames"], made["sound"]) == (3, "none")
    assert [frame.time for frame in decoded(tmp_path / "out.mp4")] == pytest.approx([0, 0.1, 0.2], abs=2e-3)


def test_a_clip_longer_than_the_limits_is_refused(astronaut_clip: Path, made_result: Callable, tmp_path: Path) -> None:
    with pytest.raises(WorkerFailure, match="media_too_long"):
        draw(made_result(), astronaut_clip, tmp_path / "out.mp4", max_frames=10)


def test_a_plan_of_another_schema_is_refused(astronaut_clip: Path, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('{"schema": 1, "kind": "video"}')
    with pytest.raises(WorkerFailure, match="bad_request"):
        render(astronaut_clip, tmp_path / "plan.json", tmp_path / "out.mp4", limits=LIMITS)


def test_progress_reaches_the_caller(astronaut_clip: Path, made_result: Callable, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    (tmp_path / "plan.json").write_text(json.dumps(build_plan(made_result(), None)))
    render(
        astronaut_clip,
        tmp_path / "plan.json",
        tmp_path / "out.mp4",
        limits=LIMITS,
        progress=lambda *step: seen.append(step),
    )
    assert seen == [(25, 50), (50, 50)]


@pytest.mark.parametrize("name", ["render", "canvas", "panel", "marks", "soundtrack", "wave"])
def test_the_renderer_needs_the_media_worker_only(name: str) -> None:
    source = Path(sys.modules[f"backend.media.{name}"].__file__ or "").read_text(encoding="utf-8")
    ours = re.findall(r"^(?:from|import) ((?:backend|shared|frontend)[.\w]*)", source, re.MULTILINE)
    rounding = "shared.rounding"  # of scores, by the rule of the page; it needs the standard library only
    assert all(module.startswith("backend.media") or module == rounding for module in ours), ours


# --------------------------------------------------------------------------- layout


@pytest.mark.parametrize("size", [(1920, 1080), (640, 360), (1080, 1920), (3840, 2160), (2, 2), (8192, 64), (64, 8192)])
@pytest.mark.parametrize("kind", ["video", "image"])
def test_every_layout_can_be_encoded_and_read(size: tuple[int, int], kind: str) -> None:
    layout = lay_out(size, kind=kind, duration_s=10)
    assert layout.width % 2 == layout.height % 2 == 0
    assert 480 <= layout.height <= 1080
    assert layout.width <= 2600
    assert layout.panel.width >= 440
    assert layout.picture.x2 <= layout.panel.x1
    for value in (layout.picture.x1, layout.picture.y1, layout.picture.x2, layout.picture.y2, layout.panel.x1):
        assert value % 2 == 0


def test_long_clips_get_the_smaller_picture() -> None:
    assert lay_out((1920, 1080), kind="video", duration_s=601).height == 480
    assert lay_out((1920, 1080), kind="video", duration_s=599).height == 720


def test_a_quick_judgement_gets_the_smaller_picture(
    made_result: Callable[..., Result], astronaut_clip: Path, tmp_path: Path
) -> None:
    heights = {}
    for mode in ("quick", "standard"):
        result = made_result(size=(1920, 1080), frames=3).model_copy(update={"mode": mode})
        draw(result, astronaut_clip, tmp_path / f"{mode}.mp4")
        with av.open(str(tmp_path / f"{mode}.mp4")) as drawn:
            heights[mode] = drawn.streams.video[0].height
    assert heights == {"quick": 480, "standard": 720}


# --------------------------------------------------------------------------- boxes between samples


def marks(rows: list[tuple[int, int, int, float, int]], *, gap: int = 10) -> Marks:
    """Marks of (frame, shot, person, x1, level)."""
    plan = {
        "gap": gap,
        "levels": [[9, 9, 9], [0, 0, 255], [255, 0, 0]],
        "boxes": {
            "frame": [row[0] for row in rows],
            "shot": [row[1] for row in rows],
            "person": [row[2] for row in rows],
            "box": [[row[3], 0, row[3] + 10, 10] for row in rows],
            "words": [f"{row[4]} of 2" for row in rows],
            "level": [row[4] for row in rows],
        },
    }
    return Marks(plan, size=(100, 100), pane=Rect(0, 0, 100, 100))


def test_a_box_moves_between_samples_and_what_is_written_does_not() -> None:
    found = marks([(0, 0, 0, 0.0, 1), (10, 0, 0, 20.0, 2)])
    assert [(mark.box[0], mark.words, mark.level) for mark in found.at(5)] == [(10.0, "1 of 2", 1)]
    assert [(mark.box[0], mark.words, mark.level) for mark in found.at(10)] == [(20.0, "2 of 2", 2)]


def test_no_box_is_drawn_where_no_face_was_sampled() -> None:
    found = marks([(5, 0, 0, 0.0, 1), (30, 0, 0, 20.0, 2), (32, 1, 0, 0.0, 1)])
    assert not found.at(4)  # before the first
    assert not found.at(12)  # further apart than the sampling explains
    assert not found.at(31)  # a cut lies between
    assert not found.at(33)  # after the last
    assert len(found.at(32)) == 1


def test_two_faces_of_one_person_in_a_frame_both_have_a_box() -> None:
    found = marks([(0, 0, -1, 0.0, 1), (0, 0, -1, 50.0, 0)])
    assert sorted(mark.box[0] for mark in found.at(0)) == [0.0, 50.0]
    assert [found.colour(level) for level in (0, 2, 7)] == [[9, 9, 9], [255, 0, 0], [255, 0, 0]]


def test_a_film_of_many_shots_is_indexed() -> None:
    rows = [(frame, frame // 40, 0, 1.0, 1) for frame in range(0, 4000, 10)]
    found = marks(rows)
    assert all(len(found.at(frame)) == 1 for frame in (0, 5, 250, 255, 256, 2025, 3990))
    assert not found.at(35)  # between the last sample of a shot and the cut


# --------------------------------------------------------------------------- canvas


@pytest.mark.parametrize(("matrix", "space"), [(Matrix.BT709, 1), (Matrix.BT601, 5)])
def test_a_planar_canvas_shows_the_colours_that_were_asked_for(matrix: Matrix, space: int) -> None:
    canvas = Canvas(64, 32, planar=True, matrix=matrix)
    canvas.fill((0, 0, 64, 32), (213, 94, 0))
    frame = av.VideoFrame.from_ndarray(canvas.array, format="yuv420p")
    picture = frame.reformat(
        format="rgb24", src_colorspace=space, dst_colorspace=space, src_color_range=1, dst_color_range=2
    )
    assert np.abs(picture.to_ndarray().astype(int) - (213, 94, 0)).max() <= 4


def test_drawing_beyond_the_border_is_cut_off() -> None:
    for planar in (True, False):
        canvas = Canvas(32, 32, planar=planar)
        canvas.fill((0, 0, 32, 32), (255, 255, 255))
        canvas.frame((-10, -10, 50, 50), (0, 0, 0), thickness=4)
        canvas.text("beyond", (28, 30), (0, 0, 0), size=14)
        canvas.text("beyond", (-28, -4), (0, 0, 0), size=14)
        canvas.line([(-5, -5), (60, 40)], (0, 0, 0), thickness=3)
        canvas.dot((40, 40), (0, 0, 0), radius=4)


def test_words_the_font_lacks_are_made_plain() -> None:
    assert legible("Müller – “Xception×2” …") == 'Muller - "Xceptionx2" ...'
    assert legible("中文\n\x1b") == "????"


def test_long_words_end_in_an_ellipsis_within_their_width() -> None:
    words = "A detector with a very long name " * 3
    cut = fitted(words, size=20, width=150)
    assert cut.endswith("…")
    assert text_width(cut, size=20) <= 150
    assert fitted("short", size=20, width=150) == "short"
