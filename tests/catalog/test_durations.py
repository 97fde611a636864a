"""Measured durations: the only source of the times shown to visitors."""

from __future__ import annotations

import pytest

from backend.catalog.durations import KEPT, Durations


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


def test_a_job_estimate_needs_every_step_measured(tmp_path):
    durations = Durations(tmp_path / "durations.json")
    durations.add("media", mode="quick", seconds=1)
    durations.add("mesonet", mode="quick", seconds=2)
    assert durations.job_estimate(["mesonet"], mode="quick") is None
    durations.add("report", mode="quick", seconds=3)
    assert durations.job_estimate(["mesonet"], mode="quick") == pytest.approx(6)
    assert durations.job_estimate(["mesonet", "va"], mode="quick") is None


def test_a_damaged_measurement_file_starts_afresh(tmp_path):
    (tmp_path / "durations.json").write_text("{")
    assert Durations(tmp_path / "durations.json").typical("media", mode="quick") is None
