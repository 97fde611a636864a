"""Who is next, and how long the others wait."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from backend.catalog.durations import KEPT, Durations
from backend.dispatch.order import in_order, waits
from shared.records import Submission, new_id

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def waiting(minute: int, *, visitor: str = "", priority: int = 0) -> Submission:
    return Submission(
        id=new_id(),
        received=NOON + timedelta(minutes=minute),
        email=None,
        pin_hash=None,
        detectors=("mesonet",),
        original_name="x",
        sha256="0" * 64,
        bytes=1,
        priority=priority,
        visitor=visitor,
    )


def test_first_come_first_served_between_equals():
    items = [waiting(2, visitor="b"), waiting(0, visitor="a"), waiting(1, visitor="c")]
    assert [item.received.minute for item in in_order(items, begun=[])] == [0, 1, 2]


def test_priority_goes_before_everything():
    urgent = waiting(9, priority=1, visitor="a")
    assert in_order([waiting(0), urgent], begun=["a", "a"])[0] is urgent


def test_a_hundred_uploads_of_one_visitor_hold_up_nobody():
    flood = [waiting(minute, visitor="flood") for minute in range(100)]
    single = waiting(500, visitor="single")
    assert in_order([*flood, single], begun=[])[1] is single
    assert in_order([*flood, single], begun=["flood"])[0] is single


def test_waits_add_up_over_the_jobs_ahead():
    items = in_order([waiting(0), waiting(1), waiting(2)], begun=[])
    found = waits(items, working_left_s=10, estimates={item.id: 30.0 for item in items}, places=1)
    assert list(found.values()) == [10, 40, 70]
    assert waits(items, working_left_s=10, estimates={item.id: 30.0 for item in items}, places=2)[items[2].id] == 35


def test_an_unmeasured_job_ahead_makes_the_wait_unknown_not_invented():
    items = in_order([waiting(0), waiting(1), waiting(2)], begun=[])
    found = waits(items, working_left_s=0, estimates={items[0].id: 5.0, items[1].id: None, items[2].id: 5.0}, places=1)
    assert list(found.values()) == [0, 5, None]
    assert set(waits(items, working_left_s=None, estimates={}, places=1).values()) == {None}


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
