"""What people really bring: every file of ``../shared/field/cases.csv``, judged through the command line as its owner would.

One line of ``EXPECTED`` for each file. A line with ``fault`` (which kind, whose work) must fail; when it passes, the test says so (XPASS):
delete its ``fault`` then. Only the files of the tests that were asked for are judged:
``pytest tests/field -k old_phone`` takes seconds.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.compiled import share_compiled
from tests.field import checks
from tests.field.checks import Check, Outcome

ROOT = Path(__file__).resolve().parents[2]
FIELD = ROOT.parent / "shared" / "field"


@dataclass(frozen=True)
class Want:
    """What must be in the result of one file; None: not asked.

    A pair is a range, both ends included. ``code``: None for a file with a score. ``standard``: judge it in standard mode, every frame,
    instead of quick mode (32 frames). ``fault``: why the line fails today.
    """

    code: str | None = None
    faces: int | tuple[int, int] | None = None
    persons: int | None = None
    shots: int | None = None
    duration: tuple[float, float] | None = None
    size: tuple[int, int] | None = None
    score: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    standard: bool = False
    fault: str | None = None


def person(*more: Check, **wanted: object) -> Want:
    """A clip with one person in view all the time."""
    return Want(persons=1, checks=(checks.every_frame, *more), **wanted)  # type: ignore[arg-type]


def portrait(*more: Check, **wanted: object) -> Want:
    """A picture of one person, upright at 560 x 700."""
    return Want(faces=1, checks=more, **{"size": (560, 700), **wanted})  # type: ignore[arg-type]


FOUR_SECONDS = (3.9, 4.1)

EXPECTED: dict[str, Want] = {
    # faces that are turned
    "sideways_no_tag.jpg": Want(faces=1, notes=("faces_turned",)),
    "fake_upside_down.mp4": person(score=(0.95, 1), notes=("faces_turned",), standard=True),
    "lying_in_bed.mp4": person(notes=("faces_turned",), standard=True),
    "fake_upright.mp4": person(score=(0.99, 1), faces=40, standard=True),
    # size and shape
    "call_fake_starts_small.webm": person(size=(640, 480), score=(0.89, 0.96), notes=("size_changes",), standard=True),
    "webrtc_turned.webm": Want(
        persons=1,
        faces=(60, 75),
        notes=("size_changes",),
        checks=(checks.natural_shape,),
        standard=True,
    ),
    "trailcam_pixfmt.avi": person(checks.skin, faces=20),
    "half_width_pixels.mp4": person(checks.natural_shape, faces=50, notes=("pixels_not_square",), standard=True),
    # clocks
    "pts_outlier.mp4": person(duration=(2.9, 3.1), notes=("clock_repaired",)),
    "joined_clock_jumps_2h.mkv": person(duration=FOUR_SECONDS, notes=("clock_repaired",)),
    "joined_clock_restarts.ts": person(
        checks.own_instants, duration=(3.9, 4.2), notes=("clock_repaired",), standard=True
    ),
    "editlist_trim.mp4": person(checks.sound_with_picture, duration=(0.95, 1.3)),
    "mediarecorder_no_duration.webm": person(duration=FOUR_SECONDS),
    "screen_recording_gaps.mkv": person(checks.curve_breaks(3), duration=(29.9, 30.1)),
    "slowmo_240fps.mp4": person(checks.usual_rate, duration=(0.95, 1.05)),
    "two_frames.mp4": person(faces=2, duration=(0.07, 0.09)),
    "h264_bframes.avi": person(checks.step_of(0.04)),
    "xvid_bframes.avi": person(checks.step_of(0.04)),
    "meme_zero_delay.gif": person(checks.step_of(0.1)),
    # pictures
    "motion_photo.jpg": portrait(size=(720, 900)),
    "xmp_orientation_only.jpg": portrait(),
    "exif_broken.jpg": portrait(),
    "exif6.webp": portrait(checks.skin),
    "exif6.png": portrait(checks.skin),
    "exif_zero.jpg": portrait(),
    "heic_named.jpg": portrait(checks.skin),
    "face_fills_picture.jpg": portrait(size=(1200, 1400)),
    "crowd_60_faces.jpg": Want(faces=(59, 60), checks=(checks.reads(r"\d+ of (59|60)"),)),
    "grey16.png": portrait(),
    "rgb48.png": portrait(checks.skin),
    "cmyk.jpg": portrait(checks.skin),
    "palette_transparent.png": portrait(checks.skin),
    "grey_alpha.png": portrait(),
    "bilevel.png": portrait(),
    "jpeg_no_eoi.jpg": portrait(),
    # people and shots
    "camera_flashes.mp4": Want(persons=1, shots=1, faces=(28, 32)),
    "dissolve_two_people.mp4": Want(persons=2),
    "black_start.mp4": Want(persons=1, shots=2, checks=(checks.from_second(5.0),), standard=True),
    "real_then_fake_same_scene.mp4": person(checks.rises_at(2.4)),
    "video_call_grid_reorders.mp4": Want(
        persons=6,
        faces=240,
        checks=(checks.every_frame,),
        standard=True,
        fault="One tile cuts to its man in profile and close: he is found three pictures later, and not known again.",
    ),
    "reaction_pip.mp4": Want(persons=2, faces=64, checks=(checks.every_frame,)),
    "vertical_on_blurred_copy.mp4": person(),
    "underexposed.mp4": person(),
    "medical_mask.mp4": person(),
    "rapid_cuts_two_people.mp4": Want(persons=2, faces=32, shots=4),
    "punch_in_jump_cuts.mp4": person(shots=4),
    # codecs and containers
    "hlg_hevc10.mov": person(),
    "pq_hevc10.mp4": person(),
    "interlaced.mpg": person(),
    "old_phone.3gp": person(),
    "flash.flv": person(duration=FOUR_SECONDS),
    "timecode_track.mov": person(duration=FOUR_SECONDS),
    "av1.mp4": person(),
    "thumbnail_first_flagged.mp4": person(duration=FOUR_SECONDS),
    "thumbnail_first_unflagged.mov": person(duration=FOUR_SECONDS),
    # damage
    "damaged_middle.mp4": Want(persons=1, faces=(20, 45), notes=("damaged",), standard=True),
    "starts_mid_gop.ts": person(),
    "starts_mid_gop_h264.ts": person(),
    # sound
    "sound_starts_first.mp4": person(checks.sound_with_picture, duration=FOUR_SECONDS),
    "two_sounds.mkv": person(checks.sound_with_picture, duration=FOUR_SECONDS),
    "sound_longer.mp4": person(checks.sound_with_picture, duration=FOUR_SECONDS),
    "surround.mkv": person(checks.sound_with_picture, duration=FOUR_SECONDS),
    "pcm_8k.mov": person(checks.sound_with_picture, duration=FOUR_SECONDS),
}


def _cases() -> list[dict[str, str]]:
    path = FIELD / "cases.csv"
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return [row for row in csv.DictReader(stream) if not row["file"].startswith("(command)")]


@pytest.fixture(scope="session")
def judged(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, weights_folder: Path
) -> Callable[[str], Outcome]:
    """File name -> its outcome. All files of the tests of this session are judged at the first question, two processes at a time."""
    asked = [
        item.callspec.params["name"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == test_a_file_people_bring.__name__
    ]
    out = tmp_path_factory.mktemp("field")
    quick, standard = ([name for name in asked if EXPECTED[name].standard == wanted] for wanted in (False, True))
    parts = [("standard", standard), ("quick 1", quick[::2]), ("quick 2", quick[1::2])]
    outcomes: dict[str, Outcome] = {}
    with ThreadPoolExecutor(2) as two:  # with one thread each, two processes are done sooner than one after the other
        for found in two.map(lambda part: _judge(part[1], out=out / part[0], weights=weights_folder), parts):
            outcomes |= found
    return outcomes.__getitem__


def _judge(names: list[str], *, out: Path, weights: Path) -> dict[str, Outcome]:
    """The outcomes of files of one mode."""
    if not names:
        return {}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DFOM_")}
    share_compiled(out / "var")
    environment |= {
        "DFOM_DATA": str(out / "var"),
        "DFOM_RUNNER": "process",
        "DFOM_WEIGHTS": str(weights),
        "DFOM_THREADS": "1",
    }
    command = [
        sys.executable,
        "-m",
        "deepfake_o_meter",
        "analyze",
        *(str(FIELD / name) for name in names),
        "--detectors",
        "mesonet",
    ]
    command += ["--json", "--out", str(out), *([] if EXPECTED[names[0]].standard else ["--quick"])]
    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1700, check=False)
    assert said.stdout, said.stderr
    outcomes = {}
    for item in json.loads(said.stdout):
        folder = Path(item.get("out", out))
        result = json.loads((folder / "result.json").read_text(encoding="utf-8")) if "out" in item else None
        outcomes[Path(item["file"]).name] = Outcome(item, result, folder)
    return outcomes


def test_every_file_people_brought_has_a_line(research: Path):
    assert {row["file"] for row in _cases()} == set(EXPECTED)


@pytest.mark.timeout(1800)  # at the first question all files are judged
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=[pytest.mark.xfail(strict=True, raises=AssertionError, reason=want.fault)] if want.fault else [],
        )
        for name, want in EXPECTED.items()
    ],
)
def test_a_file_people_bring(name: str, research: Path, judged: Callable[[str], Outcome]):
    want, outcome = EXPECTED[name], judged(name)
    assert outcome.code == want.code, outcome.words
    if outcome.result:
        _holds(want, outcome.result)
    for check in want.checks:
        check(outcome)


def _holds(want: Want, result: dict) -> None:
    media = result["media"]
    assert {note["code"] for note in result["notes"]} >= set(want.notes)
    least, most = want.faces if isinstance(want.faces, tuple) else (want.faces, want.faces)
    assert least is None or least <= len(result["faces"]) <= most
    assert want.persons in (None, len(result["persons"]))
    assert want.shots in (None, len(result["shots"]))
    assert want.size in (None, (media["width"], media["height"]))
    assert want.duration is None or want.duration[0] <= media["duration_s"] <= want.duration[1]
    assert want.score is None or want.score[0] <= result["detectors"][0]["fake_score"] <= want.score[1]
