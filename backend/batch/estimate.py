"""How long a batch will take and what it will cost, from a sample that is judged now.

Large files take longer, and a few of them make most of the time of many lists. So a file's chance to be in the sample grows with its
size, and its time is divided by that chance: systematic sampling with probability proportional to size, and the estimator of Hansen and
Hurwitz (Cochran, Sampling Techniques, 3rd edition 1977, sections 9A.3 and 9A.5). Its variance comes from the differences of successive
files, the usual way for systematic samples (Wolter, Introduction to Variance Estimation, 2nd edition 2007, chapter 8). What is measured
of each file is how long it was in work while all places were taken; the whole takes the mean of that, times the number of files, over the
places. The interval is 95 % (Student's t). Imported by the commands.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from scipy import stats

from backend.batch.entries import Entry
from backend.batch.side_by_side import as_done

#: Files judged for an estimate first. Twice and four times as many are judged while the interval is wider than ``WANTED``.
SAMPLE: Final = 40
#: Half of the interval, as a share of the estimate.
WANTED: Final = 0.15
#: At least so many for each place, so that most of the time all places are taken.
SAMPLE_A_PLACE: Final = 4
LEVEL: Final = 0.95
#: What a file costs whatever its size, as a share of the mean size. In simulated lists of 1,000 (sizes log-normal; time proportional to
#: size with a spread of 10 to 50 %, or independent of it with one of 20 to 50 %) 1 gives intervals that hold in 93 to 96 % of the lists;
#: with less, a list whose sizes say nothing fares worse, with more, one whose sizes say all.
_FIXED: Final = 1.0


@dataclass(frozen=True)
class Picked:
    """A file of the sample; ``weight``: its share of the sample over its share of the whole, by which its time is multiplied."""

    entry: Entry
    weight: float = 1.0


@dataclass(frozen=True)
class Measured:
    """Seconds in work of each file of the sample, in the order of size, times its weight; and what starting the workers took."""

    seconds: tuple[float, ...]
    start_s: float
    at_once: int
    failed: int


@dataclass(frozen=True)
class Estimate:
    """Wall-clock seconds of ``nodes`` machines like this one for ``files`` files, with the ends of the interval."""

    files: int
    nodes: int
    sample: int
    seconds: float
    low_s: float
    high_s: float

    def cost(self, price_an_hour: float) -> tuple[float, float, float]:
        """What the machines cost at a price an hour each: middle, low, high. A bill may round hours up."""
        middle, low, high = (
            self.nodes * price_an_hour * value / 3600 for value in (self.seconds, self.low_s, self.high_s)
        )
        return middle, low, high


def sample_of(entries: Sequence[Entry], *, most: int) -> list[Picked]:
    """At most ``most`` of the entries, large ones with a higher chance; those whose size is not known (addresses) count as middling."""
    known = [entry for entry in entries if entry.trouble is None]
    if len(known) <= most:
        return [Picked(entry) for entry in known]
    sizes = np.array([_size(entry.path) for entry in known])
    sizes[np.isnan(sizes)] = 1.0 if np.isnan(sizes).all() else np.nanmean(sizes)
    order = np.argsort(sizes, kind="stable")
    shares = sizes[order] + _FIXED * sizes.mean() + 1e-9
    shares /= shares.sum()
    places = np.searchsorted(np.cumsum(shares), (np.arange(most) + 0.5) / most)
    return [Picked(known[order[place]], 1 / (shares[place] * len(known))) for place in places.tolist()]


def most_sampled(files: int, *, at_once: int) -> int:
    """How many files of a list are judged at most for its estimate: four times the first sample, and no more than half of a long list."""
    first = max(SAMPLE, SAMPLE_A_PLACE * at_once)
    return min(4 * first, max(first, files // 2))


def measure_until_sure(
    sample: Sequence[Picked],
    judge: Callable[[Entry], bool],
    *,
    files: int,
    at_once: int,
    cut_off: Callable[[], None],
) -> Measured:
    """Judge a part of the sample that is spread over all of it, then further parts until the estimate is as sure as ``WANTED``."""
    seconds: dict[int, float] = {}
    start_s, failed = 0.0, 0
    for places in _parts(len(sample), first=max(SAMPLE, SAMPLE_A_PLACE * at_once)):
        found = measure([sample[place] for place in places], judge, at_once=at_once, cut_off=cut_off)
        start_s, failed = start_s if seconds else found.start_s, failed + found.failed
        seconds.update(zip(places, found.seconds, strict=True))
        measured = Measured(tuple(seconds[place] for place in sorted(seconds)), start_s, at_once, failed)
        sum_up = estimate(measured, files=files)
        if sum_up.high_s - sum_up.low_s <= 2 * WANTED * sum_up.seconds:
            break
    return measured


def _parts(count: int, *, first: int) -> list[range]:
    """The places of a sample in parts, each evenly spread: a quarter, a quarter, a half; or two halves; or all."""
    if count >= 4 * first:
        return [range(2, count, 4), range(0, count, 4), range(1, count, 2)]
    if count >= 2 * first:
        return [range(1, count, 2), range(0, count, 2)]
    return [range(count)]


def measure(
    sample: Sequence[Picked], judge: Callable[[Entry], bool], *, at_once: int, cut_off: Callable[[], None]
) -> Measured:
    """Judge the sample, ``at_once`` at a time; ``judge`` says whether a file was judged. A file on each place is judged before, to start
    the workers, and not counted; some more at the end keep all places taken until the last of the sample is done.
    """
    stopping, began = threading.Event(), time.perf_counter()
    middle = sample[len(sample) // 2].entry
    list(as_done(lambda _: judge(middle), pieces=at_once, at_once=at_once, stopping=stopping, cut_off=cut_off))
    start_s = time.perf_counter() - began
    # mixed, or the long ones would all be in work together at the end; the same mixture each time
    order = np.random.default_rng(0).permutation(len(sample)).tolist()
    fillers = order[: at_once - 1]
    seconds: dict[int, float] = {}
    failed = 0

    def work(number: int) -> tuple[int, bool, float]:
        begun = time.perf_counter()
        good = judge(sample[(order + fillers)[number]].entry)
        return number, good, time.perf_counter() - begun

    for number, good, took in as_done(
        work, pieces=len(order) + len(fillers), at_once=at_once, stopping=stopping, cut_off=cut_off
    ):
        if number < len(order):
            seconds[order[number]] = took
            failed += not good
    weighted = tuple(seconds[place] * picked.weight for place, picked in enumerate(sample))
    return Measured(weighted, max(0.0, start_s - statistics.median(seconds.values())), at_once, failed)


def estimate(measured: Measured, *, files: int, nodes: int = 1) -> Estimate:
    """Time for ``files`` files on ``nodes`` machines like this one. A sample of one file has no interval: it is from 0 to infinity."""
    values = np.asarray(measured.seconds)
    count, mean = len(values), float(values.mean())
    each = files / (measured.at_once * nodes)
    half = float("inf")
    if count > 1:
        left_out = max(0.0, 1 - count / files) if files else 0.0
        variance = left_out / count * float((np.diff(values) ** 2).sum()) / (2 * (count - 1))
        half = float(stats.t.ppf((1 + LEVEL) / 2, count - 1)) * variance**0.5
    start = measured.start_s
    return Estimate(
        files=files,
        nodes=nodes,
        sample=count,
        seconds=start + each * mean,
        low_s=start + each * max(0.0, mean - half),
        high_s=start + each * (mean + half),
    )


def _size(path: Path | None) -> float:
    try:
        return float(path.stat().st_size) if path else float("nan")
    except OSError:
        return float("nan")
