"""Files with several video tracks, and what a first picture says: the right track is judged, and a reader learns what matters."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from backend.media.limits import UNLIMITED
from backend.media.opening import open_medium
from base_detector import WorkerFailure
from shared.findings import DecodedMedia
from tests.media.clips import encode, scene

FRAMES = 6


def seen(path: Path) -> tuple[DecodedMedia, dict[str, float | None]]:
    """Facts and notes (code -> value) of a file whose pictures were all read."""
    with open_medium(path, limits=UNLIMITED) as medium:
        assert [picture.index for picture in medium.pictures()]
        return medium.facts(), {note.code: note.value for note in medium.notes}


def tracks(path: Path, sizes: list[tuple[int, int]], *, counts: list[int] | None = None) -> Path:
    """A file with a video track of each size (width, height), the first one the default."""
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=25) for _ in sizes]
        for stream, (width, height) in zip(streams, sizes, strict=True):
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number, (stream, (width, height)) in enumerate(zip(streams, sizes, strict=True)):
            for index in range(counts[number] if counts else FRAMES):
                grey = np.full((height, width, 3), 20 * index, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
            container.mux(stream.encode())
    return path


def test_a_second_camera_in_the_file_is_said(tmp_path: Path) -> None:
    facts, notes = seen(tracks(tmp_path / "dashcam.mp4", [(320, 240), (320, 240)]))
    assert (facts.width, facts.height, notes) == (320, 240, {"other_tracks": 1.0})


def test_a_television_stream_with_two_programmes_says_so(tmp_path: Path) -> None:
    assert seen(tracks(tmp_path / "tv.ts", [(320, 240), (160, 120), (160, 120)]))[1] == {"other_tracks": 2.0}


def test_a_small_copy_for_the_cameras_display_is_not_judged_for_the_film(tmp_path: Path) -> None:
    facts, notes = seen(tracks(tmp_path / "drone.mp4", [(160, 120), (640, 480)]))
    assert (facts.width, facts.height, notes) == (640, 480, {"other_tracks": 1.0})


def test_a_large_track_of_another_length_is_not_taken_for_the_film(tmp_path: Path) -> None:
    facts, _ = seen(tracks(tmp_path / "film.mov", [(160, 120), (640, 480)], counts=[12, 3]))
    assert facts.width == 160


def test_a_single_picture_beside_the_film_is_no_further_track(tmp_path: Path) -> None:
    facts, notes = seen(tracks(tmp_path / "film.mov", [(160, 120), (640, 480)], counts=[12, 1]))
    assert (facts.width, notes) == (160, {})


def test_pictures_in_a_code_nobody_here_knows_are_not_called_damaged(tmp_path: Path, astronaut: np.ndarray) -> None:
    clip = encode(tmp_path / "camera.mov", [scene(astronaut)] * 2)
    clip.write_bytes(clip.read_bytes().replace(b"avc1\0\0", b"brxq\0\0"))  # Blackmagic's camera code
    with pytest.raises(WorkerFailure, match="codec_unknown"):
        open_medium(clip, limits=UNLIMITED)


def test_captions_alone_are_neither_picture_nor_sound(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text("1\n00:00:00,000 --> 00:00:02,000\nHello\n")
    with av.open(str(tmp_path / "a.srt")) as source, av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream_from_template(source.streams[0])
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    with pytest.raises(WorkerFailure, match="no_picture_or_sound"):
        open_medium(tmp_path / "a.mkv", limits=UNLIMITED)


@pytest.mark.parametrize(
    ("transfer", "tag", "note"),
    [(16, "avc1", "hdr"), (18, "avc1", "hdr"), (2, "dva1", "dolby_vision"), (16, "dva1", "hdr"), (1, "avc1", None)],
    ids=["pq", "hlg", "dolby_alone", "dolby_and_pq", "usual"],
)
def test_colours_that_players_show_differently_are_said(
    tmp_path: Path, transfer: int, tag: str, note: str | None
) -> None:
    with av.open(str(tmp_path / "phone.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.codec_context.color_trc = transfer
        for level in (60, 90):
            grey = np.full((240, 320, 3), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())
    (tmp_path / "phone.mp4").write_bytes(
        (tmp_path / "phone.mp4").read_bytes().replace(b"avc1\0\0", tag.encode() + b"\0\0")
    )
    assert list(seen(tmp_path / "phone.mp4")[1]) == ([note] if note else [])


@pytest.mark.parametrize("interlaced", [True, False])
def test_interlaced_clips_say_so(tmp_path: Path, astronaut: np.ndarray, interlaced: bool) -> None:
    options = {"x264-params": "tff=1"} if interlaced else {}
    clip = encode(tmp_path / "tv.mp4", [scene(astronaut)] * 3, options=options)
    assert list(seen(clip)[1]) == (["interlaced"] if interlaced else [])


def test_the_rate_of_a_clock_is_not_given_as_the_rate_of_the_clip(tmp_path: Path, astronaut: np.ndarray) -> None:
    stamps = [index * 40 + index % 3 * 7 for index in range(20)]
    clip = encode(tmp_path / "call.webm", [scene(astronaut)] * 20, codec="libvpx", fps=1000, stamps=stamps)
    facts, _ = seen(clip)
    assert facts.fps == pytest.approx(25, abs=0.5)
    assert facts.duration_s == pytest.approx(0.8, abs=0.03)


def test_a_photograph_shown_as_a_film_is_said(run_pass, tmp_path: Path, astronaut: np.ndarray) -> None:
    still = encode(tmp_path / "photo.mp4", [scene(astronaut)] * 24, fps=10, options={"crf": "28", "g": "12"})
    blinks = [scene(astronaut) for _ in range(24)]
    for picture in blinks[6:8]:
        picture[60:78, 100:160] = 120  # the eyes
    film = encode(tmp_path / "person.mp4", blinks, fps=10)
    brief = encode(tmp_path / "brief.mp4", [scene(astronaut)] * 10, fps=10)  # a second: a person may keep still
    told = [run_pass(clip, name=clip.stem, samplings=["frames:2"]).notes for clip in (still, film, brief)]
    assert [[note.code for note in notes] for notes in told] == [["stands_still"], [], []]
