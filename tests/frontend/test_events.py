"""The progress as server-sent events: the first at once, each change within seconds, few threads, and none for readers who left."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from flask import Flask

from frontend.events import Streams, stream_of
from frontend.portal import portal
from frontend.server import create_web_server
from tests.frontend.serving import eventually
from tests.frontend.stories import FrozenClock, Uploader, Visitor, finish, status, working

FAST = {"longest_s": 5.0, "look_s": 0.01, "heartbeat_s": 0.03}


@pytest.fixture
def listen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Flask], str]]:
    """Serve a portal as ``serve`` does; its address."""
    monkeypatch.setattr("tempfile.tempdir", None)
    begun: list[tuple[Any, threading.Thread]] = []

    def begin(app: Flask) -> str:
        server = create_web_server(app, portal(app).settings.model_copy(update={"port": 0}))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        begun.append((server, thread))
        return f"http://127.0.0.1:{server.effective_port}"

    yield begin
    for server, thread in begun:
        for channel in list(server.active_channels.values()):
            channel.handle_close()
        server.close()
        thread.join(5)
        server.task_dispatcher.shutdown()


def messages(lines: Iterator[str]) -> Iterator[Any]:
    """The content of each event of a stream; None for a heartbeat."""
    for line in lines:
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))
        elif line == ":":
            yield None


def of(app: Flask, look: Callable[[], tuple[Any, bool]], **times: float) -> list[Any]:
    with app.test_request_context("/"):
        response = stream_of(look, Streams(4, **(FAST | times)))
        assert response is not None
        text = response.get_data(as_text=True)
        response.close()
    assert text.startswith("retry: 1000\n\n")
    return list(messages(iter(text.split("\n"))))


def test_changes_are_said_once_and_the_last_one_ends_the_stream(app: Flask) -> None:
    looks = iter([(1, False), (1, False), (2, False), (2, False), (3, True)])
    assert [item for item in of(app, lambda: next(looks)) if item is not None] == [1, 2, 3]


def test_a_stream_without_news_has_heartbeats_and_an_end(app: Flask) -> None:
    said = of(app, lambda: ("the same", False), longest_s=0.2)
    assert said[0] == "the same"
    assert set(said[1:]) == {None}
    assert 1 < len(said) < 15


def test_a_submission_that_is_gone_ends_the_stream_quietly(app: Flask) -> None:
    looks = iter([("there", False)])

    def look() -> tuple[Any, bool]:
        for found in looks:
            return found
        raise FileNotFoundError

    assert of(app, look) == ["there"]


def test_few_streams_are_open_at_once_and_each_place_comes_back(app: Flask) -> None:
    assert [Streams(threads).take() is not None for threads in (1, 3, 4, 8)] == [False, False, True, True]
    streams = Streams(8)
    first, second = streams.take(), streams.take()
    assert first
    assert second
    assert streams.take() is None
    first()
    first()  # as a response that is closed twice
    assert streams.take()
    assert streams.take() is None
    with app.test_request_context("/"):
        full = Streams(4)
        opened = stream_of(lambda: (1, True), full)
        assert opened is not None
        assert stream_of(lambda: (1, True), full) is None
        opened.close()  # nothing of it was read
        assert full.take()


def test_a_browser_hears_of_each_change_until_the_end(
    app: Flask, clock: FrozenClock, uploader: Uploader, listen: Any
) -> None:
    portal(app).streams.look_s = 0.05
    job = uploader.submit()
    store = portal(app).store
    with httpx.stream("GET", f"{listen(app)}/r/{job}/events", timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert answer.headers["Cache-Control"] == "no-store, no-transform"
        assert "Content-Encoding" not in answer.headers
        said = messages(answer.iter_lines())
        assert next(said)["state"] == "queued"
        store.write_status(status(job, clock(), state="queued", queue_position=2, estimated_wait_s=1, longest_wait_s=2))
        assert next(item for item in said if item)["headline"] == "Number 2 in the queue"
        store.write_status(working(job, clock()))
        assert next(item for item in said if item)["percent"] == 46
        finish(app, job)
        assert [(item["state"], item["final"]) for item in said if item] == [("done", True)]


def test_fifty_open_pages_hold_few_threads_and_a_visitor_is_served(
    app: Flask, uploader: Uploader, visitor: Visitor, listen: Any
) -> None:
    """Streams beyond the limit are told to ask instead; a reader who left gives its thread back with the next heartbeats."""
    portal(app).streams.look_s, portal(app).streams.heartbeat_s = 0.05, 0.1
    job, url = uploader.submit(), listen(app)
    address = f"{url}/r/{job}/events"
    with httpx.Client(limits=httpx.Limits(max_connections=60), timeout=20) as client:
        pages = [client.send(client.build_request("GET", address), stream=True) for _ in range(50)]
        assert sorted(page.status_code for page in pages) == [200] * 2 + [204] * 48
        began = time.monotonic()
        assert httpx.get(f"{url}/detectors", timeout=20).status_code == 200
        assert time.monotonic() - began < 5
        for page in pages:
            page.close()

    def opens() -> bool:
        with httpx.stream("GET", address, timeout=20) as answer:
            return answer.status_code == 200

    eventually(opens)
