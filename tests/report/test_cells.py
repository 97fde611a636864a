"""Cells of time, the wave form, and the bounds of ``curves.json``: known scores give known counts."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from backend.report.build import scored_detectors
from backend.report.cells import MOST_CELLS, cell_length, lanes_of, shots_of
from backend.report.curves import MOST_OF_PERSONS, MOST_POINTS, write_curves
from backend.report.waveform import MOST_COLUMNS, wave_of
from base_detector import SOUND_RATE, Shot
from shared.curves import Curves, Lane
from shared.reading import read_record
from shared.results import DetectorResult, FaceRow, Finding, Result
from tests.units import with_pictures, with_sound


def given(faces: list[FaceRow], detector: DetectorResult, score: Callable[[FaceRow], float | None]) -> DetectorResult:
    return detector.model_copy(update={"scores": tuple(score(row) for row in faces)})


def lane(lanes: list[Lane], person: int | None, unit: str = "face") -> Lane:
    return next(item for item in lanes if (item.unit, item.person) == (unit, person))


@pytest.fixture
def two_persons(made_result: Callable, made_detector: Callable) -> Result:
    """4 s of two persons, 25 faces a second: of person 2 both detectors are above from 2 s on, nobody judged its second 1 to 2."""

    def scores(row: FaceRow) -> float | None:
        if row.person == 0:
            return 0.9 if row.frame % 25 == 7 else 0.1  # one face of each second: no median
        return None if 1 <= row.time_s < 2 else 0.95 if row.time_s >= 2 else 0.2

    def detectors(faces: list[FaceRow]) -> list[DetectorResult]:
        first = given(faces, made_detector("aa", faces=faces, level=0.5), scores)
        second = given(faces, made_detector("bb", faces=faces, level=0.5, threshold=0.9), scores)
        third = given(faces, made_detector("cc", faces=faces, level=0.5, threshold=0.96), scores)
        few = given(faces, made_detector("dd", faces=faces, level=0.5), lambda row: 0.99 if row.frame == 0 else None)
        few = few.model_copy(update={"finding": Finding(points="inconclusive", code="few_units", sentence="Too few.")})
        return [first, second, third, few]

    return made_result(frames=100, persons=2, detectors=detectors)


def test_a_cell_counts_each_detector_by_its_median_and_its_own_threshold(two_persons: Result) -> None:
    lanes = lanes_of(two_persons, scored_detectors(two_persons), cell_s=1.0)
    first, second = lane(lanes, 0), lane(lanes, 1)
    assert (first.above, first.of) == ([0, 0, 0, 0], [3, 3, 3, 3])
    assert (second.above, second.of) == ([0, 0, 2, 2], [3, 0, 3, 3])
    assert second.present == [25, 25, 25, 25]
    assert second.values["aa"].median == [0.2, None, 0.95, 0.95]
    assert second.values["aa"].judged == [25, 0, 25, 25]
    assert second.values["dd"].judged == [1, 0, 0, 0], "shown, though in no count"
    assert lane(lanes, None).values["aa"].median == [0.2, 0.1, 0.95, 0.95], "the highest face of each frame"


def test_a_lane_begins_and_ends_with_its_person(two_persons: Result) -> None:
    rows = [place for place, row in enumerate(two_persons.faces) if row.person == 0 or 2 <= row.time_s < 3]
    faces = tuple(two_persons.faces[place] for place in rows)
    detectors = tuple(
        item.model_copy(update={"scores": tuple(item.scores[place] for place in rows)})
        for item in two_persons.detectors
    )
    result = two_persons.model_copy(update={"faces": faces, "detectors": detectors})
    late = lane(lanes_of(result, scored_detectors(result), cell_s=1.0), 1)
    assert (late.first, late.above, late.present) == (2, [2], [25])


def test_a_shot_has_the_person_with_the_most_detectors_above(two_persons: Result) -> None:
    shots = (Shot(0, 0, 49, 0.0, 2.0), Shot(1, 50, 99, 2.0, 4.0))
    faces = tuple(row.model_copy(update={"shot": int(row.time_s >= 2)}) for row in two_persons.faces)
    result = two_persons.model_copy(update={"shots": shots, "faces": faces})
    assert [(one.shot, one.above, one.of) for one in shots_of(result, scored_detectors(result))] == [
        (0, 0, 3),
        (1, 2, 3),
    ]


def test_the_voice_and_whole_pictures_have_lanes_of_their_own(two_persons: Result) -> None:
    result = with_sound(with_pictures(two_persons, [0.9, None, 0.2, 0.8]), [0.1, 0.9, None, 0.8])
    lanes = lanes_of(result, scored_detectors(result), cell_s=1.0)
    pictures, voice = lane(lanes, None, "picture"), lane(lanes, None, "sound")
    assert sum(pictures.present) == 4
    assert sum(pictures.values["ferretnet"].judged) == 3
    heard = voice.values["aasist"]
    assert {score for score in heard.median if score is not None} <= {0.1, 0.9, 0.8}
    assert len(voice.of) == np.ceil(max(end for _, end in result.detectors[-1].windows))
    assert lanes_of(result.model_copy(update={"media": result.media}), [], cell_s=1.0) == []


@pytest.mark.parametrize(("seconds", "length"), [(0.4, 1), (120, 1), (121, 2), (600, 5), (7200, 60)])
def test_cells_grow_with_the_clip(seconds: float, length: float) -> None:
    assert cell_length(seconds) == length
    assert seconds / length <= MOST_CELLS


def test_the_wave_form_has_the_peaks_of_the_samples() -> None:
    samples = np.zeros(10 * SOUND_RATE, np.float32)
    samples[5 * SOUND_RATE] = 0.5
    samples[-1] = -0.25
    wave = wave_of(samples, 1.5)
    assert wave is not None
    assert len(wave.low) == len(wave.high) == MOST_COLUMNS
    assert [place for place, value in enumerate(wave.high) if value] == [MOST_COLUMNS // 2]
    assert (wave.high[MOST_COLUMNS // 2], wave.low[-1]) == (100, -50)
    assert (wave.start_s, wave.end_s) == (1.5, 11.5)
    silence = wave_of(np.zeros(SOUND_RATE, np.float32), 0.0)
    assert silence is not None
    assert set(silence.low + silence.high) == {0}
    assert wave_of(np.zeros(0, np.float32), 0.0) is None


def test_a_long_clip_of_many_persons_keeps_every_person_within_bounds(
    made_result: Callable, made_detector: Callable, tmp_path: Path
) -> None:
    result = made_result(
        frames=6000,
        persons=12,
        detectors=lambda faces: [made_detector(f"d{n}", faces=faces, level=0.6) for n in range(4)],
    )
    started = time.perf_counter()
    write_curves(result, scored_detectors(result), tmp_path / "curves.json")
    assert time.perf_counter() - started < 30
    curves = read_record(tmp_path / "curves.json", Curves)
    assert curves.persons == list(range(12))
    of_persons = [line for line in curves.lines if line.person is not None]
    assert {line.person for line in of_persons} == set(range(12))
    assert sum(len(line.t) for line in of_persons) <= MOST_OF_PERSONS * 1.05
    assert max(len(line.t) for line in curves.lines) <= MOST_POINTS + 2
    assert (tmp_path / "curves.json").stat().st_size < 6_000_000
