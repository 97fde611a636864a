"""What a cluster adds: time between two jobs of a node, and how throughput grows with the nodes. Jobs only wait, so one machine is many.

python -m tests.bench.nodes [COUNT ...]
"""

from __future__ import annotations

import hashlib
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from backend.job import Job
from shared.records import JobId, Submission, new_id
from shared.settings import Settings, read_settings
from shared.store import Store
from tests.dispatch import nodes
from tests.dispatch.back_end import BackEnd, eventually

#: Seconds a job waits, and how many of them each node gets, when throughput is measured.
WORK_S = 8.0
JOBS_OF_A_NODE = 6
#: The same when the time between two jobs is measured; the first ones, which start processes, are left out.
SHORT_S, SHORT_JOBS, FIRST = 0.2, 40, 5


class Jobs:
    """Submits jobs that wait, in folders of its own."""

    def __init__(self, folder: Path) -> None:
        self.settings: Settings = read_settings(data=folder / "var", scan_s=0.05)
        self.store = Store(self.settings.submissions, self.settings.results).prepare(self.settings.backend_state)

    def submit(self, seconds: float) -> JobId:
        """One job."""
        job = new_id()
        content = f"{seconds} s {job}".encode()
        (self.store.open_submission(job) / "media").write_bytes(content)
        self.store.submit(
            Submission(
                id=job,
                received=datetime.now(UTC),
                email=None,
                pin_hash=None,
                detectors=("mesonet",),
                original_name="clip.mp4",
                sha256=hashlib.sha256(content).hexdigest(),
                bytes=len(content),
            )
        )
        return job

    def seconds(self, count: int, *, each_s: float) -> float:
        """How long ``count`` jobs take, from the first submission to the last end."""
        began = time.monotonic()
        jobs = [self.submit(each_s) for _ in range(count)]
        eventually(lambda: all(self.store.stage_of(job) == "done" for job in jobs), within_s=1200)
        return time.monotonic() - began


@contextmanager
def cluster(folder: Path, count: int) -> Iterator[tuple[Jobs, nodes.Machines, nodes.Site]]:
    """``count`` nodes and a dispatcher."""
    jobs, machines = Jobs(folder), nodes.Machines(count)
    try:
        site = nodes.Site(jobs.settings, jobs.store, machines, folder, lacks=None, jobs=None)
        try:
            eventually(lambda: len(site.engine._willing()) == count, within_s=300)
            yield jobs, machines, site
        finally:
            site.end()
    finally:
        machines.close()


def scaling(folder: Path, counts: Sequence[int]) -> dict[int, float]:
    """Jobs a second with so many nodes."""
    rates = {}
    with cluster(folder, counts[0]) as (jobs, machines, site):
        for count in counts:
            machines.grow(count)
            eventually(lambda count=count: len(site.engine._willing()) == count, within_s=300)
            jobs.seconds(2 * count, each_s=1.0)  # the first task on a node starts a process
            rates[count] = JOBS_OF_A_NODE * count / jobs.seconds(JOBS_OF_A_NODE * count, each_s=WORK_S)
    return rates


def between_jobs_s(folder: Path) -> tuple[float, float]:
    """Median seconds between the end of one job's work and the begin of the next: on a node, and in a thread of the dispatcher."""
    (folder / "node").mkdir()
    with cluster(folder / "node", 1) as (jobs, _, site):
        jobs.seconds(SHORT_JOBS, each_s=SHORT_S)
        on_a_node = _gap(site.notes.moments())
    begun: list[float] = []

    def wait(job: Job) -> None:
        begun.append(time.monotonic())
        time.sleep(SHORT_S)

    (folder / "thread").mkdir()
    jobs = Jobs(folder / "thread")
    settings = jobs.settings.model_copy(update={"jobs": 1})
    back_end = BackEnd(settings, jobs.store, folder / "thread", wait, draws=None, retry_s=(0.0,))
    jobs.seconds(SHORT_JOBS, each_s=SHORT_S)
    back_end.end()
    return on_a_node, _gap(begun)


def _gap(begun: list[float]) -> float:
    moments = sorted(begun)[FIRST:]
    return statistics.median(after - before for before, after in itertools.pairwise(moments)) - SHORT_S


def main(counts: Sequence[int]) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        node, thread = between_jobs_s(Path(folder))
        print(f"between two jobs: {1000 * node:.1f} ms on a node, {1000 * thread:.1f} ms in a thread", flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        rates = scaling(Path(folder), counts)
        for count, rate in rates.items():
            print(f"{count} nodes: {rate:.3f} jobs/s, {rate / rates[counts[0]] * counts[0] / count:.3f} of linear")


if __name__ == "__main__":
    main([int(count) for count in sys.argv[1:]] or [1, 2, 4, 8])
