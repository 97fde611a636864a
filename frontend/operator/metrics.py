"""Metrics of one portal for Prometheus: what it counts itself, and what it finds in the folders when it is asked.

Owns the names of the metrics; docs/operator.md lists them. Labels have few values: routes, codes, ids of detectors, names of folders; never
an id of a submission, an address or a name of a file. What the back-end says of itself is read from its record (``shared.vitals``), whose
counts begin at zero when it starts, as Prometheus expects of counters.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from importlib.metadata import version
from typing import Final, get_args

from flask import Flask, Response, g, request
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from frontend.operator.pause import Intake, takes
from frontend.portal import Portal
from shared.desk import Desk
from shared.errors import SENTENCES, StoreTrouble
from shared.records import Stage
from shared.vitals import EDGES_S, Verdict, Vitals

#: Upper edges of the classes of latencies, seconds.
LATENCY_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})
EVENTS: Final = "text/event-stream"
#: Codes of jobs that broke without fault of the visitor's file.
OF_OURS: Final = ("internal", "too_many_attempts", "record_invalid", "media_changed")
#: The label of an address that is none of ours.
NO_ROUTE: Final = "none"


# one more series for each counter, which says when it was made: nobody asks for that
disable_created_metrics()  # type: ignore[no-untyped-call]


class Counts:
    """What the portal counts of its requests, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "dfom_requests", "Requests answered.", ("method", "route", "status"), registry=self.registry
        )
        self.latency = Histogram(
            "dfom_request_seconds",
            "From the whole request to the head of the answer.",
            ("route",),
            buckets=LATENCY_S,
            registry=self.registry,
        )
        self.submissions = Counter(
            "dfom_submissions", "Submissions taken and refused.", ("outcome", "code"), registry=self.registry
        )
        self.streams = Gauge("dfom_event_streams", "Event streams that are open.", registry=self.registry)
        ProcessCollector(registry=self.registry)

    def count(self, response: Response, *, seconds: float) -> None:
        """Count the request that ``response`` answers."""
        route = request.url_rule.rule if request.url_rule else NO_ROUTE
        method = request.method if request.method in METHODS else "other"
        self.requests.labels(method, route, str(response.status_code)).inc()
        self.latency.labels(route).observe(seconds)
        if takes(request.endpoint) and request.method == "POST":
            refused = response.status_code >= 400
            self.submissions.labels("refused" if refused else "taken", _code(response) if refused else "none").inc()
        if response.mimetype == EVENTS:
            self.streams.inc()
            response.call_on_close(self.streams.dec)


def _code(response: Response) -> str:
    code = g.get("code")
    return code if code in SENTENCES else f"http_{response.status_code}"


def init_counts(app: Flask, counts: Counts) -> None:
    """Count every request of ``app``. To be called before all others that look at requests: they may refuse them."""

    @app.before_request
    def begin() -> None:
        g.began = time.perf_counter()

    @app.after_request
    def end(response: Response) -> Response:
        counts.count(response, seconds=time.perf_counter() - g.get("began", time.perf_counter()))
        return response


class SiteCollector(Collector):
    """Looks into the folders and the record of the back-end each time Prometheus asks."""

    def __init__(self, site: Portal, desk: Desk, intake: Intake) -> None:
        self._site, self._desk, self._intake = site, desk, intake

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are known when it is asked."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All of it; while the shared folders are away, what can be said without them."""
        now = self._site.clock()
        info = GaugeMetricFamily("dfom_portal_info", "The release that runs.", labels=("version",))
        info.add_metric((version("deepfake-o-meter"),), 1)
        yield info
        yield _one("dfom_intake_paused", "1 while nothing new is taken.", self._intake.paused() is not None)
        yield from self._mails(now)
        vitals: Vitals | None = None
        queue: list[Metric] = []
        with contextlib.suppress(StoreTrouble):
            self._desk.check()
            queue = list(self._queue(now))
            vitals = self._desk.read_vitals()
        yield from self._disks(vitals)
        yield _one("dfom_store_up", "1 while the shared folders answer.", bool(queue))
        yield from queue
        if vitals:
            yield from of_back_end(vitals, now)

    def _mails(self, now: datetime) -> Iterator[Metric]:
        created = [mail.created for mail in self._site.outbox.waiting()]
        yield _one("dfom_mails_waiting", "Mails that are not sent yet.", len(created))
        oldest = max(0.0, (now - min(created)).total_seconds()) if created else 0.0
        yield _one("dfom_mail_oldest_seconds", "Age of the oldest of them, 0 without any.", oldest)

    def _queue(self, now: datetime) -> Iterator[Metric]:
        jobs = GaugeMetricFamily("dfom_queue_jobs", "Jobs: new ones wait, active ones were begun.", labels=("stage",))
        ids = {stage: self._site.store.ids(stage) for stage in _STAGES}
        for stage, found in ids.items():
            jobs.add_metric((stage,), len(found))
        yield jobs
        age = 0.0
        if ids["new"]:
            with contextlib.suppress(FileNotFoundError):  # taken up just now
                age = max(0.0, now.timestamp() - self._site.store.changed("new", ids["new"][0]))
        yield _one("dfom_queue_oldest_seconds", "How long the oldest new job has waited, 0 without any.", age)

    def _disks(self, vitals: Vitals | None) -> Iterator[Metric]:
        free = GaugeMetricFamily("dfom_disk_free_bytes", "Free space of the disk below a folder.", labels=("folder",))
        total = GaugeMetricFamily("dfom_disk_bytes", "Size of the disk below a folder.", labels=("folder",))
        settings = self._site.settings
        for name, path in (
            ("submissions", settings.submissions),
            ("results", settings.results),
            ("frontend", settings.frontend_state),
        ):
            with contextlib.suppress(OSError):
                usage = shutil.disk_usage(path)
                free.add_metric((name,), usage.free)
                total.add_metric((name,), usage.total)
        for disk in vitals.disks if vitals else ():
            free.add_metric((disk.folder,), disk.free)
            total.add_metric((disk.folder,), disk.total)
        yield free
        yield total


_STAGES: Final[tuple[Stage, ...]] = ("new", "active")


def of_back_end(vitals: Vitals, now: datetime) -> Iterator[Metric]:
    """What the back-end says of itself."""
    age = max(0.0, (now - vitals.updated).total_seconds())
    yield _one("dfom_backend_heartbeat_age_seconds", "Since the back-end last said something.", age)
    yield _one("dfom_backend_scan_age_seconds", "Since its loop last looked at the folders.", age + vitals.scan_age_s)
    yield _one("dfom_backend_start_time_seconds", "When it started, since 1970.", vitals.started.timestamp())
    yield _one("dfom_jobs_working", "Jobs in work.", vitals.working)
    yield _one("dfom_jobs_places", "Jobs that can be in work at once.", vitals.places)
    yield from _workers(vitals)
    yield from _outcomes(vitals)
    yield from _detectors(vitals)
    steps = HistogramMetricFamily(
        "dfom_step_seconds", "How long a step of a job took: media, report, or a detector.", labels=("step", "mode")
    )
    for item in vitals.steps:
        counted, buckets = 0, []
        for edge, count in zip((*map(str, EDGES_S), "+Inf"), item.classes, strict=True):
            counted += count
            buckets.append((edge, float(counted)))
        steps.add_metric((item.step, item.mode), buckets, item.seconds)
    yield steps


def _workers(vitals: Vitals) -> Iterator[Metric]:
    workers = GaugeMetricFamily("dfom_workers", "Workers there are now.", labels=("worker", "kept", "state"))
    promised = GaugeMetricFamily(
        "dfom_worker_promised_bytes", "Memory their cards promise, which counts in the budget.", labels=("worker",)
    )
    used = GaugeMetricFamily(
        "dfom_worker_used_bytes", "Memory they have, of those that are processes.", labels=("worker",)
    )
    groups: dict[tuple[str, str, str], int] = {}
    promises: dict[str, int] = {}
    uses: dict[str, int] = {}
    for item in vitals.workers:
        groups[item.name, item.kept, item.state] = groups.get((item.name, item.kept, item.state), 0) + 1
        promises[item.name] = promises.get(item.name, 0) + item.promised_mb
        if item.used_mb is not None:
            uses[item.name] = uses.get(item.name, 0) + item.used_mb
    for labels, count in groups.items():
        workers.add_metric(labels, count)
    for family, sums in ((promised, promises), (used, uses)):
        for name, megabytes in sums.items():
            family.add_metric((name,), megabytes * 1_000_000)
    yield from (workers, promised, used)
    yield _one("dfom_worker_budget_bytes", "Memory for all workers.", vitals.memory_budget_mb * 1_000_000)
    ended = CounterMetricFamily("dfom_workers_ended", "Workers that were ended, by reason.", labels=("reason",))
    for reason, count in vitals.ended.items():
        ended.add_metric((reason,), count)
    yield ended


def _outcomes(vitals: Vitals) -> Iterator[Metric]:
    jobs = CounterMetricFamily("dfom_jobs", "Jobs that ended, by code.", labels=("outcome", "code"))
    # a series that begins at 1 has no increase for Prometheus: what alerts ask for begins at 0
    counts = {("done", "none"): 0} | {("failed", code): 0 for code in OF_OURS}
    counts |= {(item.outcome, item.code or "none"): item.count for item in vitals.jobs}
    for labels, count in counts.items():
        jobs.add_metric(labels, count)
    yield jobs


def _detectors(vitals: Vitals) -> Iterator[Metric]:
    jobs = CounterMetricFamily(
        "dfom_detector_jobs", "Parts of jobs by detector and how they ended.", labels=("detector", "outcome")
    )
    failures = CounterMetricFamily(
        "dfom_detector_failures", "Why detectors failed or were cut off.", labels=("detector", "code")
    )
    state = GaugeMetricFamily("dfom_detector_state", "1 for the state it is in.", labels=("detector", "state"))
    available = GaugeMetricFamily("dfom_detector_available", "1 where it can run.", labels=("detector",))
    for item in vitals.detectors:
        for outcome in get_args(Verdict):
            jobs.add_metric((item.id, outcome), item.ended.get(outcome, 0))
        for code, count in item.codes.items():
            failures.add_metric((item.id, code), count)
        state.add_metric((item.id, item.state), 1)
        available.add_metric((item.id,), float(item.unavailable is None))
    yield from (jobs, failures, state, available)


def _one(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(name, what, value=float(value))
