"""During a pause nothing new is taken, visitors read why, and what was taken goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from frontend.operator.office import office
from frontend.portal import portal
from shared.errors import SENTENCES
from tests.frontend.stories import PIN, Uploader, finish

NOTICE = "We move to a larger machine and are back at <noon>."


@pytest.fixture
def paused(app: Flask, uploader: Uploader) -> str:
    """A job from before the pause."""
    job = uploader.submit()
    office(app).intake.pause(NOTICE, minutes=30)
    return job


def test_nothing_new_is_taken_and_everybody_is_told(app: Flask, uploader: Uploader, paused: str) -> None:
    answer = uploader.send()
    assert (answer.status_code, answer.json["code"], answer.json["detail"]) == (503, "intake_paused", NOTICE)
    assert answer.headers["Retry-After"] == "1800"
    assert answer.mimetype == "application/problem+json"
    page = uploader.send(as_json=False)
    assert page.status_code == 503
    assert "back at &lt;noon&gt;" in page.get_data(as_text=True)
    assert "back at &lt;noon&gt;" in uploader.get("/").get_data(as_text=True)
    assert portal(app).store.ids("new") == [paused]
    assert not list((portal(app).store.submissions / "tmp").iterdir()), "nothing was stored of what was refused"


def test_earlier_work_goes_on(app: Flask, uploader: Uploader, paused: str) -> None:
    finish(app, paused)
    assert uploader.enter_pin(paused, PIN).status_code == 303
    assert uploader.get(f"/r/{paused}").status_code == 200
    assert uploader.get("/ready").status_code == 200


def test_it_outlives_a_restart_and_is_lifted(build: Any, app: Flask, paused: str) -> None:
    again = build()
    uploader = Uploader(again.test_client())
    assert uploader.send(email="other@example.org").status_code == 503
    office(again).intake.resume()
    office(again).intake.resume()
    assert NOTICE not in uploader.get("/").get_data(as_text=True)
    assert uploader.send(email="other@example.org").status_code == 201


def test_a_damaged_pause_is_a_pause(app: Flask, uploader: Uploader) -> None:
    Path(portal(app).settings.frontend_state / "intake_pause.json").write_text("{")
    answer = uploader.send()
    assert (answer.status_code, answer.json["detail"]) == (503, SENTENCES["intake_paused"])
    office(app).intake.resume()
    assert uploader.send().status_code == 201


#: Views that change something and take no submission.
OTHERS = {
    "intake.check_kind", "viewer.enter_pin", "viewer.unlock", "viewer.close", "viewer.delete",
    "operator.open", "operator.close", "operator.pause", "operator.resume", "operator.state",
}  # fmt: skip


def test_every_way_in_is_closed(app: Flask) -> None:
    """Whoever adds a view that takes something decides: it is marked with ``takes_in``, or it is named above."""
    changing = {rule.endpoint for rule in app.url_map.iter_rules() if {"POST", "PUT"} & (rule.methods or set())}
    marked = {name for name, view in app.view_functions.items() if getattr(view, "takes_in", False)}
    assert {"intake.submit", "again.submit"} <= marked
    assert changing - OTHERS <= marked


def test_programs_are_told_as_well(app: Flask, paused: str) -> None:
    answer = app.test_client().post("/api/v1/submissions", data={"pin": "4829"})
    assert (answer.status_code, answer.json["code"], answer.json["detail"]) == (503, "intake_paused", NOTICE)
    assert answer.mimetype == "application/problem+json"
    assert answer.headers["Retry-After"] == "1800"
