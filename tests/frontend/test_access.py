"""PINs and the budget of attempts: what a thief can and cannot do."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

import pytest
from argon2 import Parameters, PasswordHasher, extract_parameters
from flask import Flask

from frontend import pins
from frontend.access import LOCKED_AT, Access, Attempts, _digest
from frontend.pins import Pins
from frontend.portal import portal
from frontend.security import limiter
from shared.records import JobId, new_id
from tests.frontend.stories import CHEAP, EMAIL, PIN, FrozenClock, Uploader, Visitor, finish

WEAK = [
    "0000",
    "1111",
    "1234",
    "4321",
    "9012",
    "1212",
    "121212",
    "123123",
    "112233",
    "1999",
    "2024",
    "2580",
    "0852",
    "159753",
]


@pytest.mark.parametrize("pin", WEAK)
def test_weak_pins_are_refused_with_a_reason(pin: str) -> None:
    assert "Choose one" in (pins.weakness(pin) or "")


@pytest.mark.parametrize("pin", ["", "123", "1234567", "12a4", "１２３４", "48 29", "-4829", "4829\n"])
def test_only_four_to_six_digits_are_a_pin(pin: str) -> None:
    assert pins.weakness(pin) == "The PIN must have 4 to 6 digits."


def test_generated_pins_have_six_digits_and_are_never_weak() -> None:
    drawn = {pins.generate() for _ in range(2000)}
    assert len(drawn) > 1900
    assert all(pins.weakness(pin) is None and len(pin) == 6 for pin in drawn)


def test_stored_pin_is_argon2id_and_useless_without_the_pepper(tmp_path: Path) -> None:
    ours, theirs = Pins(tmp_path / "a"), Pins(tmp_path / "b")
    stored = ours.hash(PIN)
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert ours.verify(PIN, pin_hash=stored)
    assert not ours.verify("482914", pin_hash=stored)
    assert not theirs.verify(PIN, pin_hash=stored)
    assert Pins(tmp_path / "a").verify(PIN, pin_hash=stored)
    assert (tmp_path / "a" / "pepper").stat().st_mode & 0o777 == 0o600


def test_missing_hash_is_never_right(tmp_path: Path) -> None:
    assert not Pins(tmp_path).verify("", pin_hash=None)


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Access, Pins, FrozenClock]:
    monkeypatch.setattr(pins, "COST", CHEAP)
    clock, checker = FrozenClock(), Pins(tmp_path)
    return Access(tmp_path, checker, now=lambda: clock().timestamp()), checker, clock


def test_five_wrong_pins_are_free_then_waits_double(door) -> None:
    access, checker, clock = door
    job, stored = new_id(), checker.hash(PIN)
    for _ in range(5):
        answer = access.attempt(job, "000001", pin_hash=stored)
        assert (answer.outcome, answer.wait_s) == ("wrong", 0)
    for pause in (1, 2, 4, 8):
        answer = access.attempt(job, "000001", pin_hash=stored)
        assert (answer.outcome, answer.wait_s) == ("wrong", pause)
        assert access.attempt(job, PIN, pin_hash=stored).outcome == "wait"
        clock.forward(seconds=pause)
    assert access.attempt(job, PIN, pin_hash=stored).outcome == "right"


def test_twentieth_wrong_pin_locks_even_the_right_one_until_the_link_is_used(door) -> None:
    access, checker, clock = door
    job, stored = new_id(), checker.hash(PIN)
    answers = []
    for _ in range(LOCKED_AT):
        answers.append(access.attempt(job, "000001", pin_hash=stored))
        clock.forward(seconds=1000)
    assert [answer.outcome for answer in answers] == ["wrong"] * (LOCKED_AT - 1) + ["locked"]
    token = answers[-1].unlock_token
    assert token
    assert len(token) >= 22  # 128 bits
    again = access.attempt(job, PIN, pin_hash=stored)
    assert (again.outcome, again.unlock_token) == ("locked", None)
    assert not access.unlock(job, token + "x")
    assert access.unlock(job, token)
    assert not access.unlock(job, token)
    assert access.attempt(job, PIN, pin_hash=stored).outcome == "right"


def test_a_lost_unlock_link_is_followed_by_a_new_one_a_day_later(door) -> None:
    access, checker, clock = door
    job, stored = new_id(), checker.hash(PIN)
    for _ in range(LOCKED_AT):
        answer = access.attempt(job, "000001", pin_hash=stored)
        clock.forward(seconds=1000)
    lost = answer.unlock_token
    assert access.attempt(job, PIN, pin_hash=stored).unlock_token is None
    clock.forward(days=1)
    again = access.attempt(job, PIN, pin_hash=stored)
    assert (again.outcome, again.lock) == ("locked", answer.lock + 1)  # another number: another mail
    assert access.attempt(job, PIN, pin_hash=stored).unlock_token is None
    assert not access.unlock(job, lost)
    assert access.unlock(job, again.unlock_token)


def test_right_pins_in_between_do_not_refill_the_budget(door) -> None:
    access, checker, _clock = door
    job, stored = new_id(), checker.hash(PIN)
    for _ in range(LOCKED_AT // 4):
        for _ in range(4):
            last = access.attempt(job, "000001", pin_hash=stored)
        if last.outcome != "locked":
            assert access.attempt(job, PIN, pin_hash=stored).outcome == "right"
    assert last.outcome == "locked"


def test_parallel_guesses_are_counted_before_they_are_checked(door) -> None:
    access, checker, _ = door
    job, stored = new_id(), checker.hash(PIN)
    checked: list[str] = []
    verify = checker.verify
    checker.verify = lambda pin, *, pin_hash: checked.append(pin) or verify(pin, pin_hash=pin_hash)  # type: ignore[method-assign]
    threads = [
        threading.Thread(target=access.attempt, args=(job, f"{n:06d}"), kwargs={"pin_hash": stored}) for n in range(60)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(checked) == 6  # five free ones, and the sixth that starts the first wait
    assert access.read(JobId(job)).wrong == 6


def test_attempt_that_crashed_in_the_check_was_counted(door) -> None:
    access, checker, _ = door
    job, stored = new_id(), checker.hash(PIN)

    def crash(*_: object, **__: object) -> bool:
        raise MemoryError

    checker.verify = crash  # type: ignore[method-assign]
    with pytest.raises(MemoryError):
        access.attempt(job, PIN, pin_hash=stored)
    assert access.read(JobId(job)).wrong == 1


def test_damaged_record_of_attempts_opens_nothing(door, tmp_path: Path) -> None:
    access, checker, _ = door
    job, stored = new_id(), checker.hash(PIN)
    (tmp_path / "access" / f"{job}.json").write_text("{")
    assert access.attempt(job, PIN, pin_hash=stored).outcome == "locked"


def test_lock_mails_a_link_whose_button_unlocks(
    app: Flask, clock: FrozenClock, uploader: Uploader, visitor: Visitor
) -> None:
    job = uploader.submit()
    finish(app, job)
    statuses = []
    for _ in range(LOCKED_AT):
        statuses.append(visitor.enter_pin(job, "000001").status_code)
        clock.forward(seconds=1000)
    assert statuses == [403] * (LOCKED_AT - 1) + [423]
    assert "locked" in visitor.enter_pin(job).get_data(as_text=True)
    mails = [mail for mail in portal(app).outbox.waiting() if mail.kind == "unlock"]
    assert [mail.to for mail in mails] == [EMAIL]
    path = mails[0].link.removeprefix(portal(app).settings.public_url)
    assert visitor.get(path).status_code == 200  # a mail scanner that looks unlocks nothing
    assert visitor.enter_pin(job).status_code == 423
    assert visitor.post(path, form_on=path).status_code == 303
    assert visitor.enter_pin(job).status_code == 303


def test_wrong_pin_page_tells_the_wait_and_answers_429_within_it(
    app: Flask, uploader: Uploader, visitor: Visitor
) -> None:
    job = uploader.submit()
    finish(app, job)
    for _ in range(6):
        answer = visitor.enter_pin(job, "000001")
    assert answer.status_code == 403
    assert "Wait 1 s " in answer.get_data(as_text=True)
    answer = visitor.enter_pin(job, PIN)
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "1"


def test_pin_stands_nowhere_but_in_its_hash(
    app: Flask, uploader: Uploader, visitor: Visitor, capfd: pytest.CaptureFixture[str]
) -> None:
    job = uploader.submit()
    finish(app, job)
    portal(app).postman.tick()
    opened = visitor.enter_pin(job)
    page = visitor.get(f"/r/{job}").get_data(as_text=True)
    captured = capfd.readouterr()
    assert PIN not in captured.out + captured.err
    assert PIN not in opened.headers["Location"] + page
    assert PIN not in re.sub(r"[A-Za-z0-9_.-]{100,}", "", str(opened.headers))
    for path in portal(app).settings.data.rglob("*"):
        if path.is_file() and path.suffix != ".mp4":
            assert PIN.encode() not in path.read_bytes(), path
    assert b"argon2id" in next(portal(app).store.submissions.rglob("submission.json")).read_bytes()


def test_wrong_pin_says_how_many_tries_are_left(
    app: Flask, clock: FrozenClock, uploader: Uploader, visitor: Visitor
) -> None:
    job = uploader.submit()
    finish(app, job)
    said = []
    for _ in range(LOCKED_AT - 1):
        page = visitor.enter_pin(job, "000001").get_data(as_text=True)
        said.append(re.search(r'role="alert">(.*?)</p>', page)[1])  # type: ignore[index]
        clock.forward(seconds=1000)
    assert said[0] == "That PIN is wrong. You have 5 more tries without waiting."
    assert said[4] == "That PIN is wrong. You have 1 more try without waiting."
    assert said[5] == "That PIN is wrong. Wait 1 s before the next try."
    assert "locked" not in said[13]
    assert said[14].endswith("After 5 more wrong PINs this result is locked.")
    assert said[18].endswith("After one more wrong PIN this result is locked.")


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_door_says_the_same_whether_the_result_is_there_was_there_or_never_was(
    app: Flask, clock: FrozenClock, uploader: Uploader, visitor: Visitor, accept: str
) -> None:
    """The link alone tells whether a submission exists (its page); entering PINs tells nothing more."""
    there, waiting, gone = uploader.submit(), uploader.submit(key="w", email=None), uploader.submit(key="g")
    finish(app, there)
    finish(app, gone)
    uploader.post(f"/r/{gone}/delete", {"pin": PIN})
    ids = [there, waiting, gone, new_id()]
    token = visitor.token()
    for _ in range(LOCKED_AT + 1):
        answers = []
        for job in ids:
            answer = visitor.client.post(
                f"/r/{job}/pin", data={"csrf_token": token, "pin": "000001"}, headers={"Accept": accept}
            )
            text = re.sub(r'csrf_token" value="[^"]+"', "", answer.get_data(as_text=True))
            answers.append((answer.status_code, text.replace(job, "ID"), answer.headers.get("Retry-After")))
            limiter.reset()
        assert answers == [answers[0]] * 4
        clock.forward(seconds=1000)
    assert answers[0][0] == 423


def test_door_does_the_same_work_for_an_unknown_id(
    tmp_path: Path, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, not timed: one hash of the same cost each, whatever the machine does meanwhile."""
    checker = Pins(tmp_path)
    access = Access(tmp_path, checker, now=lambda: clock().timestamp())
    hashed: list[Parameters] = []
    really = PasswordHasher.verify

    def verify(hasher: PasswordHasher, stored: str, pin: str) -> bool:
        hashed.append(extract_parameters(stored))
        return really(hasher, stored, pin)

    monkeypatch.setattr(PasswordHasher, "verify", verify)
    for pin_hash in (checker.hash(PIN), None):
        assert access.attempt(new_id(), "000001", pin_hash=pin_hash).outcome == "wrong"
    known, unknown = hashed
    assert known == unknown
    assert {name: getattr(known, name) for name in pins.COST} == pins.COST


def test_records_of_ids_that_never_were_go_after_a_day(app: Flask, uploader: Uploader, clock: FrozenClock) -> None:
    job, never = uploader.submit(), new_id()
    access = portal(app).access
    for known in (job, never):
        access.attempt(known, "000001", pin_hash=None)
    folder = portal(app).settings.frontend_state / "access"
    for path in folder.iterdir():
        os.utime(path, (clock().timestamp(), clock().timestamp()))
    clock.forward(days=1.1)
    portal(app).postman.tick()
    assert [path.stem for path in folder.iterdir()] == [job]


def test_sixty_first_wrong_pin_of_an_hour_waits_whatever_the_id(visitor: Visitor) -> None:
    token = visitor.token()
    statuses = [
        visitor.client.post(f"/r/{new_id()}/{path}", data={"csrf_token": token, "pin": "000001"}).status_code
        for path in ["pin", "delete"] * 31
    ]
    assert statuses == [403] * 60 + [429] * 2


def test_closing_ends_sessions_also_after_a_damaged_record_was_unlocked(app: Flask, uploader: Uploader) -> None:
    job = JobId(uploader.submit())
    access = portal(app).access
    access._write(job, Attempts(epoch=-1, unlock_sha256=_digest("token"), locks=1))
    assert access.unlock(job, "token")
    epoch = access.read(job).epoch
    assert epoch > 0
    access.end_sessions(job)
    assert access.read(job).epoch == epoch + 1
