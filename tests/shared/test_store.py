"""The shared folders: ids, records, and steps that are whole or not there."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared import durable
from shared.errors import PermanentError
from shared.reading import MAX_RECORD_BYTES, RecordInvalid
from shared.records import Catalog, JobId, Status, Submission, new_id
from shared.store import Store, checked_id
from tests.shared.damage import DAMAGES, Damage


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "submissions", tmp_path / "results").prepare(tmp_path / "state")


def submission(job: JobId, **changes) -> Submission:
    members = {
        "id": job,
        "received": datetime.now(UTC),
        "email": "a@example.org",
        "pin_hash": "x",
        "detectors": ("mesonet",),
        "original_name": "clip.mp4",
        "sha256": "0" * 64,
        "bytes": 3,
    }
    return Submission(**members | changes)


def submitted(store: Store) -> JobId:
    job = new_id()
    (store.open_submission(job) / "media").write_bytes(b"abc")
    store.submit(submission(job))
    return job


def test_ids_are_long_random_and_safe_as_names():
    ids = {new_id() for _ in range(500)}
    assert len(ids) == 500
    assert all(checked_id(job) == job and len(job) == 26 for job in ids)


@pytest.mark.parametrize(
    "untrusted",
    ["", "../../etc/passwd", "a" * 25, "a" * 27, "A" * 26, "a" * 25 + "\n", "a" * 26 + "\n", "." * 26, "a/" * 13],
)
def test_text_that_is_no_id_never_becomes_a_path(store: Store, untrusted: str):
    for path_of in (
        lambda: store.job("new", untrusted),
        lambda: store.result(untrusted),
        lambda: store.report(untrusted),
    ):
        with pytest.raises(PermanentError, match="record_invalid"):
            path_of()


def test_a_submission_appears_complete_or_not_at_all(store: Store):
    job = new_id()
    (store.open_submission(job) / "media").write_bytes(b"abc")
    assert store.ids("new") == []
    store.submit(submission(job))
    assert store.ids("new") == [job]
    assert store.ids("tmp") == []
    assert (store.job("new", job) / "media").read_bytes() == b"abc"
    assert store.read_submission("new", job).detectors == ("mesonet",)


def test_foreign_names_and_links_in_the_folder_are_ignored(store: Store):
    (store.submissions / "new" / ".nfs0001").mkdir()
    (store.submissions / "new" / "lost+found").mkdir()
    (store.submissions / "new" / new_id()).symlink_to("/etc")
    (store.submissions / "new" / new_id()).write_text("a file")
    assert store.ids("new") == []


def test_the_oldest_submission_comes_first(store: Store):
    jobs = [submitted(store) for _ in range(3)]
    for age, job in enumerate(jobs):
        os.utime(store.job("new", job), (1000 - age, 1000 - age))
    assert store.ids("new") == jobs[::-1]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"schema_version": 2}', b"\xff\xfe", b'{"bytes": NaN}', b" " * (MAX_RECORD_BYTES + 1)],
    ids=["empty", "cut", "list", "later schema", "not utf-8", "nan", "huge"],
)
def test_a_record_that_is_not_ours_is_refused_not_guessed(store: Store, content: bytes):
    job = submitted(store)
    (store.job("new", job) / "submission.json").write_bytes(content)
    with pytest.raises(PermanentError, match="record_invalid"):
        store.read_submission("new", job)


def test_a_record_of_another_job_is_refused(store: Store):
    job = submitted(store)
    other = submission(new_id()).model_dump(mode="json")
    (store.job("new", job) / "submission.json").write_text(json.dumps(other))
    with pytest.raises(PermanentError, match="record_invalid"):
        store.read_submission("new", job)


def test_a_record_that_is_a_link_is_not_followed(store: Store, tmp_path: Path):
    job = submitted(store)
    path = store.job("new", job) / "submission.json"
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(RecordInvalid):
        store.read_submission("new", job)


def test_attempts_are_counted_on_disk_and_can_be_taken_back(store: Store):
    job = submitted(store)
    store.move(job, "new", "active")
    assert store.attempts(job) == 0
    assert [store.count_attempt(job), store.count_attempt(job)] == [1, 2]
    store.uncount_attempt(job)
    assert Store(store.submissions, store.results).attempts(job) == 1


def test_publishing_twice_keeps_the_first_report(store: Store, tmp_path: Path):
    job = submitted(store)
    finished = tmp_path / "report"
    finished.mkdir()
    (finished / "result.json").write_text("first")
    store.publish(job, finished)
    (finished / "result.json").write_text("second")
    store.publish(job, finished)
    assert (store.report(job) / "result.json").read_text() == "first"
    assert finished.is_dir(), "publishing leaves the scratch alone"


def test_a_half_copied_report_of_a_crash_is_gone_when_the_next_attempt_begins(store: Store, tmp_path: Path):
    job = submitted(store)
    store.move(job, "new", "active")
    (store.result(job) / ".report-12345678.part").mkdir(parents=True)
    (store.result(job) / ".report-12345678.part" / "stray").touch()
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "result.json").touch()
    store.count_attempt(job)
    store.publish(job, tmp_path / "report")
    assert [path.name for path in store.report(job).iterdir()] == ["result.json"]
    assert [path.name for path in store.result(job).iterdir()] == ["report"]


def test_a_woken_publisher_does_not_touch_the_copy_of_another_one(store: Store, tmp_path: Path):
    job = submitted(store)
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(name)

    def refused() -> None:
        raise KeyboardInterrupt

    def wakes_the_other() -> None:
        with pytest.raises(KeyboardInterrupt):
            store.publish(job, tmp_path / "old", check=refused)

    store.publish(job, tmp_path / "new", check=wakes_the_other)
    assert (store.report(job) / "result.json").read_text() == "new"
    assert [path.name for path in store.result(job).iterdir()] == ["report"]


def test_status_survives_a_round_trip(store: Store):
    status = Status(id=new_id(), state="queued", updated=datetime.now(UTC), queue_position=2, estimated_wait_s=3.5)
    store.write_status(status)
    assert store.read_status(status.id) == status
    assert store.read_status(new_id()) is None


def test_a_status_written_between_two_looks_is_read(store: Store, monkeypatch: pytest.MonkeyPatch):
    status = Status(id=new_id(), state="queued", updated=datetime.now(UTC))
    looked = []

    def check() -> None:
        if not looked:
            looked.append(1)
            store.write_status(status)

    monkeypatch.setattr(store, "check", check)
    assert store.read_status(status.id) == status
    assert looked


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_every_damage_of_a_record_is_one_error(store: Store, damage: Damage):
    job = submitted(store)
    store.move(job, "new", "active")
    store.count_attempt(job)
    store.write_status(Status(id=job, state="working", updated=datetime.now(UTC)))
    store.write_catalog(Catalog(updated=datetime.now(UTC), runner="process", queued=0, working=0, detectors=()))
    for path, read in (
        (store.job("active", job) / "submission.json", lambda: store.read_submission("active", job)),
        (store.job("active", job) / "attempts.json", lambda: store.attempts(job)),
        (store.result(job) / "status.json", lambda: store.read_status(job)),
    ):
        damage(path)
        with pytest.raises(RecordInvalid):
            read()
    damage(store.results / "catalog.json")
    assert store.read_catalog() is None, "the back-end writes a new one in a moment"


def test_a_status_of_another_job_is_refused(store: Store):
    job, other = submitted(store), submitted(store)
    store.write_status(Status(id=other, state="done", updated=datetime.now(UTC)))
    store.result(job).mkdir()
    (store.result(other) / "status.json").rename(store.result(job) / "status.json")
    with pytest.raises(RecordInvalid):
        store.read_status(job)


def test_the_owner_of_a_damaged_status_waits_while_somebody_will_write_it_and_then_gets_a_reason(store: Store):
    job, now = submitted(store), datetime.now(UTC)
    store.result(job).mkdir()
    (store.result(job) / "status.json").write_text("null")
    assert store.owners_status(job, now=now) is None
    store.move(job, "new", "active")
    assert store.owners_status(job, now=now) is None
    store.move(job, "active", "failed")
    status = store.owners_status(job, now=now)
    assert (status.state, status.code, status.finished) == ("failed", "record_invalid", now)
    (store.result(job) / "status.json").unlink()
    assert store.owners_status(job, now=now).code == "record_invalid", "a missing one is lost as well"


def test_a_job_with_its_report_in_done_is_done_whatever_became_of_its_status(store: Store, tmp_path: Path):
    job, now = submitted(store), datetime.now(UTC)
    (tmp_path / "report").mkdir()
    store.publish(job, tmp_path / "report")
    (store.result(job) / "status.json").write_text("null")
    store.move(job, "new", "done")
    assert store.owners_status(job, now=now).state == "done"
    (store.result(job) / "status.json").unlink()
    assert store.owners_status(job, now=now).state == "done"


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_model_card_is_none_and_is_written_anew(store: Store, damage: Damage):
    store.write_model_card("mesonet", "# MesoNet")
    card = store.results / "model_cards" / "mesonet.md"
    card.write_text("{}")
    damage(card)
    text = store.read_model_card("mesonet")
    assert text is None or "root:" not in text
    store.write_model_card("mesonet", "# MesoNet")
    assert store.read_model_card("mesonet") == "# MesoNet"


def test_replacing_leaves_the_old_content_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "status.json"
    durable.replace_bytes(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        durable.replace_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["status.json"], "no partial file is left behind"


def test_nan_is_never_written(tmp_path: Path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        durable.replace_json(tmp_path / "x.json", {"score": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_moving_onto_something_that_exists_is_refused(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(FileExistsError):
        durable.move_directory(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a").is_dir()


def test_a_removed_directory_is_gone_under_its_name_at_once(tmp_path: Path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    durable.remove_directory(tmp_path / "a")
    durable.remove_directory(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
