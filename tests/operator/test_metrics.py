"""What Prometheus reads: who may read it, what it says, and that no label grows with the visitors."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask, Response
from prometheus_client.parser import text_string_to_metric_families

from frontend.operator.office import office
from frontend.portal import portal
from shared.logs import shortened
from tests.frontend.stories import PIN, FrozenClock, Uploader, Visitor, finish
from tests.operator.vitals import BEARER, TOKEN, vitals


@pytest.fixture
def app(build: Any) -> Flask:
    return build(operator_token=TOKEN)


def read(app: Flask) -> dict[str, dict[tuple[str, ...], float]]:
    """name -> (values of the labels, in the order of their names) -> number, of a real answer."""
    answer = app.test_client().get("/metrics", headers=BEARER)
    assert answer.status_code == 200
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(answer.get_data(as_text=True)):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(value for _, value in sorted(sample.labels.items()))] = sample.value
    return found


def test_only_who_has_the_token_reads_metrics(build: Any, visitor: Visitor) -> None:
    assert visitor.get("/metrics").status_code == 401
    assert visitor.get("/metrics", headers={"Authorization": "Bearer " + TOKEN[:-1]}).status_code == 401
    assert visitor.get("/metrics", headers={"Authorization": "Basic " + TOKEN}).status_code == 401
    assert visitor.get("/metrics", headers=BEARER).status_code == 200
    without = Visitor(build().test_client())
    assert without.get("/metrics", headers=BEARER).status_code == 404


def test_programs_of_this_machine_may_read_them_where_the_setting_says_so(build: Any) -> None:
    client = Visitor(build(metrics_for="local").test_client())
    assert client.get("/metrics", environ_base={"REMOTE_ADDR": "127.0.0.1"}).status_code == 200
    assert client.get("/metrics", environ_base={"REMOTE_ADDR": "::1"}).status_code == 200
    assert client.get("/metrics", environ_base={"REMOTE_ADDR": "192.0.2.7"}).status_code == 401
    for header in ("X-Forwarded-For", "Forwarded"):  # a proxy of this machine that the settings forgot
        asked = client.get("/metrics", environ_base={"REMOTE_ADDR": "127.0.0.1"}, headers={header: "192.0.2.7"})
        assert asked.status_code == 401


def test_guesses_are_limited(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontend.operator.entry.WRONG_TOKENS", "2 per hour")
    wrong = {"Authorization": "Bearer nothing"}
    assert [visitor.get("/metrics", headers=wrong).status_code for _ in range(3)] == [401, 401, 429]


def test_requests_submissions_and_streams_are_counted(app: Flask, uploader: Uploader) -> None:
    @app.get("/stream")
    def stream() -> Response:
        return Response((b"data: 1\n\n" for _ in range(2)), mimetype="text/event-stream")

    uploader.submit()
    uploader.send(detectors=[])
    uploader.get("/nothing/here")
    open_stream = app.test_client().get("/stream")
    found = read(app)
    assert found["dfom_submissions_total"] == {("none", "taken"): 1, ("form_incomplete", "refused"): 1}
    assert found["dfom_requests_total"]["POST", "/submit", "201"] == 1
    assert found["dfom_requests_total"]["GET", "none", "404"] == 1
    assert found["dfom_request_seconds_count"]["/submit",] == 2
    assert found["dfom_event_streams"][()] == 1
    open_stream.close()
    assert read(app)["dfom_event_streams"][()] == 0
    assert found["process_open_fds"][()] > 3


def test_the_folders_and_the_back_end_are_looked_at(app: Flask, uploader: Uploader, clock: FrozenClock) -> None:
    site = portal(app)
    bare = read(app)
    assert "dfom_backend_heartbeat_age_seconds" not in bare, "a back-end that never spoke has no age"
    job = uploader.submit()
    uploader.submit(email="other@example.org")
    site.postman.tick()
    office(app).desk.write_vitals(vitals(clock()))
    oldest = site.store.changed("new", site.store.ids("new")[0])
    clock.now = clock.now.fromtimestamp(oldest + 90, clock.now.tzinfo)
    found = read(app)
    assert found["dfom_queue_jobs"] == {("new",): 2, ("active",): 0}
    assert found["dfom_queue_oldest_seconds"][()] == pytest.approx(90, abs=1)
    assert found["dfom_backend_scan_age_seconds"][()] - found["dfom_backend_heartbeat_age_seconds"][()] == 1.5
    assert found["dfom_jobs_total"]["media_unreadable", "failed"] == 3
    assert found["dfom_detector_jobs_total"]["mesonet", "timed_out"] == 1
    assert found["dfom_jobs_total"]["media_changed", "failed"] == found["dfom_detector_jobs_total"]["va", "failed"] == 0
    assert found["dfom_detector_failures_total"]["out_of_memory", "mesonet"] == 2
    assert found["dfom_detector_state"] == {("mesonet", "enabled"): 1, ("va", "disabled"): 1}
    assert found["dfom_detector_available"] == {("mesonet",): 1, ("va",): 0}
    assert found["dfom_workers"]["hot", "busy", "media"] == 1
    assert found["dfom_worker_used_bytes"] == {("media",): 612_000_000}
    assert found["dfom_step_seconds_bucket"]["3.0", "standard", "media"] == 2
    assert found["dfom_step_seconds_bucket"]["+Inf", "standard", "media"] == 10
    assert found["dfom_step_seconds_sum"]["standard", "mesonet"] == 75.5
    assert found["dfom_disk_free_bytes"]["scratch",] == 50e9
    assert {folder for (folder,) in found["dfom_disk_free_bytes"]} == {"submissions", "results", "frontend", "scratch"}
    assert found["dfom_store_up"][()] == 1
    assert job in site.store.ids("new")


def test_without_the_shared_folders_it_still_answers(app: Flask) -> None:
    (portal(app).store.results / ".deepfake-o-meter").rename(portal(app).store.results / "away")
    found = read(app)
    assert found["dfom_store_up"][()] == 0
    assert "dfom_queue_jobs" not in found
    assert found["dfom_mails_waiting"][()] == 0


def test_a_damaged_record_of_the_back_end_is_no_record(app: Flask) -> None:
    (portal(app).store.results / "vitals.json").write_text('{"workers": [{"name": "<script>"}]}')
    assert "dfom_workers" not in read(app)


def test_no_label_grows_with_visitors(app: Flask, uploader: Uploader) -> None:
    """Names, ids and addresses of ten visitors add nothing but numbers."""

    def series() -> set[tuple[str, tuple[str, ...]]]:
        return {(name, labels) for name, values in read(app).items() for labels in values}

    def visit(number: int) -> str:
        job = uploader.submit(email=f"visitor{number}@example.org")
        finish(app, job)
        uploader.enter_pin(job, PIN)
        for path in (f"/r/{job}", f"/r/{job}/files/result.json", f"/nothing/{number}", f"/help?{number}"):
            uploader.get(path)
        return job

    visit(0)
    read(app)
    before = series()
    jobs = [visit(number) for number in range(1, 10)]
    assert series() == before
    text = app.test_client().get("/metrics", headers=BEARER).get_data(as_text=True)
    for secret in (*jobs, *(job[:8] for job in jobs), "example.org", "visitor", PIN, "127.0.0.1"):
        assert secret not in text
    assert shortened(text) == text
    assert re.search(r"@|/r/[a-z2-7]{8}", text) is None
