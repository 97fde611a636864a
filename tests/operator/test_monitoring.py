"""The alert rules and the dashboard ask for what /metrics says, and each alert fires on the fault it is for, and on no other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask import Flask, Response
from prometheus_client.parser import text_string_to_metric_families

from frontend.operator.metrics import OF_OURS
from frontend.operator.office import office
from shared.errors import SENTENCES
from tests.frontend.stories import FrozenClock, Uploader
from tests.operator.vitals import BEARER, TOKEN, vitals

FOLDER = Path(__file__).resolve().parents[2] / "docker" / "monitoring"
RULES = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]
#: Of Prometheus itself, about a target.
OF_PROMETHEUS = {"up": {"job"}}


@pytest.fixture
def known(build: Any, clock: FrozenClock) -> dict[str, set[str]]:
    """name -> labels, of a real answer in which everything has happened once."""
    app: Flask = build(operator_token=TOKEN)

    @app.get("/stream")
    def stream() -> Response:
        return Response((b"data: 1\n\n" for _ in range(2)), mimetype="text/event-stream")

    uploader = Uploader(app.test_client())
    uploader.submit()
    uploader.send(detectors=[])
    office(app).desk.write_vitals(vitals(clock()))
    text = app.test_client().get("/metrics", headers=BEARER).get_data(as_text=True)
    found = {
        sample.name: set(sample.labels) for family in text_string_to_metric_families(text) for sample in family.samples
    }
    return found | OF_PROMETHEUS


def dashboard_expressions() -> Iterator[str]:
    board = json.loads((FOLDER / "dashboard.json").read_text())
    for panel in board["panels"]:
        assert panel["title"]
        assert panel["targets"]
        yield from (target["expr"] for target in panel["targets"])


def check(expression: str, known: dict[str, set[str]]) -> None:
    """Names of metrics and labels in an expression are those of the answer."""
    used = set(re.findall(r"\b(?:dfom_|process_)\w+|\bup\b", expression))
    assert used, expression
    assert used <= known.keys(), expression
    labels = set().union(*(known[name] for name in used))
    for name, selector in re.findall(r"(\w+)\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector)) <= known[name], expression
    for grouped in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", expression):
        assert set(filter(None, re.split(r"\W+", grouped))) <= labels, expression


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_rules_ask_for_what_there_is(rule: dict[str, Any], known: dict[str, set[str]]) -> None:
    check(rule["expr"], known)
    for label in re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])):
        assert label in set().union(*known.values())
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"].endswith((".", "?"))


def test_the_dashboard_asks_for_what_there_is(known: dict[str, set[str]]) -> None:
    expressions = list(dashboard_expressions())
    assert len(expressions) > 20
    for expression in expressions:
        check(expression, known)


def test_codes_that_alerts_ask_for_begin_at_zero() -> None:
    [rule] = [rule for rule in RULES if rule["alert"] == "JobsBreak"]
    assert re.findall(r'code=~"([^"]+)"', rule["expr"])[0].split("|") == list(OF_OURS)
    assert set(OF_OURS) <= SENTENCES.keys()


def test_a_wrong_name_or_label_would_be_found(known: dict[str, set[str]]) -> None:
    for wrong in ("dfom_queue_job > 0", 'dfom_queue_jobs{state="new"} > 0', "sum by (worker) (dfom_queue_jobs)"):
        with pytest.raises(AssertionError):
            check(wrong, known)


def test_the_guide_says_what_to_do_about_each_alert() -> None:
    guide = (FOLDER.parents[1] / "docs" / "operator.md").read_text()
    assert {rule["alert"] for rule in RULES} == set(re.findall(r"^\| `([A-Z][a-z]\w+)` \|", guide, re.MULTILINE))


# --------------------------------------------------------------------------- what promtool says

#: Minutes after which a made site is looked at; of the alert that waits for half a day, more, in larger steps.
LOOK_MIN, LONG_MIN = 95, 13 * 60
#: A site without trouble: series -> first value and what is added each minute.
HEALTHY = {
    'up{job="deepfake-o-meter"}': "1+0",
    "dfom_store_up": "1+0",
    "dfom_backend_heartbeat_age_seconds": "3+0",
    "dfom_backend_scan_age_seconds": "5+0",
    "dfom_backend_start_time_seconds": "1000+0",
    "dfom_queue_oldest_seconds": "20+0",
    'dfom_queue_jobs{stage="active"}': "1+0",
    'dfom_jobs_total{outcome="done", code="none"}': "0+1",
    'dfom_jobs_total{outcome="failed", code="media_unreadable"}': "0+1",
    'dfom_jobs_total{outcome="failed", code="internal"}': "0+0",
    'dfom_detector_jobs_total{detector="mesonet", outcome="ok"}': "0+1",
    'dfom_detector_jobs_total{detector="mesonet", outcome="not_applicable"}': "0+1",
    'dfom_detector_jobs_total{detector="mesonet", outcome="failed"}': "0+0",
    'dfom_detector_available{detector="mesonet"}': "1+0",
    'dfom_detector_available{detector="va"}': "0+0",
    'dfom_detector_state{detector="mesonet", state="enabled"}': "1+0",
    'dfom_detector_state{detector="va", state="disabled"}': "1+0",
    'dfom_disk_free_bytes{folder="results"}': "50000000000+0",
    'dfom_disk_bytes{folder="results"}': "100000000000+0",
    "dfom_mail_oldest_seconds": "30+0",
    'dfom_requests_total{method="GET", route="/", status="200"}': "0+60",
    'dfom_requests_total{method="POST", route="/submit", status="503"}': "0+60",
    'dfom_requests_total{method="GET", route="/", status="500"}': "0+0",
    'dfom_request_seconds_bucket{route="/", le="0.1"}': "0+58",
    'dfom_request_seconds_bucket{route="/", le="2.5"}': "0+60",
    'dfom_request_seconds_bucket{route="/", le="10.0"}': "0+60",
    'dfom_request_seconds_bucket{route="/", le="+Inf"}': "0+60",
    'dfom_workers_ended_total{reason="budget"}': "0+0",
    'dfom_workers_ended_total{reason="idle"}': "0+9",
    "dfom_intake_paused": "0+0",
}
#: The fault each alert is for: what is otherwise (None: the series is missing), and labels of the alert.
FAULTS: list[tuple[str, dict[str, str | None], dict[str, str]]] = [
    ("PortalDown", {'up{job="deepfake-o-meter"}': "0+0"}, {"job": "deepfake-o-meter"}),
    ("StoreAway", {"dfom_store_up": "0+0"}, {}),
    ("BackendSilent", {"dfom_backend_heartbeat_age_seconds": "0+60", "dfom_backend_scan_age_seconds": "2+60"}, {}),
    ("BackendSilent", {"dfom_backend_heartbeat_age_seconds": None, "dfom_backend_scan_age_seconds": None}, {}),
    ("LoopHangs", {"dfom_backend_scan_age_seconds": "0+60"}, {}),
    ("QueueLong", {"dfom_queue_oldest_seconds": "0+60"}, {}),
    (
        "NothingFinishes",
        {
            'dfom_jobs_total{outcome="done", code="none"}': "9+0",
            'dfom_jobs_total{outcome="failed", code="media_unreadable"}': "9+0",
        },
        {},
    ),
    ("JobsBreak", {'dfom_jobs_total{outcome="failed", code="internal"}': "0+1"}, {"code": "internal"}),
    (
        "DetectorFails",
        {'dfom_detector_jobs_total{detector="mesonet", outcome="failed"}': "0+1"},
        {"detector": "mesonet"},
    ),
    ("DetectorUnavailable", {'dfom_detector_available{detector="mesonet"}': "1+0x50 0+0x"}, {"detector": "mesonet"}),
    ("DiskLow", {'dfom_disk_free_bytes{folder="results"}': "9000000000+0"}, {"folder": "results"}),
    (
        "DiskLow",
        {
            'dfom_disk_free_bytes{folder="results"}': "1000000000+0",
            'dfom_disk_bytes{folder="results"}': "2000000000+0",
        },
        {"folder": "results"},
    ),
    ("MailsStuck", {"dfom_mail_oldest_seconds": "0+60"}, {}),
    ("OurErrors", {'dfom_requests_total{method="GET", route="/", status="500"}': "0+5"}, {}),
    (
        "PagesSlow",
        {
            'dfom_request_seconds_bucket{route="/", le="0.1"}': "0+50",
            'dfom_request_seconds_bucket{route="/", le="2.5"}': "0+50",
        },
        {},
    ),
    ("MemoryShort", {'dfom_workers_ended_total{reason="budget"}': "0+3"}, {}),
    ("BackendRestarts", {"dfom_backend_start_time_seconds": "1000+600"}, {}),
    ("PausedLong", {"dfom_intake_paused": "1+0"}, {}),
]


def promtool(*arguments: str, cwd: Path) -> str:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian: the package prometheus)")
    run = subprocess.run(["promtool", *arguments], cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_prometheus_takes_the_files(tmp_path: Path) -> None:
    for name in ("alerts.yml", "prometheus.yml"):
        shutil.copy(FOLDER / name, tmp_path)
    (tmp_path / "token").write_text(TOKEN)
    assert f"{len(RULES)} rules found" in promtool("check", "config", "prometheus.yml", cwd=tmp_path)


def _look(alert: str, labels: dict[str, str] | None, *, after_min: int) -> dict[str, Any]:
    """What is expected of one alert: that it fires with ``labels``, or (None) that it does not."""
    expected = []
    if labels is not None:
        rule = next(rule for rule in RULES if rule["alert"] == alert)
        summary = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: labels[found[1]], rule["annotations"]["summary"])
        expected.append({"exp_labels": labels | rule["labels"], "exp_annotations": {"summary": summary}})
    return {"eval_time": f"{after_min}m", "alertname": alert, "exp_alerts": expected}


def _case(
    changed: dict[str, str | None], alert: str | None, labels: dict[str, str], *, after_min: int
) -> dict[str, Any]:
    series = HEALTHY | changed
    return {
        "interval": "1m",
        "input_series": [
            {"series": name, "values": f"{value.removesuffix('x')}x{after_min}"}
            for name, value in series.items()
            if value is not None
        ],
        "alert_rule_test": [
            _look(rule["alert"], labels if rule["alert"] == alert else None, after_min=after_min) for rule in RULES
        ],
    }


def test_each_alert_fires_on_its_fault_and_on_no_other(tmp_path: Path) -> None:
    assert {alert for alert, _, _ in FAULTS} == {rule["alert"] for rule in RULES}
    shutil.copy(FOLDER / "alerts.yml", tmp_path)
    for name, step, after_min, long in (("short", "5m", LOOK_MIN, False), ("long", "30m", LONG_MIN, True)):
        faults = [fault for fault in FAULTS if (fault[0] == "PausedLong") == long]
        cases = [
            _case({}, None, {}, after_min=after_min),
            *(_case(changed, alert, labels, after_min=after_min) for alert, changed, labels in faults),
        ]
        content = {"rule_files": ["alerts.yml"], "evaluation_interval": step, "tests": cases}
        (tmp_path / f"{name}.yml").write_text(yaml.safe_dump(content))
        assert "SUCCESS" in promtool("test", "rules", f"{name}.yml", cwd=tmp_path)
