"""The result video of a clip whose clock jumps: all of its pictures, and the sound with them."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from backend.media.limits import MediaLimits
from backend.media.render import PLAN_SCHEMA, render
from shared.settings import Settings
from tests.media.clocks import joined

LIMITS = replace(MediaLimits.of(Settings()), max_duration_s=60.0)
#: Seconds of film at which the picture is white and a tone is heard.
FLASHES = (0.4, 1.4)


def plan(path: Path, *, size: tuple[int, int], duration_s: float, frames: int) -> Path:
    """A plan without faces and curves."""
    none = {"frame": [], "shot": [], "person": [], "box": [], "words": [], "level": []}
    content = {
        "schema": PLAN_SCHEMA, "kind": "video", "width": size[0], "height": size[1], "duration_s": duration_s, "frames": frames,
        "heading": "a", "note": "", "footer": "", "levels": [[90, 90, 90], [255, 0, 0]],
        "thresholds": [], "curves": [], "cuts": [], "bars": [], "boxes": none, "gap": 2, "sound": None,
    }  # fmt: skip
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def flashing(
    path: Path, *, jump_s: float = 0.0, sound_pause_s: float = 0.0, codec: str, options: dict[str, str] | None = None
) -> Path:
    """Two seconds at 25 pictures a second; both clocks run ``jump_s`` ahead after one second.

    ``sound_pause_s``: so much of the sound is missing, from 0.6 s on.
    """
    with av.open(str(path), "w", options=options or {}) as out:
        video = out.add_stream("libx264", rate=25, options={"bf": "0", "g": "25"})
        video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        sound = out.add_stream(codec, rate=48000, layout="mono")
        block = 1024
        rows = []
        for k in range(50):
            white = any(abs(k * 0.04 - at) < 0.01 for at in FLASHES)
            frame = av.VideoFrame.from_ndarray(np.full((120, 160, 3), 255 if white else 40, np.uint8), format="rgb24")
            frame.pts, frame.time_base = k * 40, Fraction(1, 1000)
            rows += [(packet, video, packet.pts * packet.time_base) for packet in video.encode(frame)]
        rows += [(packet, video, packet.pts * packet.time_base) for packet in video.encode()]
        kind, scale = ("fltp", 1) if codec == "aac" else ("s16", 32767)
        for start in range(0, 2 * 48000, block):
            t = np.arange(start, start + block) / 48000
            loud = np.zeros(block)
            for at in FLASHES:
                loud += (t >= at) & (t < at + 0.08)
            wave = 0.5 * loud * np.sin(2 * np.pi * 440 * t) * scale
            frame = av.AudioFrame.from_ndarray(
                wave[None].astype(np.float32 if codec == "aac" else np.int16), format=kind, layout="mono"
            )
            frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
            rows += [(packet, sound, packet.pts * packet.time_base) for packet in sound.encode(frame)]
        rows += [(packet, sound, packet.pts * packet.time_base) for packet in sound.encode()]
        for packet, stream, at in sorted(rows, key=lambda row: row[2]):
            if stream is sound and 0.6 <= at < 0.6 + sound_pause_s:
                continue
            if at >= 1:
                packet.pts += round(jump_s / packet.time_base)
                packet.dts = packet.pts
            out.mux(packet)
    return path


def seen_and_heard(path: Path) -> tuple[list[float], list[float], float]:
    """When the film flashes and when its tone begins, seconds; and how long it is."""
    with av.open(str(path)) as container:
        shown = [
            (float(frame.time), frame.to_ndarray(format="gray")[40:200, 40:200].mean())
            for frame in container.decode(video=0)
        ]
    flashes = [time for time, level in shown if level > 150]
    with av.open(str(path)) as container:
        heard = []
        for frame in container.decode(audio=0):
            level = np.abs(frame.to_ndarray().astype(float)).max(axis=0)
            heard += list(zip(frame.time + np.arange(len(level)) / frame.sample_rate, level, strict=True))
    times, levels = np.array(heard).T
    loud = times[levels > 0.5 * levels.max()]
    return flashes, [float(loud[0]), *map(float, loud[1:][np.diff(loud) > 0.2])], shown[-1][0]


@pytest.mark.parametrize(("codec", "made"), [("aac", "kept"), ("pcm_s16le", "aac")])
@pytest.mark.parametrize(("jump_s", "pause_s"), [(7200.0, 0.0), (0.0, 0.5)])
def test_sound_and_picture_stay_together(tmp_path: Path, codec: str, made: str, jump_s: float, pause_s: float):
    clip = flashing(tmp_path / "a.mkv", jump_s=jump_s, sound_pause_s=pause_s, codec=codec)
    drawn = tmp_path / "out.mp4"
    answer = render(
        clip, plan(tmp_path / "plan.json", size=(160, 120), duration_s=2.0, frames=50), drawn, limits=LIMITS
    )
    assert (answer["frames"], answer["sound"]) == (50, made)
    flashes, tones, end = seen_and_heard(drawn)
    assert end == pytest.approx(1.96, abs=0.01)
    assert flashes == pytest.approx(list(FLASHES), abs=0.01)
    assert tones == pytest.approx(list(FLASHES), abs=0.05)


@pytest.mark.parametrize(
    ("name", "options"), [("a.ts", {}), ("a.mp4", {"movflags": "frag_keyframe+empty_moov+default_base_moof"})]
)
def test_sound_and_picture_of_joined_recordings_stay_together(tmp_path: Path, name: str, options: dict[str, str]):
    one = flashing(tmp_path / f"one_{name}", codec="aac", options=options)
    clip, drawn = joined(tmp_path / name, one, one), tmp_path / "out.mp4"
    answer = render(
        clip, plan(tmp_path / "plan.json", size=(160, 120), duration_s=4.0, frames=100), drawn, limits=LIMITS
    )
    assert (answer["frames"], answer["sound"]) == (100, "kept")
    flashes, tones, end = seen_and_heard(drawn)
    # the muxer of fragments shows the first picture of each recording 21 ms longer
    assert end == pytest.approx(3.96, abs=0.05)
    assert flashes == pytest.approx([0.4, 1.4, 2.4, 3.4], abs=0.05)
    assert tones == pytest.approx(flashes, abs=0.05)
