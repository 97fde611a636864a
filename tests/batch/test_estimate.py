"""The estimate of a dry run: what the sample says of the whole, how sure it is, and what it costs."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from backend.batch.entries import Entry
from backend.batch.estimate import Measured, Picked, estimate, measure, measure_until_sure, most_sampled, sample_of
from backend.batch.meter import CoresBusy, Meter


def test_the_interval_holds_the_true_time_as_often_as_it_says(tmp_path: Path):
    """100 lists of 500 files whose time follows their size with a spread of 25 %: most intervals hold the time of the whole."""
    random = np.random.default_rng(7)
    entries = [Entry(str(number), tmp_path / f"{number:03d}") for number in range(500)]
    held, off = 0, []
    for _ in range(100):
        sizes = random.lognormal(10, 1, 500).astype(int)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("backend.batch.estimate._size", lambda path, sizes=sizes: float(sizes[int(path.name)]))
            sample = sample_of(entries, most=40)
        seconds = 0.3 + sizes / sizes.mean() * random.lognormal(0, 0.25, 500)
        weighted = [seconds[int(picked.entry.file)] * picked.weight for picked in sample]
        found = estimate(Measured(tuple(weighted), 5.0, 4, 0), files=500)
        truth = 5.0 + seconds.sum() / 4
        held += found.low_s <= truth <= found.high_s
        off.append(abs(found.seconds / truth - 1))
    assert held >= 90
    assert np.quantile(off, 0.95) < 0.1


def test_more_machines_share_the_files_and_each_has_its_start_and_its_price():
    measured = Measured((1.0, 2.0, 3.0), 10.0, 2, 0)
    one, eight = (estimate(measured, files=8000, nodes=nodes) for nodes in (1, 8))
    assert one.seconds == pytest.approx(10 + 8000)
    assert eight.seconds == pytest.approx(10 + 1000)
    middle, low, high = eight.cost(0.53)
    assert middle == pytest.approx(8 * 0.53 * 1010 / 3600)
    assert low < middle < high


def test_a_list_that_is_its_own_sample_has_no_doubt_and_one_file_of_many_nothing_else():
    assert estimate(Measured((1.0, 2.0), 0.0, 1, 0), files=2).low_s == 3.0
    one = estimate(Measured((1.0,), 0.0, 1, 0), files=9)
    assert (one.low_s, one.high_s) == (0.0, float("inf"))


def test_large_files_are_in_the_sample_more_often_and_weigh_less_there(tmp_path: Path):
    entries = []
    for number in range(100):
        path = tmp_path / f"{(number * 37) % 100:02d}"
        path.write_bytes(bytes(10_000 if path.name == "99" else 100))
        entries.append(Entry(path.name, path))
    sample = sample_of(entries, most=10)
    large = [picked for picked in sample if picked.entry.file == "99"]
    small = [picked for picked in sample if picked.entry.file != "99"]
    assert len(large) > 2
    assert large[0].weight < 0.2
    assert small[0].weight > 1
    assert [picked.weight for picked in sample_of(entries[:3], most=5)] == [1.0, 1.0, 1.0]


def test_addresses_have_no_size_and_the_same_chance():
    entries = [Entry(str(number), None, f"http://example.org/{number}") for number in range(50)]
    sample = sample_of(entries, most=10)
    assert [picked.weight for picked in sample] == pytest.approx([1.0] * 10)
    assert len({picked.entry.file for picked in sample}) == 10


def test_starting_the_workers_is_measured_apart_and_the_times_belong_to_their_files():
    seen: list[str] = []
    lock = threading.Lock()

    def judge(entry: Entry) -> bool:
        with lock:
            cold = len(seen) < 2
            seen.append(entry.file)
        time.sleep(0.3 if cold else 0.02 * int(entry.file))
        return entry.file != "2"

    sample = [Picked(Entry(str(number), None, "http://example.org"), 2.0) for number in range(5)]
    measured = measure(sample, judge, at_once=2, cut_off=lambda: None)
    assert measured.start_s > 0.2
    assert len(measured.seconds) == 5
    assert measured.seconds[4] >= 2 * 0.08
    assert measured.failed == 1


@pytest.mark.parametrize(("spread", "judged"), [(0.05, 40), (0.55, 80), (3.0, 160)])
def test_more_is_judged_until_the_estimate_is_sure(spread: float, judged: int, monkeypatch: pytest.MonkeyPatch):
    took = np.random.default_rng(5).lognormal(0, spread, 400)
    monkeypatch.setattr(
        "backend.batch.estimate.measure",
        lambda sample, judge, **_: Measured(tuple(took[int(one.entry.file)] for one in sample), 1.0, 2, 1),
    )
    sample = [Picked(Entry(str(number), None)) for number in range(most_sampled(400, at_once=2))]
    assert len(sample) == 160
    found = measure_until_sure(sample, lambda _: True, files=400, at_once=2, cut_off=lambda: None)
    assert len(found.seconds) == judged
    assert set(found.seconds) <= set(took[:160])
    assert list(found.seconds) == [value for value in took if value in found.seconds], "in the order of the sample"


def test_rate_and_time_left_follow_what_was_done_lately():
    now = [0.0]
    meter = Meter(total=1000, done=100, clock=lambda: now[0])
    assert (meter.rate, meter.left_s) == (None, None)
    for _ in range(400):  # two a second, then one in two seconds
        now[0] += 0.5
        meter.add(failed=False)
    assert meter.rate == pytest.approx(2.0)
    assert meter.left_s == pytest.approx(250, rel=0.01)
    for _ in range(200):
        now[0] += 2.0
        meter.add(failed=True)
    assert meter.rate == pytest.approx(0.5, rel=0.02)
    assert (meter.done, meter.failed) == (700, 200)


def test_busy_cores_are_those_that_we_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 2})
    stat = tmp_path / "stat"
    stat.write_text("cpu 9 9 9 9\ncpu0 0 0 0 0 0 0 0 0 0 0\ncpu1 0 0 0 0 0 0 0 0\ncpu2 0 0 0 0 0 0 0 0\nintr 5\n")
    busy = CoresBusy(stat)
    assert busy() is None
    stat.write_text("cpu0 60 10 20 10 0 0 0 0 0 0\ncpu1 100 0 0 0 0 0 0 0\ncpu2 50 0 0 40 10 0 0 0\nintr 6\n")
    assert busy() == pytest.approx(2 * 140 / 200)
