"""A program submits, follows, reads and deletes; what it is refused, and how."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from frontend import withdrawal
from frontend.portal import portal
from shared.records import JobId
from shared.results import Result
from tests.api.programs import Program, new_key, program, with_pin
from tests.frontend.stories import JPEG, PIN, FrozenClock, Uploader, finish, working


def left_in_tmp(app: Flask) -> list[str]:
    return [path.name for path in (portal(app).store.submissions / "tmp").iterdir()]


@pytest.mark.parametrize("by_key", [True, False])
def test_submit_follow_read_delete(app: Flask, by_key: bool):
    """The same with a key, and with a PIN alone."""
    desk = program(app) if by_key else with_pin(app)
    made = desk.send(detectors="mesonet,classnseg", mode="quick", stability="all", guess="fake", recognise="false")
    assert made.status_code == 201
    job = made.json["id"]
    assert made.headers["Location"] == made.json["links"]["self"] == f"/api/v1/submissions/{job}"
    record = portal(app).store.read_submission("new", JobId(job))
    assert (record.detectors, record.mode, record.stability) == (("mesonet", "classnseg"), "quick", "all")
    assert (record.pin_hash is None) == by_key
    assert record.guess == "fake"
    assert not record.recognise, "as the form, a program may keep a file from being used to recognise others"
    waiting = desk.get(f"/submissions/{job}").json
    assert (waiting["state"], waiting["stage"], waiting["detectors"]) == ("queued", "waiting", [])
    assert desk.get(f"/submissions/{job}/result").json["code"] == "not_finished"
    portal(app).store.write_status(working(job, portal(app).clock()))
    found = desk.get(f"/submissions/{job}").json
    assert (found["stage"], found["detectors"][1]["done"], found["detectors"][1]["total"]) == ("detectors", 31, 100)
    result = finish(app, job)
    assert desk.get(f"/submissions/{job}").json["state"] == "done"
    [event] = [line for line in desk.get(f"/submissions/{job}/events").text.splitlines() if line.startswith("data: ")]
    assert json.loads(event[6:]) == desk.get(f"/submissions/{job}").json
    read = desk.get(f"/submissions/{job}/result")
    assert read.mimetype == "application/json"
    assert Result.model_validate(read.json) == result
    part = desk.get(f"/submissions/{job}/files/video/side_by_side.mp4", headers={"Range": "bytes=10-19"})
    assert (part.status_code, len(part.data)) == (206, 10)
    assert desk.get(f"/submissions/{job}/files/bundle.zip").data[:2] == b"PK"
    beyond = desk.get(f"/submissions/{job}/files/scores.csv", headers={"Range": "bytes=999999-"})
    assert (beyond.status_code, beyond.json["code"]) == (416, "no_such_part")
    for name in ("../status.json", "nothing.png", "%2e%2e/status.json"):
        assert desk.get(f"/submissions/{job}/files/{name}").status_code == 404
    assert desk.ask("DELETE", f"/submissions/{job}").status_code == 204
    assert not portal(app).store.report(job).exists()
    assert desk.get(f"/submissions/{job}").status_code == (404 if by_key else 403)
    assert left_in_tmp(app) == []


def test_the_failed_and_the_deleted_are_told_apart(app: Flask, clock: FrozenClock):
    desk = program(app)
    failed, gone = desk.submit(), desk.submit(mode="quick")
    site = portal(app)
    for job, state, code in ((failed, "failed", "media_unreadable"), (gone, "expired", "expired")):
        status = working(job, clock()).model_copy(update={"state": state, "code": code, "detectors": ()})
        site.store.write_status(status)
    assert desk.get(f"/submissions/{failed}").json["code"] == "media_unreadable"
    answers = [desk.get(f"/submissions/{job}/result") for job in (failed, gone)]
    assert [(answer.status_code, answer.json["code"]) for answer in answers] == [(409, "no_result"), (410, "expired")]


def test_one_in_work_is_deleted_when_its_work_has_ended(
    app: Flask, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(withdrawal, "_lives", lambda store, *, now: True)
    desk = program(app)
    job = JobId(desk.submit())
    site = portal(app)
    site.store.move(job, "new", "active")
    site.store.write_status(working(job, clock()))
    answer = desk.ask("DELETE", f"/submissions/{job}")
    assert (answer.status_code, answer.json) == (202, {"id": job, "deleting": True})
    assert site.store.is_withdrawn(job)


def test_without_detectors_all_that_can_run_are_asked(app: Flask):
    job = program(app).submit()
    assert portal(app).store.read_submission("new", JobId(job)).detectors == ("mesonet", "classnseg", "va")


def test_an_address_is_fetched_as_the_forms_is(build: Any, tmp_path: Path):
    app = build(url_allow_private=False)
    answer = program(app).ask("POST", "/submissions", json={"url": "http://127.0.0.1/clip.mp4"})
    assert (answer.status_code, answer.json["code"]) == (422, "address_refused")
    assert left_in_tmp(app) == []


WRONG: list[tuple[dict[str, Any], set[str]]] = [
    ({"detectors": "xception"}, {"detectors"}),
    ({"detectors": "../../etc"}, {"detectors"}),
    ({"mode": "slow", "stability": "off"}, {"mode", "stability"}),
    ({"email": "nobody"}, {"email"}),
    ({"colour": "red"}, {"colour"}),
    ({"video_per_detector": "maybe"}, {"video_per_detector"}),
    ({"webhook": "http://example.org/hook"}, {"webhook"}),
    ({"webhook": "https://192.168.0.1/hook"}, {"webhook"}),
    ({"webhook": "https://[::1]/hook"}, {"webhook"}),
    ({"webhook": "https://example.org:8443/hook"}, {"webhook"}),
    ({"webhook": "https://user:pass@example.org/hook"}, {"webhook"}),
]


@pytest.mark.parametrize(("fields", "named"), WRONG)
def test_each_wrong_member_is_named_and_nothing_is_stored(app: Flask, fields: dict[str, Any], named: set[str]):
    answer = program(app).send(**fields)
    assert (answer.status_code, set(answer.json["errors"])) == (422, named)
    assert left_in_tmp(app) == []


def test_bodies_that_are_no_submission(app: Flask):
    desk = program(app)

    def sent(**body: Any) -> tuple[int, str]:
        answer = desk.ask("POST", "/submissions", **body)
        return answer.status_code, answer.json["code"]

    assert sent(data="hello", content_type="text/plain") == (415, "request_invalid")
    assert sent(data="{", content_type="application/json") == (400, "request_invalid")
    assert sent(data="[" * 20_000, content_type="application/json") == (400, "request_invalid")
    assert sent(json=["a"]) == (422, "request_invalid")
    assert sent(json={"url": "x" * 70_000}) == (413, "upload_too_large")
    assert sent(data={"mode": "quick"}, content_type="multipart/form-data") == (422, "request_invalid")
    files = {"media": (io.BytesIO(b"<html>" + bytes(100)), "a.html")}
    assert sent(data=files, content_type="multipart/form-data") == (415, "web_page")
    two = {"media": (io.BytesIO(JPEG), "a.jpg"), "more": (io.BytesIO(JPEG), "b.jpg")}
    assert sent(data=two, content_type="multipart/form-data") == (400, "request_invalid")
    assert left_in_tmp(app) == []


def test_pages_and_addresses_that_are_not_there_answer_in_json_too(app: Flask):
    desk = program(app)
    for path in ("/nothing", "/submissions/", "/docs/index.html", "/docs/../../portal.py"):
        assert desk.get(path, headers={"Accept": "text/html"}).status_code in (404, 405, 200)
    assert desk.get("/nothing", headers={"Accept": "text/html"}).json["code"] == "not_found"
    put = desk.ask("PUT", "/submissions")
    assert (put.status_code, put.json["code"]) == (405, "method_not_allowed")
    assert {"GET", "POST"} <= set(put.headers["Allow"].split(", "))


# --------------------------------------------------------------------------- the same request twice


def test_an_idempotency_key_with_the_same_request_is_one_submission(app: Flask):
    desk, other = program(app), program(app, "other")
    once = {"Idempotency-Key": "a-1"}
    first = desk.submit(headers=once)
    again = desk.send(headers=once)
    assert (again.status_code, again.json["id"], again.headers["Idempotent-Replayed"]) == (201, first, "true")
    for changed in ({"mode": "quick"}, {"media": JPEG + b"x"}, {"webhook": "https://example.org/h"}):
        answer = desk.send(headers=once, **changed)
        assert (answer.status_code, answer.json["code"]) == (422, "idempotency_differs")
    assert desk.submit() != first, "without the header each request is one of its own"
    assert other.submit(headers=once) != first, "another key's"
    assert with_pin(app).submit(headers=once) != first
    assert left_in_tmp(app) == []
    assert desk.get("/limits").json["submissions"]["left"] == 48, "what was not stored is not counted"


def test_fifty_at_once_with_one_idempotency_key_are_one_submission(app: Flask):
    key = new_key(app)
    ids: list[str] = []

    def send() -> None:
        ids.append(Program(app.test_client(), key=key).submit(headers={"Idempotency-Key": "x"}))

    threads = [threading.Thread(target=send) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 50
    assert len(set(ids)) == 1
    assert portal(app).store.ids("new") == [ids[0]]


# --------------------------------------------------------------------------- lists


def test_a_key_lists_what_it_made_newest_first_in_parts(app: Flask, clock: FrozenClock):
    desk, other = program(app), program(app, "other")
    made = []
    for number in range(5):
        made.append(desk.submit(mode="quick", video_per_detector=str(number % 2 == 0)))
        other.submit()
        clock.forward(seconds=number % 2)  # some in the same moment
    part = desk.get("/submissions?limit=2").json
    seen = list(part["items"])
    while part["next"]:
        part = desk.get(f"/submissions?limit=2&cursor={part['next']}").json
        seen += part["items"]
    assert sorted(item["id"] for item in seen) == sorted(made)
    assert seen[0]["created"] >= seen[-1]["created"]
    assert {item["state"] for item in seen} == {"queued"}
    desk.ask("DELETE", f"/submissions/{made[0]}")
    assert len(desk.get("/submissions").json["items"]) == 4
    for query in ("limit=0", "limit=101", "limit=x", "cursor=*", "cursor=abc", "page=2"):
        answer = desk.get(f"/submissions?{query}")
        assert (answer.status_code, len(answer.json["errors"])) == (422, 1), query
    assert with_pin(app).get("/submissions").status_code == 401


def test_a_list_survives_a_restart_and_the_end_of_the_work(build: Any, clock: FrozenClock):
    app = build()
    token = new_key(app)
    job = Program(app.test_client(), key=token).submit()
    finish(app, job)
    portal(app).postman.tick()
    clock.forward(days=3)
    portal(app).postman.tick()
    restarted = build()
    listed = Program(restarted.test_client(), key=token).get("/submissions").json["items"]
    assert [(item["id"], item["state"]) for item in listed] == [(job, "done")]
    portal(restarted).store.remove_submission("done", JobId(job))
    portal(restarted).store.remove_result(JobId(job))
    portal(restarted).postman.tick()
    assert Program(restarted.test_client(), key=token).get("/submissions").json["items"] == []


def test_the_form_and_its_json_askers_work_as_before(uploader: Uploader, app: Flask):
    job = uploader.submit()
    assert uploader.enter_pin(job).status_code == 303
    finish(app, job)
    assert with_pin(app).get(f"/submissions/{job}").json["state"] == "done", "a PIN opens what the form made"
    assert with_pin(app).get(f"/submissions/{job}/files/scores.csv").status_code == 200
    assert program(app).get(f"/submissions/{job}").status_code == 404
    assert PIN not in str(portal(app).receipts.get(JobId(job)))


# --------------------------------------------------------------------------- again


@pytest.mark.parametrize("by_key", [True, False])
def test_the_same_file_is_judged_again_without_an_upload(app: Flask, by_key: bool):
    desk = program(app) if by_key else with_pin(app)
    first = desk.submit(detectors="mesonet")
    once = {"Idempotency-Key": "again-1"}
    asked = {"detectors": ["classnseg"], "mode": "thorough"}
    answer = desk.ask("POST", f"/submissions/{first}/again", json=asked, headers=once)
    assert answer.status_code == 201, answer.json
    new = answer.json["id"]
    record = portal(app).store.read_submission("new", JobId(new))
    assert (record.detectors, record.mode, record.again_of) == (("classnseg",), "thorough", first)
    assert desk.get(f"/submissions/{new}").json["state"] == "queued"
    assert desk.ask("POST", f"/submissions/{first}/again", json=asked, headers=once).json["id"] == new
    other = desk.ask("POST", f"/submissions/{first}/again", json=asked | {"mode": "quick"}, headers=once)
    assert (other.status_code, other.json["code"]) == (422, "idempotency_differs")
    for wrong in ({"detectors": []}, {"detectors": ["xception"]}, {"mode": "quick"}, asked | {"colour": "red"}, []):
        assert desk.ask("POST", f"/submissions/{first}/again", json=wrong).status_code == 422
    assert desk.ask("POST", f"/submissions/{first}/again", data="x").status_code == 415
    if by_key:
        assert desk.get("/limits").json["submissions"]["left"] == 48
        assert {item["id"] for item in desk.get("/submissions").json["items"]} == {first, new}
    (portal(app).store.job("new", first) / "media").unlink()
    gone = desk.ask("POST", f"/submissions/{first}/again", json=asked)
    assert (gone.status_code, gone.json["code"]) == (410, "media_gone")
    assert left_in_tmp(app) == []
