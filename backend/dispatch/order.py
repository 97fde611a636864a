"""The order of waiting jobs: priority first, then jobs begun before, then fairness between visitors, then arrival.

A job whose numbers are published and whose video is still to be drawn comes after those of its priority that have no numbers yet.

Pure functions over parsed submissions, so that the order can be tested without folders. Fairness: of two equal priorities the
visitor with fewer jobs in work or begun lately goes first, so one visitor's hundred uploads do not delay another's single one. The cost
is n log n: thousands may wait.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from shared.records import JobId, Span, Submission

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
    ordered: Sequence[Submission], *, working_left: Span, estimates: Mapping[JobId, Span], places: int
) -> dict[JobId, Span]:
    """Seconds until each waiting job begins, least and most; equal where everything ahead of it was measured.

    ``working_left`` is what the jobs in work still need, ``places`` how many run in parallel.
    """
    ahead = working_left
    found: dict[JobId, Span] = {}
    for item in ordered:
        least, most = ahead
        found[item.id] = least / places, None if most is None else most / places
        ahead = added(ahead, estimates[item.id])
    return found


def added(first: Span, second: Span) -> Span:
    """The span of two things one after the other."""
    return first[0] + second[0], None if first[1] is None or second[1] is None else first[1] + second[1]
