"""Who is next, and how long the others wait."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

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
    estimates = {item.id: (30.0, 30.0) for item in items}
    found = waits(items, working_left=(10, 10), estimates=estimates, places=1)
    assert list(found.values()) == [(10, 10), (40, 40), (70, 70)]
    assert waits(items, working_left=(10, 10), estimates=estimates, places=2)[items[2].id] == (35, 35)


def test_behind_an_unmeasured_job_the_wait_is_an_interval_and_never_silence():
    items = in_order([waiting(minute) for minute in range(4)], begun=[])
    spans = [(5.0, 5.0), (0.0, 60.0), (5.0, 5.0), (5.0, None)]
    estimates = {item.id: span for item, span in zip(items, spans, strict=True)}
    found = waits(items, working_left=(0, 0), estimates=estimates, places=1)
    assert list(found.values()) == [(0, 0), (5, 5), (5, 65), (10, 70)]
    assert list(waits(items, working_left=(3, None), estimates=estimates, places=1).values())[-1] == (13, None)
