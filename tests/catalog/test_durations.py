"""Measured durations: the only source of the times shown to visitors."""

from __future__ import annotations

import errno
import json

import pytest

from backend.catalog.durations import KEPT, Durations, Limits
from shared import durable
from tests.shared.damage import DAMAGES


def test_durations_are_medians_of_what_was_measured_and_survive_a_restart(tmp_path):
    durations = Durations(tmp_path / "state" / "durations.json")
    assert durations.typical("mesonet", mode="quick") is None
    for seconds in (1.0, 100.0, 3.0):
        durations.add("mesonet", mode="quick", seconds=seconds)
    again = Durations(tmp_path / "state" / "durations.json")
    assert again.typical("mesonet", mode="quick").seconds == 3.0
    assert again.typical("mesonet", mode="standard") is None


def test_durations_forget_an_old_machine(tmp_path):
    durations = Durations(tmp_path / "durations.json")
    for _ in range(KEPT):
        durations.add("media", mode="quick", seconds=100)
    for _ in range(KEPT):
        durations.add("media", mode="quick", seconds=1)
    assert durations.typical("media", mode="quick").seconds == 1


def test_a_job_takes_what_was_measured_and_at_most_the_limits_of_the_rest(tmp_path):
    durations = Durations(tmp_path / "durations.json")
    durations.add("media", mode="quick", seconds=1)
    durations.add("mesonet", mode="quick", seconds=2)
    limits = Limits(media_s=100, detector_s=1000)
    assert durations.job_span(["mesonet"], mode="quick", limits=limits) == (pytest.approx(3), None)
    durations.add("report", mode="quick", seconds=3)
    assert durations.job_span(["mesonet"], mode="quick", limits=limits) == (pytest.approx(6), pytest.approx(6))
    assert durations.job_span(["mesonet", "va"], mode="quick", limits=limits) == (pytest.approx(6), pytest.approx(1006))


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_measurement_file_starts_afresh_and_can_be_written_again(tmp_path, damage):
    path = tmp_path / "durations.json"
    Durations(path).add("media", mode="quick", seconds=1)
    damage(path)
    durations = Durations(path)
    durations.add("report", mode="quick", seconds=2)
    assert Durations(path).typical("report", mode="quick").seconds == 2


def test_of_a_damaged_measurement_file_the_readable_steps_are_kept(tmp_path):
    path = tmp_path / "durations.json"
    damaged = {
        "media/quick": [1.5],
        "a/quick": "x",
        "b/quick": [None],
        "c/quick": [-1],
        "d/quick": [1e9],
        "e/quick": {},
        "f": [1],
    }
    path.write_text(json.dumps(damaged | {"g/quick": [True], "h/quick": [2, 3]}))
    durations = Durations(path)
    found = {step: durations.typical(step, mode="quick") for step in ("media", *"abcdefgh")}
    assert {step: typical.seconds for step, typical in found.items() if typical} == {"media": 1.5, "h": 2.5}


def test_a_measurement_that_cannot_be_stored_fails_nothing(tmp_path, monkeypatch):
    durations = Durations(tmp_path / "durations.json")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(durable, "replace_bytes", full)
    monkeypatch.setattr(durable, "replace_json", full)
    durations.add("media", mode="quick", seconds=1)
    assert durations.typical("media", mode="quick").seconds == 1
