"""What is compressed, what never is, and how long a browser keeps files of ours."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, render_template_string, request, url_for

from frontend.delivery import IMMUTABLE, version_of
from shared.records import new_id
from tests.frontend.stories import PIN, Uploader, Visitor, finish

PACKED = {"Accept-Encoding": "gzip, deflate, br"}


def encoding(answer: Any) -> str | None:
    return answer.headers.get("Content-Encoding")


@pytest.mark.parametrize("path", ["/", "/help", "/detectors", "/how-sure", "/static/portal.css"])
def test_text_is_compressed_for_who_takes_it(visitor: Visitor, path: str) -> None:
    plain, packed = visitor.get(path), visitor.get(path, headers={"Accept-Encoding": "gzip"})
    assert encoding(plain) is None
    assert encoding(packed) == "gzip"
    assert encoding(visitor.get(path, headers=PACKED)) == "br"
    assert int(packed.headers["Content-Length"]) == len(packed.data)
    if path == "/static/portal.css":
        assert gzip.decompress(packed.data) == plain.data
    assert len(packed.data) < 0.6 * len(plain.data)
    for answer in (plain, packed):
        assert "Accept-Encoding" in answer.headers["Vary"]


def test_what_repeats_the_request_is_not_compressed(app: Flask, uploader: Uploader) -> None:
    """BREACH: a text of the attacker's choice beside a secret, and the length of the answer."""
    job = uploader.submit()
    form_again = uploader.send(as_json=False, email="no address", headers=PACKED)
    assert form_again.status_code == 422
    assert "no address" in form_again.get_data(as_text=True)
    assert encoding(form_again) is None
    assert encoding(uploader.get(f"/unlock/{job}/{'guess' * 200}", headers=PACKED)) is None
    assert encoding(uploader.get("/help?q=" + "guess" * 200, headers=PACKED)) is None
    assert encoding(uploader.get("/nothing/" + "guess" * 200, headers=PACKED)) is None


def test_no_compressed_page_repeats_a_free_part_of_its_address(app: Flask, visitor: Visitor) -> None:
    """Ids that never existed are a text of the attacker's choice as well."""
    repeating = set()
    for rule in app.url_map.iter_rules():
        if "GET" not in (rule.methods or ()) or not rule.arguments:
            continue
        given = {name: new_id() for name in rule.arguments}
        answer = visitor.get(rule.build(given, append_unknown=False)[1], headers=PACKED)
        if answer.status_code == 200 and encoding(answer) is not None:
            plain = visitor.get(rule.build(given, append_unknown=False)[1]).get_data(as_text=True)
            assert not [name for name, part in given.items() if part in plain], rule
        elif answer.status_code == 200:
            repeating.add(rule.endpoint)
    assert repeating >= {"viewer.unlock", "compare.page"}


def test_no_compressed_page_repeats_its_query(app: Flask) -> None:
    """A page that did would be caught by the rule about queries, whoever adds it."""

    @app.get("/echo")
    def echo() -> str:
        return render_template_string("{{ said }}" + "x" * 2000, said=request.args.get("said", ""))

    client = Visitor(app.test_client())
    assert encoding(client.get("/echo", headers=PACKED)) == "br"
    assert encoding(client.get("/echo?said=guess", headers=PACKED)) is None


def test_media_archives_parts_and_streams_are_left_alone(app: Flask, uploader: Uploader, astronaut_clip: Path) -> None:
    @app.get("/stream")
    def stream() -> Response:
        return Response((f"data: {number}\n\n" for number in range(200)), mimetype="text/event-stream")

    job = uploader.submit()
    finish(app, job, video=astronaut_clip)
    uploader.enter_pin(job, PIN)
    files = f"/r/{job}/files/"
    for name in ("video/side_by_side.mp4", "bundle.zip", "curves/all.png"):
        assert encoding(uploader.get(files + name, headers=PACKED)) is None
    assert encoding(uploader.get("/stream", headers=PACKED)) is None
    for path in ("/static/portal.css", files + "scores.csv"):
        whole = uploader.get(path)
        part = uploader.get(path, headers=PACKED | {"Range": "bytes=0-9"})
        assert (part.status_code, encoding(part), part.data) == (206, None, whole.data[:10])


def test_a_compressed_file_that_the_browser_has_is_not_sent_again(visitor: Visitor) -> None:
    first = visitor.get("/static/portal.css", headers=PACKED)
    again = visitor.get("/static/portal.css", headers=PACKED | {"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert visitor.get("/static/portal.css", headers={"If-None-Match": first.headers["ETag"]}).status_code == 200


def test_files_with_their_version_are_kept_for_ever_and_others_asked_for_again(app: Flask, visitor: Visitor) -> None:
    page = visitor.get("/").get_data(as_text=True)
    addresses = set(re.findall(r'"(/static/[^"]+)"', page))
    assert len(addresses) >= 3
    for address in addresses:
        assert visitor.get(address).headers["Cache-Control"] == IMMUTABLE
    for address in ("/static/portal.css", "/static/portal.css?v=0.1.0", "/static/portal.css?v="):
        assert visitor.get(address).headers["Cache-Control"] == "no-cache"
    assert visitor.get("/").headers["Cache-Control"] == "no-store"


def test_the_version_follows_the_content(app: Flask, tmp_path: Path) -> None:
    app.static_folder = str(tmp_path)
    file = tmp_path / "a.js"

    def address() -> str:
        with app.test_request_context():
            return url_for("static", filename="a.js")

    file.write_text("one")
    first = address()
    file.write_text("other")
    second = address()
    assert first != second
    file.write_text("one")
    assert address() == first
    client = Visitor(app.test_client())
    assert client.get(first).headers["Cache-Control"] == IMMUTABLE
    assert client.get(second).headers["Cache-Control"] == "no-cache"
    assert version_of(app, "nothing.js") is None
    assert version_of(app, "../a.js") is None
