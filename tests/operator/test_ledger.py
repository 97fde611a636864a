"""What the back-end says of itself is what happened, and the operator's requests are taken up by the rules and answered."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from structlog.testing import capture_logs

from backend.catalog.cards import STATES
from backend.catalog.durations import Durations
from shared.desk import MOST_WAITING, Desk
from shared.errors import PermanentError, StoreTrouble, UserError
from shared.records import DetectorProgress, Status, new_id
from shared.settings import Settings
from shared.store import Store
from shared.vitals import EDGES_S, State, StateRequest, Vitals
from tests.dispatch.back_end import eventually
from tests.operator.vitals import TOKEN, vitals
from tests.shared.damage import DAMAGES

Dispatch = Callable[..., Any]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path / "var", scan_s=0.05, operator_token=TOKEN)


@pytest.fixture
def desk(store: Store) -> Desk:
    return Desk(store)


@pytest.fixture(autouse=True)
def _one_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its first record, only the test writes what the dispatcher says: two writers at once could put an older record last."""
    monkeypatch.setattr("backend.dispatch.dispatcher.BEAT_S", 3600.0)


def begun(back_end: Any, desk: Desk) -> Any:
    """The dispatcher of ``back_end``, once it has written its own first record."""
    eventually(lambda: desk.read_vitals() is not None)
    return back_end.dispatcher


def said(desk: Desk) -> Vitals:
    found = desk.read_vitals()
    assert found is not None
    return found


def test_states_are_those_of_the_cards() -> None:
    assert get_args(State) == STATES


def test_jobs_are_counted_with_how_they_ended(desk: Desk, submit: Any, store: Store, dispatcher_for: Dispatch) -> None:
    def script(job: Any) -> None:
        if job.source.read_bytes() == b"bad":
            raise PermanentError("media_unreadable")

    back_end = dispatcher_for(script)
    begun(back_end, desk)
    jobs = [submit(), submit(b"bad"), submit(b"bad")]
    damaged = submit()
    (store.job("new", damaged) / "submission.json").write_text("{")
    eventually(lambda: all(store.stage_of(job) in ("done", "failed") for job in [*jobs, damaged]))
    ledger_saw: list[Vitals] = []

    def counted() -> bool:
        back_end.dispatcher._write_vitals()
        ledger_saw.append(said(desk))
        return sum(item.count for item in ledger_saw[-1].jobs) >= 4

    eventually(counted)
    last = ledger_saw[-1]
    assert {(item.outcome, item.code): item.count for item in last.jobs} == {
        ("done", None): 1,
        ("failed", "media_unreadable"): 2,
        ("failed", "record_invalid"): 1,
    }
    assert [(item.code, item.detector, item.count) for item in last.troubles] == [("media_unreadable", None, 2)]
    assert last.places == back_end.dispatcher._settings.jobs
    assert (last.working, last.started <= last.updated) == (0, True)
    assert 0 <= last.scan_age_s < 30
    assert {disk.folder for disk in last.disks} == {"scratch", "backend"}
    assert all(0 < disk.free <= disk.total for disk in last.disks)
    text = last.model_dump_json()
    for job in [*jobs, damaged]:
        assert job[:8] not in text
    assert "clip.mp4" not in text
    assert "visitor@example.org" not in text


def test_detectors_are_counted_by_their_last_status(desk: Desk, settings: Settings, dispatcher_for: Dispatch) -> None:
    ledger = dispatcher_for().dispatcher._ledger
    now = datetime.now(UTC)
    parts = (
        DetectorProgress(detector="mesonet", title="M", state="ok", seconds=1.0),
        DetectorProgress(detector="capsule", title="C", state="ok", cached=True),
        DetectorProgress(detector="xception", title="X", state="timed_out", code="detector_timed_out"),
        DetectorProgress(detector="va", title="V", state="failed", code="a code of a stranger"),
        DetectorProgress(detector="fwa", title="F"),
    )
    ledger.job_ended(None, Status(id=new_id(), state="done", updated=now, detectors=parts))
    ledger.job_ended("deleted")
    record = ledger.record(_NoPool(), ended={"idle": 3}, working=1, places=2, scan_age_s=-1.0, given_up={})
    counted = {item.id: (item.ended, item.codes) for item in record.detectors if item.ended}
    assert counted == {
        "mesonet": ({"ok": 1}, {}),
        "xception": ({"timed_out": 1}, {"detector_timed_out": 1}),
        "va": ({"failed": 1}, {"detector_failed": 1}),
    }
    assert {(item.outcome, item.code) for item in record.jobs} == {("done", None), ("deleted", "deleted")}
    assert {(item.code, item.detector) for item in record.troubles} == {
        ("detector_timed_out", "xception"),
        ("detector_failed", "va"),
    }
    assert record.scan_age_s == 0.0
    assert record.ended == {"idle": 3}


class _NoPool:
    def census(self) -> tuple[()]:
        """There are no workers."""
        return ()


def test_durations_give_classes_since_the_start_and_a_median_that_lasts(tmp_path: Path) -> None:
    durations = Durations(tmp_path / "durations.json")
    for seconds in (0.5, 1.0, 2.0, 40.0, 2000.0, 4.0, 4.0, 4.0, 4.0, 5.0):
        durations.add("mesonet", mode="quick", seconds=seconds)
    [step] = durations.vitals()
    assert (step.step, step.mode, step.measured) == ("mesonet", "quick", 10)
    assert dict(zip((*EDGES_S, None), step.classes, strict=True)) == {
        1.0: 2, 3.0: 1, 10.0: 5, 30.0: 0, 60.0: 1, 120.0: 0, 300.0: 0, 900.0: 0, 1800.0: 0, None: 1,
    }  # fmt: skip
    assert step.seconds == pytest.approx(2064.5)
    assert (step.median_s, step.most_s) == (4.0, 40.0)
    [again] = Durations(tmp_path / "durations.json").vitals()
    assert (sum(again.classes), again.seconds, again.median_s, again.most_s) == (0, 0.0, 4.0, 40.0)


# --------------------------------------------------------------------------- requests


def ask(desk: Desk, to: State, *, detector: str = "mesonet", token: str = TOKEN, ago: timedelta = timedelta()) -> str:
    request = StateRequest.signed(detector, to, asked=datetime.now(UTC) - ago, token=token)
    desk.ask(request)
    return request.id


def test_a_request_is_done_by_the_rules_logged_and_answered(desk: Desk, dispatcher_for: Dispatch) -> None:
    dispatcher = begun(dispatcher_for(), desk)
    states, card = dispatcher._backend.states, dispatcher._backend.catalog.card("mesonet")
    with capture_logs() as logs:
        done = ask(desk, "disabled")
        dispatcher._write_vitals()
        assert states.of(card) == "disabled"
        refused = ask(desk, "enabled", detector="no_such_detector")
        dispatcher._write_vitals()
    answers = {answer.id: answer for answer in said(desk).answers}
    assert (answers[done].before, answers[done].to, answers[done].code) == ("enabled", "disabled", None)
    assert answers[refused].code == "unknown_detector"
    assert "no_such_detector" in answers[refused].sentence
    assert desk.waiting() == []
    audit = [line for line in logs if line["event"].startswith("detector_state_")]
    assert [(line["event"], line["detector"], line["to"]) for line in audit] == [
        ("detector_state_changed", "mesonet", "disabled"),
        ("detector_state_refused", "no_such_detector", "enabled"),
    ]
    assert TOKEN not in str(logs)


def test_one_step_at_a_time(desk: Desk, dispatcher_for: Dispatch) -> None:
    dispatcher = begun(dispatcher_for(), desk)
    states, card = dispatcher._backend.states, dispatcher._backend.catalog.card("mesonet")
    states.move(card, "draft")
    assert states.open_to(card) == ("quarantine", "disabled")
    refused = ask(desk, "enabled")
    dispatcher._write_vitals()
    assert {answer.id: answer.code for answer in said(desk).answers}[refused] == "bad_state"
    assert states.of(card) == "draft"
    [entry] = [item for item in said(desk).detectors if item.id == "mesonet"]
    assert (entry.state, entry.next) == ("draft", ("quarantine", "disabled"))


@pytest.mark.parametrize(
    ("token", "ago", "code"),
    [
        ("another token, as long as that", timedelta(), "state_request_refused"),
        (TOKEN, timedelta(minutes=11), "state_request_late"),
        (TOKEN, -timedelta(minutes=11), "state_request_late"),
    ],
)
def test_nobody_else_is_obeyed_and_nothing_old_is(
    desk: Desk, dispatcher_for: Dispatch, token: str, ago: timedelta, code: str
) -> None:
    dispatcher = begun(dispatcher_for(), desk)
    ask(desk, "disabled", token=token, ago=ago)
    dispatcher._write_vitals()
    assert [answer.code for answer in said(desk).answers] == [code]
    assert dispatcher._backend.states.of(dispatcher._backend.catalog.card("mesonet")) == "enabled"


def test_a_request_that_was_changed_is_not_obeyed(desk: Desk) -> None:
    request = StateRequest.signed("mesonet", "disabled", asked=datetime.now(UTC), token=TOKEN)
    assert request.is_signed_by(TOKEN)
    for change in ({"to": "enabled"}, {"detector": "xception"}, {"id": new_id()}, {"asked": datetime.now(UTC)}):
        assert not request.model_copy(update=change).is_signed_by(TOKEN)


def test_damaged_requests_are_removed_and_do_not_stop_the_others(
    desk: Desk, store: Store, dispatcher_for: Dispatch
) -> None:
    dispatcher = begun(dispatcher_for(), desk)
    for damage in DAMAGES.values():
        broken = ask(desk, "disabled", detector="xception")
        damage(store.submissions / "requests" / f"{broken}.json")
    ask(desk, "disabled")
    dispatcher._write_vitals()
    assert desk.waiting() == []
    assert "mesonet" in {answer.detector for answer in said(desk).answers}


def test_requests_do_not_pile_up(desk: Desk) -> None:
    for _ in range(MOST_WAITING):
        ask(desk, "disabled")
    with pytest.raises(UserError) as error:
        ask(desk, "disabled")
    assert (error.value.code, error.value.status) == ("state_requests_waiting", 503)


@pytest.mark.parametrize("folder", ["submissions", "results"])
def test_nothing_of_the_desk_is_touched_while_a_folder_is_away(desk: Desk, store: Store, folder: str) -> None:
    desk.write_vitals(vitals(datetime.now(UTC)))
    waiting = ask(desk, "disabled")
    (getattr(store, folder) / ".deepfake-o-meter").unlink()
    for step in (
        lambda: desk.write_vitals(vitals(datetime.now(UTC))),
        lambda: ask(desk, "enabled"),
        lambda: desk.remove_request(waiting),
    ):
        with pytest.raises(StoreTrouble):
            step()
    os.unlink(desk._vitals)
    with pytest.raises(StoreTrouble):
        desk.read_vitals()
