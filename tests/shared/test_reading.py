"""One way to read a record: the record, FileNotFoundError, RecordInvalid, or a folder that does not answer; never anything else."""

from __future__ import annotations

import errno
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.errors import PermanentError
from shared.reading import MAX_RECORD_BYTES, RecordInvalid, read_bytes, read_json, read_record
from shared.records import Attempts, Catalog, Record, Status, Submission, new_id
from tests.shared.damage import DAMAGES, Damage, clear, replaced_by

NOW = datetime(2026, 6, 1, tzinfo=UTC)

RECORDS: dict[str, Record] = {
    "submission.json": Submission(
        id=new_id(),
        received=NOW,
        email="a@example.org",
        pin_hash="x",
        detectors=("mesonet",),
        original_name="clip.mp4",
        sha256="0" * 64,
        bytes=3,
    ),
    "attempts.json": Attempts(attempts=2, at=1.5),
    "status.json": Status(id=new_id(), state="queued", updated=NOW, progress=0.5),
    "catalog.json": Catalog(updated=NOW, runner="process", queued=1, working=0, detectors=()),
}


def written(path: Path) -> Record:
    record = RECORDS[path.name]
    path.write_text(json.dumps(record.model_dump(mode="json")), encoding="utf-8")
    return record


@pytest.mark.parametrize("name", RECORDS)
def test_a_whole_record_is_read(tmp_path: Path, name: str):
    record = written(tmp_path / name)
    assert read_record(tmp_path / name, type(record)) == record


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage_is_one_error_at_once(tmp_path: Path, name: str, damage: Damage):
    path = tmp_path / name
    record = written(path)
    damage(path)
    begun = time.monotonic()
    with pytest.raises(PermanentError) as raised:
        read_record(path, type(record))
    assert raised.value.code == "record_invalid"
    assert isinstance(raised.value, RecordInvalid)
    assert raised.value.reason
    assert time.monotonic() - begun < 10, "a FIFO is not waited for"


def test_the_reason_for_the_log_holds_nothing_of_the_content(tmp_path: Path):
    for content in (
        '{"email": "secret@example.org"}',
        '{"email": "secret@example.org", "at": NaN}',
        "secret",
        '"secret"',
    ):
        replaced_by(content.encode())(tmp_path / "x.json")
        with pytest.raises(RecordInvalid) as raised:
            read_record(tmp_path / "x.json", Submission)
        assert "secret" not in f"{raised.value} {raised.value.reason}"


def test_what_is_not_there_is_not_damage(tmp_path: Path):
    for read in (read_bytes, read_json, lambda path: read_record(path, Status)):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "status.json")


def test_a_record_below_a_file_is_damage(tmp_path: Path):
    (tmp_path / "job").write_text("a file where a folder belongs")
    with pytest.raises(RecordInvalid):
        read_record(tmp_path / "job" / "status.json", Status)


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EACCES, errno.ETIMEDOUT])
@pytest.mark.parametrize("call", ["open", "fstat", "read"])
def test_a_folder_that_does_not_answer_is_never_taken_for_a_bad_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, call: str
):
    path = tmp_path / "status.json"
    written(path)
    trouble = OSError(code, os.strerror(code))

    def fails(*_: object, **__: object):
        raise trouble

    real = os.fdopen

    class Failing:
        def __init__(self, handle: int, mode: str) -> None:
            self._stream = real(handle, mode)

        def __enter__(self):
            return self

        def __exit__(self, *_: object) -> None:
            self._stream.close()

        read = fails

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdopen" if call == "read" else call, Failing if call == "read" else fails)
        try:
            read_record(path, Status)
        except OSError as error:
            raised = error
    assert raised is trouble


def test_no_descriptor_is_left_open(tmp_path: Path):
    def open_now() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = open_now()
    for damage in DAMAGES.values():
        clear(tmp_path / "status.json")
        written(tmp_path / "status.json")
        damage(tmp_path / "status.json")
        with pytest.raises(RecordInvalid):
            read_record(tmp_path / "status.json", Status)
    assert open_now() == before


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"a": 1, "a": 2}',
        b'[{"b": {"a": 1, "a": 1}}]',
        b"NaN",
        b"[-Infinity]",
        b"[1e999]",
        b'"\\ud800"',
        b"\xff",
        '"ä"'.encode("utf-16"),
        b"[" * 5000 + b"]" * 5000,
        b"1" * 5000,
        b" " * (MAX_RECORD_BYTES + 1),
    ],
)
def test_json_without_a_model_is_refused_for_the_same_reasons(tmp_path: Path, content: bytes):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(RecordInvalid):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize("content", [None, [], {}, {"a": [1, 2.5, "ä", None, True]}])
def test_json_without_a_model_is_read_as_it_was_written(tmp_path: Path, content: object):
    (tmp_path / "x.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    assert read_json(tmp_path / "x.json") == content


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "x").write_bytes(b"x" * 11)
    real = os.fstat

    def small(handle: int):
        return os.stat_result([*real(handle)[:6], 5, *real(handle)[7:10]])

    monkeypatch.setattr(os, "fstat", small)
    with pytest.raises(RecordInvalid, match="record_invalid"):
        read_bytes(tmp_path / "x", max_bytes=10)
