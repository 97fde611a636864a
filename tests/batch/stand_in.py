"""A pipeline that judges without networks, so that a batch of hundreds of files takes a second; also a program that can be killed.

    python -m tests.batch.stand_in FOLDER OUT LOG [PAUSE_S]

judges the files of FOLDER and writes a line to LOG for each file it begins and each it has ended. A file's score follows from its content;
contents that begin with ``bad``, ``odd`` or ``away`` end in an error of that kind.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from backend.batch.arriving import Source
from backend.batch.entries import Entry
from backend.batch.hands import Here, Wish
from backend.batch.judging import Visitors
from backend.batch.run import Batch, BatchRecord, JudgedBy, open_batch
from backend.job import Job
from shared.clock import utc_now
from shared.errors import PermanentError, RetryableError, UserError
from shared.results import Result, Stability
from shared.settings import Settings
from tests.report.conftest import make_result

WISH = Wish(("mesonet",))


class StandIn:
    """``judge`` calls ``work`` with the job, then answers by the content of its file."""

    def __init__(self, folder: Path, work: Callable[[Job], None] = lambda job: None) -> None:
        self.settings = Settings(data=folder, runner="process")
        self.closed = threading.Event()
        self.pool = SimpleNamespace(close=self.closed.set)
        self.begun: list[str] = []
        self._work = work

    def judge(self, job: Job, board: Any) -> Result:
        """A result of two faces; or the error that the content asks for."""
        self.begun.append(job.name)
        self._work(job)
        content = job.source.read_bytes()
        if content.startswith(b"bad"):
            raise UserError("media_damaged")
        if content.startswith(b"odd"):
            raise ValueError("nobody thought of this")
        if content.startswith(b"away"):
            raise RetryableError("engine_unavailable")
        if content.startswith(b"dies"):
            raise RetryableError("worker_died")
        if content.startswith(b"never"):
            raise PermanentError("media_unreadable")
        result = make_result(frames=2, name=job.name)
        score = int(job.sha256[:4], 16) / 0xFFFF
        band = Stability(variants=(), low=0.25, high=0.75, units=2) if job.stability != "off" else None
        only = result.detectors[0].model_copy(update={"fake_score": score, "scores": (score, score), "stability": band})
        return result.model_copy(
            update={"detectors": (only,), "media": replace(result.media, sha256=job.sha256, bytes=job.bytes)}
        )

    def run(self, job: Job, board: Any) -> Result:
        """The same with a report."""
        result = self.judge(job, board)
        job.report.mkdir(parents=True)
        (job.report / "summary.html").write_text("a report")
        return result


def record(**changes: Any) -> BatchRecord:
    """What the tests' batches were asked for."""
    judge = JudgedBy(
        title="MesoNet", unit="face", threshold=0.5, version="1.0", contract="1", weights={}, parameters={}
    )
    given: dict[str, Any] = {
        "created": utc_now(), "platform_version": "0.1.0", "source": "/in", "mode": "standard", "units": False,
        "report": False, "parts": 1, "detectors": {"mesonet": judge},
    }  # fmt: skip
    return BatchRecord(**(given | changes))


def files(folder: Path, contents: Sequence[bytes]) -> list[Entry]:
    """A file and its entry for each of ``contents``, in their order."""
    folder.mkdir(exist_ok=True)
    entries = []
    for number, content in enumerate(contents):
        path = folder / f"{number:03d}.mp4"
        path.write_bytes(content)
        entries.append(Entry(path.name, path))
    return entries


def run(batch: Batch, pipeline: Any, scratch: Path, **how: Any) -> list[dict[str, Any]]:
    """Judge what is left of ``batch``; the rows in the order in which they were kept."""
    given: dict[str, Any] = {"at_once": 3, "visitors": Visitors()} | how
    wish = replace(WISH, units=batch.record.units, report=batch.record.report, stability=batch.record.stability)
    source = Source(scratch / "fetched", pipeline.settings, at_once=given["at_once"])
    here = Here(pipeline, wish, source, batch.folder / "reports")
    return [row for rows in batch.run(here, **given) for row in rows]


def main() -> None:
    """See the module."""
    folder, out, log = map(Path, sys.argv[1:4])
    pause_s = float(sys.argv[4])
    with log.open("a", buffering=1) as stream:

        def work(job: Job) -> None:
            stream.write(f"begun {job.name}\n")
            time.sleep(pause_s)

        pipeline = StandIn(out.parent / "var", work)
        entries = [Entry(path.name, path) for path in sorted(folder.iterdir())]
        with open_batch(out, record(units=True), entries, rows_a_shard=7) as batch:
            stream.write(f"found {batch.rows}\n")
            for row in run(batch, pipeline, out.parent / "scratch"):
                stream.write(f"ended {row['file']}\n")


if __name__ == "__main__":
    main()
