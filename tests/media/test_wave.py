"""The wave form in the result video: a strip under a clip, the whole left side for a file of sound, coloured by existing scores only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from backend.media.limits import UNLIMITED
from backend.media.render import PLAN_SCHEMA, lay_out, render
from backend.media.wave import Peaks
from base_detector import SOUND_RATE, Array, WorkerFailure
from tests.media.clips import encode, moving
from tests.media.sounds import add_sound, tone, write_sound

BLUE, RED, GREY = [60, 90, 230], [230, 60, 60], [150, 150, 150]


def plan(kind: str, spans: list[list[float]], *, duration_s: float, frames: int = 0) -> dict[str, Any]:
    """A plan with one detector of sound; scores below the middle are blue, above it red."""
    return {
        "schema": PLAN_SCHEMA,
        "kind": kind,
        "width": 320 if frames else 0,
        "height": 240 if frames else 0,
        "sizes": [],
        "duration_s": duration_s,
        "frames": frames,
        "heading": "Listener",
        "note": "",
        "footer": "A score is not a proof.",
        "levels": [GREY, BLUE, RED],
        "thresholds": [],
        "curves": [
            {
                "label": "Listener",
                "colour": [0, 114, 178],
                "style": "steps",
                "hold_s": 0.05,
                "runs": [[[a, s], [b, s]] for a, b, s in spans],
            }
        ],
        "sound": {"label": "Sound: Listener", "spans": [[a, b, f"{s:.2f}", 1 + (s >= 0.5)] for a, b, s in spans]},
        "cuts": [],
        "damaged": [],
        "bars": [],
        "table": [],
        "table_note": "",
        "left_out": "",
        "boxes": {"frame": [], "shot": [], "person": [], "box": [], "words": [], "level": []},
        "gap": 2,
    }


def draw(media: Path, content: dict[str, Any]) -> tuple[dict[str, Any], list[Array], float]:
    """What ``render`` answers, the frames of its film, and the seconds of its sound."""
    out = media.with_name("out.mp4")
    media.with_name("plan.json").write_text(json.dumps(content))
    made = render(media, media.with_name("plan.json"), out, limits=UNLIMITED)
    with av.open(str(out)) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    with av.open(str(out)) as film:
        heard = sum(frame.samples / frame.sample_rate for frame in film.decode(audio=0)) if film.streams.audio else 0.0
    return made, frames, heard


def colours_at(frame: Array, where: Any, share: float) -> Array:
    """The strongest colour of the wave at ``share`` of its width, (3,)."""
    x = round(where.x1 + share * where.width)
    part = frame[round(where.y1 + 0.45 * where.height) : round(where.y2) - 4, x - 6 : x + 6].reshape(-1, 3).astype(int)
    return part[part.sum(axis=1).argsort()[-40:]].mean(axis=0)


def hue(colour: Array) -> str:
    red, _, blue = colour
    return "red" if red > blue + 60 else "blue" if blue > red + 60 else "grey"


@pytest.mark.parametrize(
    ("name", "codec", "sound"),
    [("a.mp3", "libmp3lame", "kept"), ("a.flac", "flac", "aac"), ("a.wav", "pcm_s16le", "aac")],
)
def test_a_file_of_sound_is_a_film_of_its_wave_and_can_be_heard(tmp_path: Path, name: str, codec: str, sound: str):
    media = write_sound(tmp_path / name, tone(6.0, rate=44_100), codec=codec)
    made, frames, heard = draw(media, plan("sound", [[0.0, 2.0, 0.1], [4.0, 6.0, 0.9]], duration_s=6.0))
    assert made["sound"] == sound
    assert made["frames"] == len(frames) == 60
    assert heard == pytest.approx(6.0, abs=0.1)
    where = lay_out((0, 0), kind="sound", duration_s=6.0).wave
    assert [hue(colours_at(frames[30], where, share)) for share in (1 / 6, 0.45, 5 / 6)] == ["blue", "grey", "red"]


def test_the_strip_is_under_the_picture_and_its_cursor_moves(tmp_path: Path, astronaut: np.ndarray):
    silent = encode(tmp_path / "silent.mp4", moving(astronaut, count=50, step=1))
    with av.open(str(silent)) as source, av.open(str(tmp_path / "a.mp4"), "w") as container:
        video = container.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.dts is not None]
        for packet in packets:
            packet.stream = video
        add_sound(container, tone(2.0, rate=48_000)[None], codec="aac", rate=48_000, packets=packets)
    content = plan("video", [[0.0, 1.0, 0.2], [1.0, 2.0, 0.8]], duration_s=2.0, frames=50)
    made, frames, heard = draw(tmp_path / "a.mp4", content)
    layout = lay_out((320, 240), kind="video", duration_s=2.0, sound=True)
    where = layout.wave
    assert where is not None
    assert where.y1 >= layout.picture.y2
    assert frames[0].shape == (layout.height, layout.width, 3)
    assert (made["frames"], made["sound"]) == (50, "kept")
    assert heard == pytest.approx(2.0, abs=0.1)
    assert [hue(colours_at(frames[2], where, share)) for share in (0.3, 0.7)] == ["blue", "red"]
    row = round(where.y2) - 3  # below the wave: only the cursor is bright there
    places = [int(frame[row, : round(where.x2)].sum(axis=1).argmax()) for frame in frames[5:50:10]]
    assert places == sorted(places)
    assert places[-1] - places[0] > where.width / 2


def test_a_clip_whose_sound_was_not_judged_has_no_strip(tmp_path: Path, astronaut: np.ndarray):
    media = encode(tmp_path / "a.mp4", moving(astronaut, count=4))
    content = plan("video", [], duration_s=0.16, frames=4) | {"sound": None}
    _, frames, _ = draw(media, content)
    assert frames[0].shape[0] == lay_out((320, 240), kind="video", duration_s=0.16).height


def test_a_plan_of_sound_for_a_picture_is_a_mistake_of_the_caller(tmp_path: Path, astronaut: np.ndarray):
    media = encode(tmp_path / "a.mp4", moving(astronaut, count=4))
    with pytest.raises(WorkerFailure, match="bad_request"):
        draw(media, plan("sound", [], duration_s=1.0))


def test_each_column_shows_the_extremes_of_its_time():
    peaks = Peaks()
    sound = np.zeros(4 * SOUND_RATE, np.float32)
    sound[100], sound[3 * SOUND_RATE + 50] = 0.5, -0.75
    for start in range(0, len(sound), 999):
        peaks.take(sound[start : start + 999])
    assert peaks.columns(4, duration_s=4.0).tolist() == [[0, 0.5], [0, 0], [0, 0], [-0.75, 0]]
    peaks.start_s = 2.0  # half of it is after the end of the pictures
    assert peaks.columns(4, duration_s=4.0).tolist() == [[0, 0], [0, 0], [0, 0.5], [0, 0]]
    peaks.start_s = -3.0
    assert peaks.columns(4, duration_s=4.0).tolist() == [[-0.75, 0], [0, 0], [0, 0], [0, 0]]


def test_a_sound_of_a_blink_fills_its_columns():
    peaks = Peaks()
    peaks.take(np.full(800, 0.25, np.float32))
    assert (peaks.columns(100, duration_s=0.05)[:, 1] == 0.25).all()
