"""Damage spreads: from a damaged picture to the next one that is stored whole, nothing is judged, and the notes say from when to when.

Each damaged copy is compared with the undamaged clip: every picture that is judged shows what the original shows, and no picture is left
out before the damage or behind the next key frame.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest

from backend.media.damage import DecodeWatch, Stretches, Watched, lost_bytes
from backend.media.decoder_log import INFO, DecoderLog
from backend.media.limits import UNLIMITED
from backend.media.slices import SliceReader
from backend.media.video import VideoMedium
from base_detector import WorkerFailure
from shared.findings import Note
from tests.media.clips import encode
from tests.media.damage_clips import COUNT, FOLDER, KINDS
from tests.media.damaged import (
    Harm,
    cut_short,
    damage_packets,
    emptied,
    lose_ts_packets,
    lost,
    overwrite_bytes,
    overwritten,
    scratched,
    zeroed,
)

FIELD = Path(__file__).parents[3] / "shared" / "field"


@dataclass(frozen=True)
class Seen:
    """What ``VideoMedium`` gives for a file: stamp of the file, time, grey picture and verdict of each picture, and the notes."""

    stamps: list[float | None]
    times: list[float]
    grey: list[np.ndarray]
    whole: list[bool]
    notes: list[Note]

    @property
    def judged(self) -> list[int]:
        return [index for index, whole in enumerate(self.whole) if whole]


def look(clip: Path) -> Seen:
    with VideoMedium(clip, limits=UNLIMITED) as medium:
        rows = [
            (
                None if each.frame.time is None else round(float(each.frame.time), 3),
                each.time_s,
                each.frame.to_ndarray(format="gray"),
                not each.damaged,
            )
            for each in medium.pictures()
        ]
        return Seen(*map(list, zip(*rows, strict=True)), notes=list(medium.notes))


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    error = float(np.mean((one.astype(np.float32) - other) ** 2))
    return 99.0 if error < 1e-6 else 10 * np.log10(255**2 / error)


@pytest.fixture(scope="module")
def clips():
    """The clip of a kind, and what it shows."""
    known: dict[str, Seen] = {}

    def clip(kind: str) -> tuple[Path, Seen]:
        if kind not in known:
            known[kind] = look(FOLDER / kind)
        return FOLDER / kind, known[kind]

    return clip


def assert_judged_as_original(seen: Seen, original: Seen, *, least: int) -> None:
    """What is judged is what the original shows, at least ``least`` pictures; what is not judged is in the notes."""
    shown = dict(zip(original.stamps, original.grey, strict=True))
    wrong = [seen.times[index] for index in seen.judged if psnr(seen.grey[index], shown[seen.stamps[index]]) < 30]
    assert not wrong, f"judged, though torn: {wrong}"
    assert len(seen.judged) >= least, f"{len(seen.judged)} of {COUNT} judged"
    named = [note for note in seen.notes if note.code == "damaged"]
    assert named
    for index, whole in enumerate(seen.whole):
        inside = any(note.start_s - 1e-3 <= seen.times[index] < note.end_s - 1e-3 for note in named)
        assert whole or inside, f"{seen.times[index]} s is left out and no note says so"


# --------------------------------------------------------------------------- clean clips


@pytest.mark.parametrize("kind", KINDS)
def test_an_undamaged_clip_is_whole(clips, kind: str):
    _, seen = clips(kind)
    assert all(seen.whole)
    assert seen.notes == []
    assert len(seen.whole) == COUNT


# --------------------------------------------------------------------------- damaged clips

#: kind, harmed packets, at least so many pictures are judged
CASES: dict[str, tuple[str, dict[int, Harm], int]] = {
    "H.264, middle, cut short": ("h264_bframes.mp4", {19: cut_short}, 30),
    "H.264, middle, noise": ("h264_bframes.mp4", {19: overwritten}, 30),
    "H.264, key frame, few bytes": ("h264_bframes.mp4", {15: scratched}, 30),
    "H.264, lost": ("h264_bframes.mp4", {19: lost}, 30),
    "H.264, zeros": ("h264.mkv", {20: zeroed}, 35),
    "H.264, lost, no B frames": ("h264.mkv", {20: lost}, 35),
    "H.264, start": ("h264.mkv", {0: scratched}, 30),
    "H.264, last packet": ("h264.mkv", {COUNT - 1: cut_short}, COUNT - 1),
    "H.264, two places": ("h264.mkv", {8: overwritten, 40: zeroed}, 33),
    "H.264, open groups": ("h264_open.ts", {18: overwritten}, 27),
    "H.264, one key frame": ("h264_once.mp4", {20: scratched}, 20),
    "H.264, refreshed bit by bit": ("h264_refresh.mkv", {20: overwritten}, 20),
    "HEVC, lost": ("hevc.mp4", {16: lost}, 30),
    "HEVC, zeros": ("hevc.mp4", {18: zeroed}, 28),
    "HEVC, a few zeros": ("hevc.mp4", {16: emptied}, 29),
    "H.264, a few zeros": ("h264.ts", {16: emptied}, 29),
    "HEVC, cut short": ("hevc.mp4", {17: cut_short}, 28),
    "HEVC, key frame cut short": ("hevc.mp4", {15: cut_short}, 29),
    "HEVC, last of a group": ("hevc.mp4", {14: cut_short}, 40),
    "VP8, zeros": ("vp8.webm", {20: zeroed}, 35),
    "VP9, zeros": ("vp9.webm", {20: zeroed}, 35),
    "MPEG-4, noise": ("mpeg4.avi", {20: overwritten}, 35),
    "MPEG-4, zeros, two places": ("mpeg4.avi", {3: zeroed, 33: zeroed}, 21),
    "MPEG-4, B frames, few bytes": ("mpeg4_bframes.mp4", {19: scratched}, 30),
    "MPEG-4, begins in the middle": ("mpeg4.avi", {0: lost}, 30),
    "Sorenson, few bytes": ("sorenson.flv", {20: scratched}, 35),
    "MJPEG, cut short": ("mjpeg.avi", {20: cut_short}, COUNT - 1),
    "MJPEG, zeros": ("mjpeg.avi", {20: zeroed}, COUNT - 1),
    "ProRes, noise": ("prores.mov", {20: overwritten}, COUNT - 1),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_judged_of_a_damaged_clip_is_what_the_original_shows(clips, tmp_path: Path, name: str):
    kind, harms, least = CASES[name]
    clip, original = clips(kind)
    assert_judged_as_original(look(damage_packets(clip, tmp_path / kind, harms)), original, least=least)


@pytest.mark.parametrize(
    ("kind", "least"), [("h264.ts", 29), ("h264_open.ts", 27), ("mpeg2.ts", 29), ("hevc_open.ts", 15)]
)
def test_lost_packets_of_a_transport_stream_are_noticed(clips, tmp_path: Path, kind: str, least: int):
    clip, original = clips(kind)
    assert_judged_as_original(look(lose_ts_packets(clip, tmp_path / kind, share=0.5, count=3)), original, least=least)


@pytest.mark.parametrize("kind", ["h264.ts", "hevc_open.ts"])
@pytest.mark.parametrize("share", [0.05, 0.25, 0.45, 0.65, 0.85])
def test_one_lost_packet_of_a_transport_stream_is_noticed_wherever_it_was(
    clips, tmp_path: Path, kind: str, share: float
):
    """What is left of a picture often decodes to its end without an error; only the count of packets shows the gap."""
    clip, original = clips(kind)
    assert_judged_as_original(look(lose_ts_packets(clip, tmp_path / kind, share=share, count=1)), original, least=10)


@pytest.mark.parametrize(
    ("kind", "least"), [("h264_bframes.mp4", 15), ("h264.mkv", 15), ("mpeg4.avi", 15), ("sorenson.flv", 15)]
)
def test_overwritten_bytes_of_a_file_are_noticed(clips, tmp_path: Path, kind: str, least: int):
    clip, original = clips(kind)
    seen = look(overwrite_bytes(clip, tmp_path / kind, share=0.5, count=600))
    assert_judged_as_original(seen, original, least=least)


def test_noise_in_h264_leaves_a_sign_at_most_places(clips, tmp_path: Path):
    """Not at all: docs/media_pass.md ("Damage") says how often a torn picture is judged."""
    clip, original = clips("h264_bframes.mp4")
    shown = dict(zip(original.stamps, original.grey, strict=True))
    torn = 0
    for place in range(30):
        seen = look(overwrite_bytes(clip, tmp_path / "noise.mp4", share=0.05 + 0.03 * place, count=64))
        torn += any(psnr(seen.grey[index], shown[seen.stamps[index]]) < 30 for index in seen.judged)
    assert torn < 12


# --------------------------------------------------------------------------- through the media pass


def test_of_a_mostly_damaged_clip_all_whole_pictures_are_judged(run_pass, clips, tmp_path: Path):
    """Quick mode looks at 32 pictures: where damage takes most of them, it looks at whole ones instead."""
    clip, _ = clips("h264_once.mp4")
    pack = run_pass(damage_packets(clip, tmp_path / "d.mp4", {12: overwritten}), samplings=("frames:8",), mode="quick")
    assert pack.frames.max() < 12
    assert len(pack.frames) == 8
    assert list(pack.notes) == [Note("damaged", start_s=pytest.approx(0.48), end_s=pytest.approx(1.8))]
    assert len(pack.shots) == 1
    assert pack.media.frames == COUNT - 1, "the torn ones are shown, all but one that does not decode"


def test_a_clip_without_a_whole_picture_is_refused_as_damaged(run_pass, clips, tmp_path: Path):
    clip, _ = clips("h264_once.mp4")
    with pytest.raises(WorkerFailure, match="media_damaged"):
        run_pass(damage_packets(clip, tmp_path / "d.mp4", {0: scratched}))


def test_many_stretches_are_counted_not_listed():
    stretches = Stretches()
    for index in range(200):
        stretches.add(float(index), Watched(None, whole=bool(index % 4), after_loss=False))
    notes = stretches.notes(end_s=200.0)
    assert [note.code for note in notes] == ["damaged"] * 20 + ["damaged_more"]
    assert notes[-1].value == 30


@pytest.mark.skipif(not FIELD.is_dir(), reason="the field clips are not here")
def test_the_clip_from_the_field_is_judged_up_to_its_damage(run_pass):
    pack = run_pass(FIELD / "damaged_middle.mp4")
    assert list(pack.notes) == [Note("damaged", start_s=1.0, end_s=4.0)]
    assert pack.frames.tolist() == list(range(25))
    assert pack.faces["frame"].max() == 24


@pytest.mark.skipif(not FIELD.is_dir(), reason="the field clips are not here")
@pytest.mark.parametrize(
    "name", ["starts_mid_gop.ts", "starts_mid_gop_h264.ts", "joined_clock_restarts.ts", "two_frames.mp4"]
)
def test_whole_clips_from_the_field_have_no_note_of_damage(name: str):
    seen = look(FIELD / name)
    assert all(seen.whole)
    assert not [note for note in seen.notes if note.code.startswith("damaged")]


# --------------------------------------------------------------------------- what FFmpeg says


def test_a_log_that_is_open_keeps_its_lines_from_a_second_one():
    first = DecoderLog(level=INFO)
    second = DecoderLog(level=INFO)
    av.logging.log(av.logging.ERROR, "hevc", "Could not find ref with POC 3")
    assert [line.text for line in first.take()] == ["Could not find ref with POC 3"]
    assert second.take() == first.take() == []
    second.close()
    first.close()
    third = DecoderLog(level=INFO)
    av.logging.log(av.logging.ERROR, "hevc", "again")
    assert len(third.take()) == 1
    third.close()
    assert av.logging.get_level() is None


def test_a_medium_that_is_left_early_closes_at_once(clips, tmp_path: Path):
    """Closing waits for decoding threads, and those must not wait for Python to take their lines."""
    clip, _ = clips("h264.mkv")
    torn = damage_packets(clip, tmp_path / "d.mkv", dict.fromkeys(range(2, 40), overwritten))
    for _ in range(20):
        with VideoMedium(torn, limits=UNLIMITED) as medium:
            next(medium.pictures())


# --------------------------------------------------------------------------- numbers of H.264


def test_a_missing_picture_of_h264_is_noticed_by_its_number(clips):
    for kind, missing in (("h264_bframes.mp4", 16), ("h264.ts", 16), ("h264.mkv", 20), ("h264_open.ts", 16)):
        with av.open(str(clips(kind)[0])) as container:
            stream = container.streams.video[0]
            packets = [bytes(packet) for packet in container.demux(stream) if packet.size]
            extradata = stream.codec_context.extradata
        whole, torn = SliceReader(extradata), SliceReader(extradata)
        assert all(whole.follows(whole.read(data)) for data in packets), kind
        del packets[missing]
        gaps = [number for number, data in enumerate(packets) if not torn.follows(torn.read(data))]
        assert gaps == [missing], kind


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", b"\x00\x00\x01", b"\x00\x00\x01\x67", b"\xff" * 400, bytes(400), b"\x00\x00\x01\x67" + b"\xff" * 9],
)
def test_bytes_that_are_no_slice_end_nothing(data: bytes):
    for extradata in (None, b"", data, b"\x01" + data, b"\x01" * 40):
        reader = SliceReader(extradata)
        found = reader.read(data)
        assert found is None or reader.follows(found)


# --------------------------------------------------------------------------- files without their end


@pytest.mark.parametrize(
    ("kind", "notes"), [("h264_bframes.mp4", {"clip_cut_off"}), ("h264.mkv", set()), ("mpeg4.avi", set())]
)
def test_of_a_file_that_ends_early_every_whole_picture_is_judged(clips, tmp_path: Path, kind: str, notes: set[str]):
    """Those that the decoder still holds when the file ends, too. An MP4 lists its pictures, so the note says that some are missing."""
    clip, original = clips(kind)
    front = tmp_path / f"front.{kind}"
    with av.open(str(clip)) as source, av.open(str(front), "w", options={"movflags": "+faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        sizes = []
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                sizes.append(packet.size)
                target.mux(packet)
    cut = tmp_path / kind
    cut.write_bytes(front.read_bytes()[: int(front.stat().st_size * 0.7)])
    with av.open(str(cut)) as source:
        there = 0
        with contextlib.suppress(av.error.FFmpegError):
            for packet in source.demux(video=0):
                there += packet.size == sizes[there] if packet.size else 0
    seen = look(cut)
    assert len(seen.judged) >= there - 1
    shown = dict(zip(original.stamps, original.grey, strict=True))
    assert all(psnr(seen.grey[index], shown[seen.stamps[index]]) > 30 for index in seen.judged)
    assert notes <= {note.code for note in seen.notes}


def test_a_clip_without_a_face_and_without_its_end_is_no_broken_picture(run_pass, tmp_path: Path):
    noise = np.random.default_rng(1).integers(90, 110, (20, 120, 160, 3), np.uint8)
    clip = encode(tmp_path / "a.mp4", noise, options={"g": "5"}, container_options={"movflags": "+faststart"})
    clip.write_bytes(clip.read_bytes()[: int(clip.stat().st_size * 0.7)])
    pack = run_pass(clip)
    assert len(pack) == 0
    assert [note.code for note in pack.notes if "cut_off" in note.code] == ["clip_cut_off"]


def test_an_empty_packet_in_the_middle_is_not_the_end(clips, tmp_path: Path):
    """AVI keeps an empty packet where a camera dropped a picture; decoders take one for the end of the stream."""
    with VideoMedium(clips("mpeg4.avi")[0], limits=UNLIMITED) as medium:
        packets = list(medium._container.demux(medium._stream))
        empty = av.Packet()
        empty.dts, empty.time_base = packets[20].dts, packets[20].time_base
        watch = DecodeWatch(medium._stream, container="avi")
        frames = [seen for packet in [*packets[:20], empty, *packets[20:]] for seen in watch.decode(packet)]
        frames += watch.finish()
        watch.close()
    assert len(frames) == COUNT
    assert all(seen.whole for seen in frames)


@pytest.mark.parametrize(
    ("data", "codec", "prefixed", "lost"),
    [
        (b"\x65" + bytes(8) + b"\x02", "h264", False, True),
        (b"\x65" + bytes(7) + b"\x02", "h264", False, False),
        (b"\x65" + bytes(300) + b"\x01\x41", "h264", False, False),  # before a start code
        (b"\x65" + bytes(20) + b"\x01\x41" + bytes(9) + b"\x03", "hevc", False, True),
        (b"\x65" + bytes(16), "h264", False, False),
        (b"\x65" + bytes(15), "h264", True, False),
        (b"\x65" + bytes(16), "h264", True, True),
        (bytes(63) + b"\x01", "vp9", False, False),
        (bytes(64) + b"\x01", "vp8", False, True),
        (bytes(300) + b"\x02", "mpeg4", False, False),
    ],
)
def test_zeros_that_no_encoder_writes_are_lost_bytes(data: bytes, codec: str, prefixed: bool, lost: bool):
    assert lost_bytes(data, codec=codec, prefixed=prefixed) is lost


def test_a_picture_of_zeros_is_looked_at_in_one_step():
    """A file whose download stopped may have megabytes of zeros in one packet: ten of them took hours."""
    started = time.process_time()
    assert not lost_bytes(bytes(10_000_000), codec="h264", prefixed=False)
    assert not lost_bytes(bytes(10_000_000) + b"\x01", codec="h264", prefixed=True)
    assert time.process_time() - started < 60, "byte by byte it would take hours"
