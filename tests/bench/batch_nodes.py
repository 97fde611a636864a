"""How the throughput of a batch grows with the nodes of a cluster. Files only wait, so one machine is many.

python -m tests.bench.batch_nodes [COUNT ...]
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from backend.batch.arriving import Source
from backend.batch.judging import Visitors
from backend.batch.run import Order, open_batch, record_of
from backend.dispatch.batch_cluster import ClusterHands
from shared.settings import Settings
from tests.batch import on_nodes
from tests.batch.stand_in import WISH, files
from tests.dispatch import nodes

#: Seconds a file is in work, and how many of them each node gets; the first of each starts processes and is left out.
WORK_S, FILES_OF_A_NODE, FIRST = 4.0, 12, 2


@contextmanager
def _environment(**wanted: str) -> Iterator[None]:
    """The nodes' processes read their settings from the environment."""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def files_a_second(folder: Path, count: int) -> float:
    """Files a second in work on ``count`` nodes of one core each."""
    (folder / "notes").mkdir(parents=True)
    contents = [b"pause %.1f %d" % (WORK_S, number) for number in range(count * FILES_OF_A_NODE)]
    entries = files(folder / "in", contents)
    with _environment(DFOM_DATA=str(folder / "var"), DFOM_RUNNER="process"):
        machines = nodes.Machines(count)
        try:
            from backend.dispatch.ray_engine import Cluster  # Ray reads its way of authentication when it is imported

            settings = Settings(data=folder / "var", runner="process", engine="ray", ray_address=machines.address)
            build = partial(on_nodes.back_end, str(folder / "notes"))
            made = record_of(build(settings).pipeline, WISH, source="/in", columns=(), parts=1)
            order = Order(WISH, folder / "out", made, memory_mb=1000)
            source = Source(folder / "fetched", settings, at_once=1)
            hands = ClusterHands(settings, cluster=Cluster(settings), build=build, order=order, source=source)
            with open_batch(folder / "out", made, entries) as batch, hands:
                rows = sum(len(some) for some in batch.run(hands, at_once=hands.places(), visitors=Visitors()))
        finally:
            machines.close()
    if rows != len(entries):
        raise SystemExit(f"{rows} rows for {len(entries)} files: the figure would say nothing")
    return _rate(on_nodes.moments(folder / "notes"), count)


def _rate(moments: list[tuple[float, int]], count: int) -> float:
    """The nodes' begins a second together; of each node the first begins are left out. Nodes begin in step, so their rates are added."""
    begun: dict[int, list[float]] = {}
    for moment, node in moments:
        begun.setdefault(node, []).append(moment)
    steady = [times[FIRST:] for times in begun.values()]
    if len(steady) != count or min(map(len, steady)) < 2:
        raise SystemExit(f"of {count} nodes these had so many files: {sorted(map(len, begun.values()))}")
    return sum((len(times) - 1) / (times[-1] - times[0]) for times in steady)


def scaling(folder: Path, counts: Sequence[int]) -> dict[int, float]:
    """Files a second with so many nodes."""
    return {count: files_a_second(folder / f"{count}", count) for count in counts}


def main(counts: Sequence[int]) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        rates = scaling(Path(folder), counts)
    for count, rate in rates.items():
        print(f"{count} nodes: {rate:.3f} files/s, {rate / rates[counts[0]] * counts[0] / count:.3f} of linear")


if __name__ == "__main__":
    main([int(count) for count in sys.argv[1:]] or [1, 2, 4])
