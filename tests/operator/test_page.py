"""The operator's page: who gets in, what it shows, what it changes, and that nothing of visitors is on it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from structlog.testing import capture_logs

from frontend.operator import views
from frontend.operator.office import office
from frontend.operator.overview import MOST_JOBS
from frontend.portal import portal
from shared.records import JobId, new_id
from tests.frontend.stories import EMAIL, PIN, FrozenClock, Uploader, Visitor, status
from tests.frontend.test_record import note
from tests.operator.vitals import TOKEN, vitals


class Operator(Visitor):
    """Who knows the token."""

    def let_in(self, token: str = TOKEN) -> Any:
        return self.post("/operator/open", {"token": token}, form_on="/operator")

    def page(self) -> str:
        return str(self.get("/operator").get_data(as_text=True))


@pytest.fixture
def app(build: Any) -> Flask:
    return build(operator_token=TOKEN)


@pytest.fixture
def operator(app: Flask) -> Operator:
    entered = Operator(app.test_client())
    assert entered.let_in().status_code == 303
    return entered


CHANGES = ["/operator/close", "/operator/pause", "/operator/resume", "/operator/state"]


def test_without_a_token_in_the_settings_there_is_no_page(build: Any) -> None:
    client = Visitor(build().test_client())
    assert client.get("/operator").status_code == 404
    for path in CHANGES:
        assert client.get(path).status_code == 404
        assert client.post(path).status_code == 404
    assert client.post("/operator/open", {"token": ""}).status_code == 404


def test_nobody_else_sees_or_changes_anything(app: Flask, clock: FrozenClock) -> None:
    stranger = Operator(app.test_client())
    office(app).desk.write_vitals(vitals(clock()))
    assert "MesoInception4" not in stranger.page()
    with capture_logs() as logs:
        assert stranger.let_in("wrong").status_code == 403
    assert "wrong" not in str(logs)
    assert "MesoInception4" not in stranger.page()
    for path in CHANGES:
        refused = stranger.post(path, {"notice": "x", "detector": "mesonet", "to": "disabled"}, form_on="/operator")
        assert refused.status_code == 403
        assert "MesoInception4" not in refused.get_data(as_text=True)
    assert office(app).intake.paused() is None
    assert office(app).desk.waiting() == []


def test_guesses_are_limited(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontend.operator.entry.WRONG_TOKENS", "3 per hour")
    stranger = Operator(app.test_client())
    assert [stranger.let_in("guess").status_code for _ in range(4)] == [403, 403, 403, 429]
    assert stranger.let_in().status_code == 429


def test_a_session_ends_after_its_time_and_for_everybody_when_one_is_closed(
    app: Flask, operator: Operator, clock: FrozenClock
) -> None:
    other = Operator(app.test_client())
    other.let_in()
    assert "How the site is doing" in other.page()
    operator.post("/operator/close", form_on="/operator")
    assert "How the site is doing" not in operator.page()
    assert "How the site is doing" not in other.page()
    other.let_in()
    clock.forward(minutes=61)
    assert "How the site is doing" not in other.page()


def test_forms_of_others_change_nothing(app: Flask, operator: Operator) -> None:
    for path in CHANGES:
        assert operator.client.post(path, data={"notice": "x"}).status_code == 400
        sent = operator.client.post(
            path, data={"csrf_token": operator.token("/operator")}, headers={"Sec-Fetch-Site": "cross-site"}
        )
        assert sent.status_code == 403
    assert office(app).intake.paused() is None


def test_it_shows_what_the_back_end_said(app: Flask, operator: Operator, clock: FrozenClock) -> None:
    assert "It has not said anything yet." in operator.page()
    office(app).desk.write_vitals(vitals(clock()))
    page = " ".join(operator.page().split())
    assert "The back-end does not speak." not in page
    for words in (
        "Together they may have 6144 MB by what their cards promise; now it is 3100 MB.",
        "4 were ended because another one needed their memory.",
        "<td>612 MB</td>",
        "6.2 s / 19 s",
        "2 × <code>out_of_memory</code>",
        "5 without an opinion",
        "cannot run: <code>weights_missing</code>",
        "50.0 GB, 50 %",
        "2 at once",
    ):
        assert words in page, words
    office(app).desk.write_vitals(vitals(clock() - timedelta(minutes=5)))
    assert "Its last word came 5 min ago." in operator.page()


def test_nothing_of_a_visitor_is_on_it(app: Flask, operator: Operator, clock: FrozenClock) -> None:
    uploader = Uploader(app.test_client())
    jobs = [uploader.submit(email=f"{number}{EMAIL}") for number in range(3)]
    store = portal(app).store
    store.move(JobId(jobs[0]), "new", "active")
    store.write_status(status(jobs[0], clock(), step="media", progress=0.25))
    note(app, jobs[2], fake=False)
    page = operator.page()
    assert f"{jobs[0][:8]}…" in page
    assert "media, 25 %" in page
    assert "1 real" in page
    for secret in (*jobs, EMAIL, "portrait.jpg", PIN, TOKEN, "127.0.0.1"):
        assert secret not in page


def test_a_long_queue_is_cut(app: Flask, operator: Operator) -> None:
    for _ in range(MOST_JOBS + 2):
        (portal(app).store.submissions / "new" / new_id()).mkdir()
    page = " ".join(operator.page().split())
    assert f'<p class="figure">{MOST_JOBS + 2}</p>' in page
    assert "And 2 more." in page


def test_the_intake_is_paused_and_taken_up(app: Flask, operator: Operator) -> None:
    uploader = Uploader(app.test_client())
    with capture_logs() as logs:
        operator.post("/operator/pause", {"notice": "Back at <b>noon</b>.", "minutes": "45"}, form_on="/operator")
        assert "Back at &lt;b&gt;noon&lt;/b&gt;." in operator.page()
        refused = uploader.send()
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2700")
        operator.post("/operator/resume", form_on="/operator")
        assert uploader.send().status_code == 201
    assert [line["event"] for line in logs if line["event"].startswith("intake")] == ["intake_paused", "intake_resumed"]


@pytest.mark.parametrize("wrong", [{"minutes": "soon"}, {"minutes": "0"}, {"minutes": "999999"}, {"notice": "x" * 301}])
def test_a_pause_that_makes_no_sense_is_refused(app: Flask, operator: Operator, wrong: dict[str, str]) -> None:
    answer = operator.post("/operator/pause", {"notice": "Back soon.", "minutes": "5"} | wrong, form_on="/operator")
    assert answer.status_code == 422
    assert "Nothing was paused." in answer.get_data(as_text=True)
    assert office(app).intake.paused() is None


def test_a_state_is_asked_for_and_signed(app: Flask, operator: Operator, clock: FrozenClock) -> None:
    desk = office(app).desk
    desk.write_vitals(vitals(clock()))
    with capture_logs() as logs:
        done = operator.post("/operator/state", {"detector": "mesonet", "to": "disabled"}, form_on="/operator")
    assert (done.status_code, done.headers["Location"]) == (303, "/operator#detectors")
    [name] = desk.waiting()
    request = desk.read_request(name)
    assert (request.detector, request.to, request.asked) == ("mesonet", "disabled", clock())
    assert request.is_signed_by(TOKEN)
    assert ("mesonet", "disabled") in [(line.get("detector"), line.get("to")) for line in logs]
    assert "1 request waits for the back-end" in " ".join(operator.page().split())


@pytest.mark.parametrize("wrong", [{"to": ""}, {"to": "famous"}, {"detector": "../../etc"}, {"detector": ""}])
def test_no_other_request_is_made(app: Flask, operator: Operator, wrong: dict[str, str]) -> None:
    answer = operator.post("/operator/state", {"detector": "mesonet", "to": "disabled"} | wrong, form_on="/operator")
    assert answer.status_code == 422
    assert office(app).desk.waiting() == []


def test_without_the_shared_folders_it_still_says_so(app: Flask, operator: Operator) -> None:
    (portal(app).store.results / ".deepfake-o-meter").rename(portal(app).store.results / "away")
    page = operator.page()
    assert "The shared folders do not answer." in page
    assert "The record cannot be read now." in page


def test_the_states_are_described_as_on_the_command_line() -> None:
    from backend.catalog.states import MEANINGS

    assert list(views.STATES) == list(MEANINGS)
