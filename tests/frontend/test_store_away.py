"""While a shared folder is away the portal says so with 503, stores nothing, and goes on when it is back."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from flask import Flask

from frontend.portal import portal
from tests.frontend.stories import Uploader, Visitor, finish


@pytest.mark.parametrize("which", ["submissions", "results"])
def test_an_upload_into_an_empty_mount_point_is_refused_and_nothing_is_made_there(
    app: Flask, uploader: Uploader, which: str
) -> None:
    folder: Path = getattr(portal(app).store, which)
    form = uploader.fields(csrf_token=uploader.token())
    folder.rename(folder.with_name("elsewhere"))
    folder.mkdir()
    answer = uploader.client.post(
        "/submit", data=form, headers={"Accept": "application/json"}, content_type="multipart/form-data"
    )
    assert (answer.status_code, answer.json["code"]) == (503, "store_unavailable")
    assert list(folder.iterdir()) == []
    folder.rmdir()
    folder.with_name("elsewhere").rename(folder)
    assert uploader.send().status_code == 201


@pytest.mark.parametrize("which", ["submissions", "results"])
def test_no_page_says_gone_or_broken_while_a_folder_is_away(
    app: Flask, uploader: Uploader, visitor: Visitor, which: str
) -> None:
    waiting, done = uploader.submit(), uploader.submit(key="another")
    finish(app, done)
    folder: Path = getattr(portal(app).store, which)
    folder.rename(folder.with_name("elsewhere"))
    for address in ("/", f"/r/{waiting}", f"/r/{waiting}/status.json", "/detectors", "/ready"):
        answer = visitor.get(address)
        assert answer.status_code in (200, 503), address
        if answer.status_code == 503 and address != "/ready":
            assert answer.headers["Retry-After"]
    assert visitor.get(f"/r/{waiting}").status_code == 503
    answer = visitor.get("/ready")
    assert (answer.status_code, answer.json["checks"]["store"]) == (503, False)
    assert visitor.get("/healthz").status_code == 200
    assert not folder.exists()
    portal(app).postman.tick()
    assert not folder.exists()


@pytest.mark.parametrize(
    ("number", "status", "code"), [(errno.EIO, 503, "store_unavailable"), (errno.ENOSPC, 507, "disk_full")]
)
def test_a_folder_that_does_not_answer_is_not_a_fault_of_ours(
    app: Flask,
    uploader: Uploader,
    visitor: Visitor,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    status: int,
    code: str,
) -> None:
    job = uploader.submit()

    def fails(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("shared.store.read_record", fails)
    answer = visitor.client.get(f"/r/{job}", headers={"Accept": "application/json"})
    assert (answer.status_code, answer.json["code"]) == (status, code)
    assert "var" not in answer.json["detail"], "names of folders are for the log"
