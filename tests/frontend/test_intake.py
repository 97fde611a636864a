"""What comes in at the door: names, kinds, sizes, forms, double clicks, full disks."""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st

from frontend import media
from frontend.media import display_name
from frontend.portal import portal
from shared.records import JobId, Submission
from shared.signatures import refusal
from tests.frontend.stories import JPEG, PIN, Uploader, finish

NAMES = [
    "../../x.mp4", "/etc/passwd", "..\\..\\x.mp4", "a\0b.mp4", "x" * 4096 + ".mp4", "CON", "\u202egpj.exe", "😀.mp4",
    "-rf.mp4", "a%0Ab.mp4", ".htaccess", "<script>.mp4", "'; DROP TABLE.mp4", "名前.mp4",
]  # fmt: skip


@given(st.text(max_size=300))
@settings(max_examples=300, deadline=None)
def test_display_name_is_short_one_line_and_never_a_path(untrusted_name: str) -> None:
    name = display_name(untrusted_name)
    assert 1 <= len(name) <= 120
    assert "/" not in name
    assert name.isprintable()


@pytest.mark.parametrize("name", NAMES)
def test_name_of_the_visitor_never_reaches_the_disk(app: Flask, uploader: Uploader, name: str) -> None:
    job = uploader.submit(media=(io.BytesIO(JPEG), name))
    store = portal(app).store
    assert sorted(path.name for path in store.job("new", job).iterdir()) == ["media", "submission.json"]
    finish(app, job)
    uploader.enter_pin(job)
    assert "<script>." not in uploader.get(f"/r/{job}").get_data(as_text=True)


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04" + bytes(60), b"MZ" + bytes(60), b"<html><script>alert(1)</script>", b"<svg xmlns='x'/>", b"%PDF-1.7",
        b"#EXTM3U\n#EXT-X-VERSION:3\n/etc/passwd", b"ffconcat version 1.0\nfile /etc/passwd", b"v=0\r\no=- 0 0 IN IP4 127.0.0.1",
        b"G" + bytes(187) + b"G" + bytes(400), b"\x00" * 64, b"x",
        b"\0\0\0\x18ftypavci" + bytes(60),
    ],
)  # fmt: skip
def test_content_decides_not_the_suffix(app: Flask, uploader: Uploader, content: bytes) -> None:
    answer = uploader.send(media=(io.BytesIO(content), "innocent.mp4"))
    assert answer.status_code == 415
    assert answer.json["code"] == (refusal(content) or "unsupported_media")
    assert _traces(app) == []


@pytest.mark.parametrize(
    "head",
    [
        JPEG, b"\x89PNG\r\n\x1a\n" + bytes(60), b"\x1a\x45\xdf\xa3" + bytes(60), b"RIFF\0\0\0\0WEBP", b"RIFF\0\0\0\0AVI ",
        b"\0\0\0\x20ftypisom", b"\0\0\0\x14ftypqt  ", b"\0\0\0\x18ftyp3gp4", b"GIF89a" + bytes(60), b"FLV\x01" + bytes(60),
        b"OggS" + bytes(60), b"\x00\x00\x01\xba" + bytes(60), (b"G" + bytes(187)) * 7,
    ],
)  # fmt: skip
def test_the_portal_takes_what_the_media_pass_reads(app: Flask, uploader: Uploader, head: bytes) -> None:
    """Also kinds that need more than the first packet to be known: a transport stream has a G in each 188th byte."""
    assert (
        uploader.client.post(
            "/kind", data=head, headers={"X-CSRFToken": uploader.token()}, content_type="application/octet-stream"
        ).status_code
        == 200
    )
    job = uploader.submit(media=(io.BytesIO(head), "clip"))
    assert portal(app).store.job("new", job).joinpath("media").read_bytes() == head


def _post_raw(uploader: Uploader, content: bytes, *, chunked: bool = False) -> Any:
    """Send a file as its own stream of bytes, with all fields before it."""
    fields = {"csrf_token": uploader.token(), "detectors": "mesonet", "pin": PIN, "consent": "yes"}
    parts = [
        f'--bbb\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    ]
    parts.append('--bbb\r\nContent-Disposition: form-data; name="media"; filename="x.jpg"\r\n\r\n')
    body = "".join(parts).encode() + content + b"\r\n--bbb--\r\n"
    length = {"CONTENT_LENGTH": ""} if chunked else {"CONTENT_LENGTH": str(len(body))}
    return uploader.client.post(
        "/submit",
        input_stream=io.BytesIO(body),
        headers={"Content-Type": "multipart/form-data; boundary=bbb", "Accept": "application/json"},
        environ_overrides={"wsgi.input_terminated": chunked} | length,
    )


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("excess", "status"), [(0, 201), (1, 413), (60_000, 413), (30_000_000, 413)])
def test_size_limit_holds_to_the_byte_whatever_the_length_says(
    build: Any, monkeypatch: pytest.MonkeyPatch, *, excess: int, status: int, chunked: bool
) -> None:
    app = build(max_upload_mb=1)
    written: list[int] = []
    write = media.IncomingMedia.write
    monkeypatch.setattr(media.IncomingMedia, "write", lambda self, data: written.append(n := write(self, data)) or n)
    uploader = Uploader(app.test_client())
    answer = _post_raw(uploader, JPEG + bytes(1_000_000 - len(JPEG) + excess), chunked=chunked)
    assert answer.status_code == status
    assert sum(written) <= 1_000_000
    if status == 413:
        assert "1 MB" in answer.json["detail"]
        assert _traces(app) == []


@pytest.mark.parametrize("parts", [{f"f{n}": "x" for n in range(200)}, {"pin": "1" * 200_000}])
def test_form_fields_are_bounded_in_number_and_size(app: Flask, uploader: Uploader, parts: dict[str, str]) -> None:
    answer = uploader.send(**parts)
    assert answer.status_code == 413
    assert _traces(app) == []


@pytest.mark.parametrize(
    ("changed", "field", "words"),
    [
        ({"media": None}, "media", "Choose a file"),
        ({"url": "https://example.org/a.mp4"}, "media", "not both"),
        ({"detectors": None}, "detectors", "at least one"),
        ({"detectors": ["xception"]}, "detectors", "not available"),
        ({"detectors": ["../x"]}, "detectors", "not available"),
        ({"mode": "extreme"}, "mode", "quick, standard or thorough"),
        ({"pin": "1234"}, "pin", "are in order"),
        ({"pin": None}, "pin", "4 to 6 digits"),
        ({"consent": None}, "consent", "confirm"),
        ({"email": "a@b@c"}, "email", "not a valid e-mail address"),
        ({"email": "a@example.org\r\nBcc: x@example.org"}, "email", "not a valid e-mail address"),
        ({"email": "a@example.org, b@example.org"}, "email", "not a valid e-mail address"),
        ({"email": "Alex <a@example.org>"}, "email", "not a valid e-mail address"),
        ({"email": "a" * 250 + "@example.org"}, "email", "not a valid e-mail address"),
        ({"email": "jörg@example.org"}, "email", "letters other than a to z before the @"),
        ({"email": "jörg@müller.example.org"}, "email", "letters other than a to z before the @"),
        ({"email": "name@example"}, "email", "not a domain of the internet"),
    ],
)  # fmt: skip
def test_incomplete_form_names_the_field_and_stores_nothing(
    app: Flask, uploader: Uploader, changed: dict[str, Any], field: str, words: str
) -> None:
    answer = uploader.send(**changed)
    assert answer.status_code == 422
    assert words in answer.json["errors"][field]
    assert _traces(app) == []


def test_plain_form_comes_back_with_its_fields_but_without_the_pin(uploader: Uploader) -> None:
    answer = uploader.send(as_json=False, consent=None, mode="thorough", detectors=["va"])
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422
    assert 'value="alex@example.org"' in page
    assert 'value="thorough" checked' in page
    assert 'value="va" checked' in page
    assert 'value="mesonet" checked' not in page
    assert PIN not in page


def test_address_with_a_domain_of_any_letters_is_written_as_mail_servers_need_it(
    app: Flask, uploader: Uploader
) -> None:
    job = uploader.submit(email="alex@müller.example.org")
    assert portal(app).store.read_submission("new", JobId(job)).email == "alex@xn--mller-kva.example.org"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "The file is empty"),
        (b"\0\0\0\x18ftypavci\0\0\0\0mif1avci", "HEIF"),
        (b"plain text", "type of file is not accepted"),
    ],
)
def test_plain_form_comes_back_with_what_is_wrong_with_the_file(
    app: Flask, uploader: Uploader, content: bytes, words: str
) -> None:
    answer = uploader.send(as_json=False, media=(io.BytesIO(content), "a.jpg"), mode="thorough")
    page = answer.get_data(as_text=True)
    assert answer.status_code == 415
    assert words in re.search(r'id="wrong-media" *>(.*?)</p>', page)[1]  # type: ignore[index]
    assert 'value="thorough" checked' in page
    assert _traces(app) == []


@pytest.mark.parametrize(("content", "status"), [(JPEG[:64], 200), (b"", 415), (b"%PDF-1.7", 415), (b"\0" * 64, 415)])
def test_first_bytes_say_whether_a_file_is_worth_sending(
    app: Flask, uploader: Uploader, content: bytes, status: int
) -> None:
    headers = {"X-CSRFToken": uploader.token(), "Accept": "application/json"}
    answer = uploader.client.post("/kind", data=content, headers=headers, content_type="application/octet-stream")
    assert answer.status_code == status
    if status == 200:
        assert answer.json == {"kind": "still", "lossy": True}
    if status == 415:
        whole = uploader.send(media=(io.BytesIO(content), "a.jpg")).json
        assert (answer.json["code"], answer.json["detail"]) == (whole["code"], whole["detail"])


def test_same_form_sent_often_at_once_is_one_submission(app: Flask, uploader: Uploader) -> None:
    token = uploader.token()
    cookie = uploader.client.get_cookie("dfom")
    assert cookie
    answers: list[str] = []

    def send() -> None:
        client = app.test_client()
        client.set_cookie("dfom", cookie.value)
        fields = uploader.fields(key="the-key") | {"csrf_token": token}
        answers.append(client.post("/submit", data=fields, headers={"Accept": "application/json"}).json["id"])

    threads = [threading.Thread(target=send) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = portal(app).store
    assert len(answers) == 30
    assert len(set(answers)) == 1
    assert store.ids("new") == answers[:1]
    assert store.ids("tmp") == []


def test_same_page_with_another_file_or_pin_is_another_submission(uploader: Uploader) -> None:
    first = uploader.submit(key="k")
    assert uploader.submit(key="k", media=(io.BytesIO(JPEG + b"x"), "b.jpg")) != first
    assert uploader.submit(key="k", pin="739164") != first
    assert uploader.submit(key="k") == first


def test_low_disk_space_refuses_before_anything_is_written(
    app: Flask, uploader: Uploader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: os.statvfs_result and _Usage(free=10))
    answer = uploader.send()
    assert answer.status_code == 507
    assert answer.json["code"] == "disk_full"
    assert "nothing was stored" in answer.json["detail"]
    assert _traces(app) == []


class _Usage:
    def __init__(self, free: int) -> None:
        self.free = free


@pytest.mark.parametrize("call", ["fsync", "rename", "replace"])
def test_disk_that_fills_up_at_any_step_is_an_honest_507(
    app: Flask, uploader: Uploader, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    token = uploader.token()
    real = getattr(os, call)
    count = 0
    for step in range(1, 40):
        count = 0

        def full(*arguments: Any, step: int = step, **named: Any) -> Any:
            nonlocal count
            count += 1
            if count == step:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*arguments, **named)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, full)
            fields = uploader.fields() | {"csrf_token": token}
            answer = uploader.client.post("/submit", data=fields, headers={"Accept": "application/json"})
        if count < step:
            assert answer.status_code == 201
            assert step > 1
            return
        assert answer.status_code == 507, f"{call} number {step}"
        assert portal(app).store.ids("tmp") == []
    pytest.fail("the failing call was never passed")


def test_write_that_fails_is_a_507_and_leaves_nothing(
    app: Flask, uploader: Uploader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    opened = open
    monkeypatch.setattr(
        media, "open", lambda path, *a, **k: _Full(opened(path, *a, **k), full) if str(path).endswith("media") else opened(path, *a, **k),
        raising=False,
    )  # fmt: skip
    answer = uploader.send()
    assert answer.status_code == 507
    assert _traces(app) == []


class _Full:
    def __init__(self, stream: Any, write: Any) -> None:
        self.write, self.close = write, stream.close


def test_twenty_open_submissions_of_one_address_are_enough(app: Flask, uploader: Uploader) -> None:
    for number in range(20):
        uploader.submit(media=(io.BytesIO(JPEG + bytes([number])), "a.jpg"))
    answer = uploader.send(media=(io.BytesIO(JPEG + b"x"), "a.jpg"))
    assert answer.status_code == 429
    assert uploader.send(email="other@example.org").status_code == 201
    finish(app, portal(app).store.ids("new")[0])
    portal(app).postman.tick()
    assert uploader.send().status_code == 201


def test_sixty_first_upload_of_an_hour_is_told_to_wait(uploader: Uploader) -> None:
    token = uploader.token()
    statuses = [uploader.client.post("/submit", data={"csrf_token": token}).status_code for _ in range(61)]
    assert statuses[:60] == [422] * 60
    assert statuses[60] == 429


def test_receipt_names_an_upload_that_is_durable(
    app: Flask, uploader: Uploader, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("fsync", "rename", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, _real=real, _name=name, **k: calls.append(_name) or _real(*a, **k))
    uploader.submit()
    assert calls.count("rename") == 1
    assert "fsync" in calls[: calls.index("rename")]
    assert "fsync" in calls[calls.index("rename") + 1 :]


def test_judging_again_by_all_is_a_tick_of_the_form_that_says_what_it_costs(app: Flask, uploader: Uploader) -> None:
    page = uploader.get("/").get_data(as_text=True)
    assert 'name="stability" value="all"' in page
    asked = [uploader.submit(**fields) for fields in ({}, {"stability": "all"}, {"stability": "none of these"})]
    with app.app_context():
        store = portal().store
        assert [store.read_submission("new", job).stability for job in asked] == ["fast", "all", "fast"]


def test_submission_record_holds_what_was_asked(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit(mode="quick", video_per_detector="yes", email=None)
    record: Submission = portal(app).store.read_submission("new", JobId(job))
    assert (record.mode, record.video_per_detector, record.email, record.source_url) == ("quick", True, None, None)
    assert record.received - portal(app).clock() < timedelta(seconds=1)
    assert len(record.visitor) == 32


def _traces(app: Flask) -> list[Path]:
    submissions = portal(app).store.submissions
    return [path for stage in submissions.iterdir() if stage.is_dir() for path in stage.iterdir()]
