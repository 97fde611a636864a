"""The order of waiting jobs: priority first, then fairness between visitors, then arrival.

Pure functions over parsed submissions, so that the order can be tested without folders. Fairness: of two equal priorities the
visitor with fewer jobs in work or begun lately goes first, so one visitor's hundred uploads do not hold up another's one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from shared.records import JobId, Submission


def in_order(waiting: Sequence[Submission], *, begun: Iterable[str]) -> list[Submission]:
    """Sort ``waiting`` as it will be begun; ``begun`` are the visitors of jobs in work and of those begun lately."""
    counts = Counter(begun)
    left = sorted(waiting, key=lambda item: (item.received, item.id))
    ordered: list[Submission] = []
    while left:
        following = min(left, key=lambda item: (-item.priority, counts[item.visitor], item.received, item.id))
        left.remove(following)
        counts[following.visitor] += 1
        ordered.append(following)
    return ordered


def waits(
    ordered: Sequence[Submission], *, working_left_s: float | None, estimates: dict[JobId, float | None], places: int
) -> dict[JobId, float | None]:
    """Seconds until each waiting job begins; None as soon as something ahead of it was never measured.

    ``working_left_s`` is what the jobs in work still need (None = unknown), ``places`` how many run side by side.
    """
    ahead = working_left_s
    found: dict[JobId, float | None] = {}
    for item in ordered:
        found[JobId(item.id)] = None if ahead is None else ahead / places
        own = estimates.get(JobId(item.id))
        ahead = None if ahead is None or own is None else ahead + own
    return found
