"""The order of waiting jobs: priority first, then jobs begun before, then fairness between visitors, then arrival.

A job whose numbers are published and whose video is still to be drawn comes after those of its priority that have no numbers yet.

Pure functions over parsed submissions, so that the order can be tested without folders. Fairness: of two equal priorities the
visitor with fewer jobs in work or begun lately goes first, so one visitor's hundred uploads do not delay another's single one. The cost
is n log n: thousands may wait.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from shared.records import JobId, Submission

#: A video that has waited for so many seconds is drawn before the numbers of others: a busy day must end for it, too.
VIDEO_WAITS_S: Final = 600.0


def in_order(
    waiting: Sequence[Submission],
    *,
    begun: Iterable[str],
    resumed: Collection[JobId] = frozenset(),
    later: Collection[JobId] = frozenset(),
) -> list[Submission]:
    """``waiting`` in the order in which jobs will begin; ``begun`` are the visitors of jobs in work and of those begun lately.

    ``resumed`` are those of ``waiting`` that were begun before: they come before others of their priority, except those in ``later``,
    which come after them.
    """

    def rank(item: Submission) -> tuple[Any, ...]:
        return -item.priority, item.id in later, item.id not in resumed

    counts = Counter(begun)
    queues: defaultdict[str, list[Submission]] = defaultdict(list)
    for item in sorted(waiting, key=lambda item: (*rank(item), item.received, item.id), reverse=True):
        queues[item.visitor].append(item)  # the last one is the visitor's next

    def entry(visitor: str) -> tuple[Any, ...]:
        item = queues[visitor][-1]
        return *rank(item), counts[visitor], item.received, item.id, visitor

    heads = [entry(visitor) for visitor in queues]
    heapq.heapify(heads)
    ordered: list[Submission] = []
    while heads:
        visitor = heads[0][-1]
        ordered.append(queues[visitor].pop())
        counts[visitor] += 1
        if queues[visitor]:
            heapq.heapreplace(heads, entry(visitor))
        else:
            heapq.heappop(heads)
    return ordered


def waits(
    ordered: Sequence[Submission], *, working_left_s: float | None, estimates: dict[JobId, float | None], places: int
) -> dict[JobId, float | None]:
    """Seconds until each waiting job begins; None when something ahead of it was never measured.

    ``working_left_s`` is what the jobs in work still need (None = unknown), ``places`` how many run in parallel.
    """
    ahead = working_left_s
    found: dict[JobId, float | None] = {}
    for item in ordered:
        found[item.id] = None if ahead is None else ahead / places
        own = estimates.get(item.id)
        ahead = None if ahead is None or own is None else ahead + own
    return found
