"""What a back-end says of itself, for tests: two workers, two detectors, some trouble."""

from __future__ import annotations

from datetime import datetime, timedelta

from shared.vitals import (
    EDGES_S,
    DetectorVitals,
    DiskVitals,
    JobCount,
    StepVitals,
    Trouble,
    Vitals,
    WorkerVitals,
)

TOKEN = "a token of the operator, long enough"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def vitals(now: datetime, **changed: object) -> Vitals:
    """A record as the dispatcher writes it, at ``now``."""
    counts = (0, 2, 5, 3) + (0,) * (len(EDGES_S) - 3)
    return Vitals(
        updated=now,
        started=now - timedelta(hours=3),
        scan_age_s=1.5,
        working=1,
        places=2,
        memory_budget_mb=6144,
        workers=(
            WorkerVitals(name="media", kept="hot", state="busy", runner="process", promised_mb=1500, used_mb=612),
            WorkerVitals(name="mesonet", kept="warm", state="idle", runner="docker", promised_mb=900),
            WorkerVitals(name="va", kept="cold", state="starting", runner=None, promised_mb=700),
        ),
        ended={"budget": 4, "idle": 2},
        jobs=(
            JobCount(outcome="done", count=41),
            JobCount(outcome="failed", code="media_unreadable", count=3),
            JobCount(outcome="failed", code="internal", count=1),
        ),
        detectors=(
            DetectorVitals(
                id="mesonet", title="MesoInception4", version="1.0", state="enabled", next=("draft", "quarantine", "shadow", "disabled"),
                ended={"ok": 40, "failed": 2, "timed_out": 1, "not_applicable": 5}, codes={"out_of_memory": 2, "detector_timed_out": 1},
            ),
            DetectorVitals(
                id="va", title="Visual Artifacts", version="2.1", state="disabled", next=("enabled",), unavailable="weights_missing"
            ),
        ),
        steps=(
            StepVitals(step="media", mode="standard", classes=counts, seconds=61.0, measured=10, median_s=4.1, most_s=9.8),
            StepVitals(step="mesonet", mode="standard", classes=counts, seconds=75.5, measured=10, median_s=6.2, most_s=19.0),
        ),
        disks=(DiskVitals(folder="scratch", free=50_000_000_000, total=100_000_000_000),),
        troubles=(
            Trouble(code="out_of_memory", detector="mesonet", count=2, last=now - timedelta(minutes=7)),
            Trouble(code="media_unreadable", count=3, last=now - timedelta(hours=2)),
        ),
    ).model_copy(update=changed)  # fmt: skip
