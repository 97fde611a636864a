"""A shared folder that went away is never made anew: nothing is read from it, nothing is written to it, until it is back."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.errors import RetryableError, StoreTrouble
from shared.marker import MARKER
from shared.records import Catalog, JobId, Queue, Status, new_id
from shared.store import STAGES, Store
from tests.shared.damage import DAMAGES, Damage
from tests.shared.test_errno import truth
from tests.shared.test_store import submission

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return opened(tmp_path).prepare(tmp_path / "state")


def opened(tmp_path: Path) -> Store:
    return Store(tmp_path / "submissions", tmp_path / "results")


def unmounted(folder: Path) -> Callable[[], None]:
    """Leave an empty mount point; the returned function mounts the folder again."""
    folder.rename(folder.with_name("elsewhere"))
    folder.mkdir()

    def mount() -> None:
        folder.rmdir()  # fails when anything was made in it
        folder.with_name("elsewhere").rename(folder)

    return mount


def steps(store: Store, job: JobId, report: Path) -> dict[str, Callable[[], object]]:
    """Every step of the store."""
    return {
        "open_submission": lambda: store.open_submission(new_id()),
        "reuse_media": lambda: store.reuse_media("new", job, new_id()),
        "submit": lambda: store.submit(submission(job)),
        "take_in": lambda: store.take_in(submission(job), Path(__file__)),
        "free_bytes": store.free_bytes,
        "ids": lambda: store.ids("new"),
        "misfits": lambda: store.misfits("new"),
        "set_aside": lambda: store.set_aside("new", job),
        "move": lambda: store.move(job, "new", "active"),
        "stage_of": lambda: store.stage_of(job),
        "read_submission": lambda: store.read_submission("new", job),
        "count_attempt": lambda: store.count_attempt(job),
        "attempts": lambda: store.attempts(job),
        "begun": lambda: store.begun(job),
        "uncount_attempt": lambda: store.uncount_attempt(job),
        "write_status": lambda: store.write_status(Status(id=job, state="queued", updated=NOW)),
        "read_status": lambda: store.read_status(job),
        "owners_status": lambda: store.owners_status(job, now=NOW),
        "publish": lambda: store.publish(job, report),
        "is_published": lambda: store.is_published(job),
        "complete": lambda: store.complete(job, report),
        "fetch_report": lambda: store.fetch_report(job, report.with_name("copy")),
        "write_queue": lambda: store.write_queue(Queue(updated=NOW, waits={job: (0.0, None)})),
        "ask_for_end": lambda: store.ask_for_end(job),
        "is_withdrawn": lambda: store.is_withdrawn(job),
        "write_catalog": lambda: store.write_catalog(
            Catalog(updated=NOW, runner="process", queued=0, working=0, detectors=())
        ),
        "read_catalog": store.read_catalog,
        "write_model_card": lambda: store.write_model_card("mesonet", "# MesoNet"),
        "read_model_card": lambda: store.read_model_card("mesonet"),
        "result_ids": store.result_ids,
        "now": store.now,
        "changed": lambda: store.changed("new", job),
        "remove_media": lambda: store.remove_media("new", job),
        "forget_address": lambda: store.forget_address("new", submission(job)),
        "dot_names": store.dot_names,
        "note_truth": lambda: store.note_truth(truth(job, fake=True)),
        "read_truth": lambda: store.read_truth(job),
        "noted": store.noted,
        "forget_truth": lambda: store.forget_truth(job),
        "remove_report": lambda: store.remove_report(job),
        "remove_submission": lambda: store.remove_submission("new", job),
        "remove_result": lambda: store.remove_result(job),
    }


#: Steps that answer from the other folder, as long as what they look for is there.
OF_ONE_FOLDER = {
    "submissions": {
        "read_status",
        "owners_status",
        "read_catalog",
        "read_model_card",
        "result_ids",
        "is_published",
        "fetch_report",
    },
    "results": {"ids", "misfits", "stage_of", "read_submission", "attempts", "begun", "changed"},
}


@pytest.mark.parametrize("which", ["submissions", "results"])
def test_no_step_reads_from_or_writes_to_an_empty_mount_point(store: Store, tmp_path: Path, which: str):
    (tmp_path / "report").mkdir()
    job = new_id()
    store.open_submission(job)
    store.submit(submission(job))
    mount = unmounted(tmp_path / which)
    for name, step in steps(store, job, tmp_path / "report").items():
        if name in OF_ONE_FOLDER[which]:
            continue
        with pytest.raises(StoreTrouble) as raised:
            step()
        assert raised.value.code == "store_unavailable", name
        assert str(tmp_path / which) in raised.value.sentence
    assert list((tmp_path / which).iterdir()) == []
    mount()
    store.check()
    assert store.ids("new") == [job]


def test_every_verb_of_the_store_is_in_this_test(store: Store):
    paths = {"job", "result", "report", "check", "prepare", "discard"}
    verbs = {name for name in dir(Store) if not name.startswith("_")}
    assert set(steps(store, new_id(), Path("x"))) == verbs - paths


def test_the_trouble_is_one_of_ours_and_one_of_the_file_system():
    error = StoreTrouble(OSError(errno.EDQUOT, "Disk quota exceeded"))
    assert isinstance(error, OSError)
    assert isinstance(error, RetryableError)
    assert (error.code, error.errno) == ("disk_full", errno.EDQUOT)


def test_a_folder_that_was_used_before_and_lost_its_marker_is_not_set_up_again(store: Store, tmp_path: Path):
    for which in ("submissions", "results"):
        mount = unmounted(tmp_path / which)
        with pytest.raises(StoreTrouble, match=f"{which} was in use before"):
            opened(tmp_path).prepare(tmp_path / "state")
        assert list((tmp_path / which).iterdir()) == []
        mount()
    opened(tmp_path).prepare(tmp_path / "state")


def test_a_folder_that_vanished_is_not_made_again(store: Store, tmp_path: Path):
    (tmp_path / "results").rename(tmp_path / "elsewhere")
    with pytest.raises(StoreTrouble):
        opened(tmp_path).prepare(tmp_path / "state")
    with pytest.raises(StoreTrouble):
        store.write_status(Status(id=new_id(), state="queued", updated=NOW))
    assert not (tmp_path / "results").exists()


def test_the_other_side_starts_on_folders_that_are_set_up(store: Store, tmp_path: Path):
    opened(tmp_path).prepare(tmp_path / "other state")
    unmounted(tmp_path / "submissions")
    with pytest.raises(StoreTrouble):
        opened(tmp_path).prepare(tmp_path / "other state")


def test_folders_of_an_earlier_version_get_their_marker(tmp_path: Path):
    for stage in STAGES:
        (tmp_path / "submissions" / stage).mkdir(parents=True)
    (tmp_path / "results").mkdir()
    store = opened(tmp_path).prepare(tmp_path / "state")
    store.check()


def test_a_folder_that_moved_with_its_marker_is_taken(store: Store, tmp_path: Path):
    (tmp_path / "new place").mkdir()
    for name in ("submissions", "results", "state"):
        (tmp_path / name).rename(tmp_path / "new place" / name)
    opened(tmp_path / "new place").prepare(tmp_path / "new place" / "state").check()


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_memory_sets_nothing_up_and_is_mended_while_the_folders_are_there(
    store: Store, tmp_path: Path, damage: Damage
):
    damage(tmp_path / "state" / "shared_folders.json")
    mount = unmounted(tmp_path / "results")
    with pytest.raises(StoreTrouble):
        opened(tmp_path).prepare(tmp_path / "state")
    mount()
    opened(tmp_path).prepare(tmp_path / "state")
    for which in ("submissions", "results"):
        mount = unmounted(tmp_path / which)
        with pytest.raises(StoreTrouble):
            opened(tmp_path).prepare(tmp_path / "state")
        mount()


def test_an_operator_who_emptied_the_folders_on_purpose_is_told_how_to_go_on(store: Store, tmp_path: Path):
    unmounted(tmp_path / "results")
    with pytest.raises(StoreTrouble) as raised:
        opened(tmp_path).prepare(tmp_path / "state")
    memory = tmp_path / "state" / "shared_folders.json"
    assert f"remove {memory}" in raised.value.sentence
    memory.unlink()
    opened(tmp_path).prepare(tmp_path / "state").check()


def test_a_marker_that_cannot_be_looked_at_is_trouble_not_absence(store: Store, monkeypatch: pytest.MonkeyPatch):
    def stale(*_: object, **__: object):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    with monkeypatch.context() as patch:
        patch.setattr(os, "lstat", stale)
        with pytest.raises(StoreTrouble) as raised:
            store.check()
    assert raised.value.errno == errno.ESTALE
    assert (store.results / MARKER).is_file()
