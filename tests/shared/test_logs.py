"""Logs: one line of JSON an event, ids as prefixes, no values of variables, libraries included."""

from __future__ import annotations

import errno
import io
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from shared.logs import log_to_stderr, shortened
from shared.records import new_id


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """What was logged, parsed."""
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    before = logging.getLogger().handlers[:]
    log_to_stderr(logging.INFO)

    def read() -> list[dict[str, Any]]:
        return [json.loads(line) for line in written.getvalue().split("\n") if line]

    yield read
    logging.getLogger().handlers[:] = before
    structlog.reset_defaults()


def test_ids_and_tokens_are_cut_wherever_they_are(lines: Any) -> None:
    job = new_id()
    log = structlog.get_logger()
    log.info(
        "done", job=job, files=[f"/var/results/{job}/report", {"link": f"http://a/unlock/{job}/aA_-0123456789012345"}]
    )
    try:
        raise FileNotFoundError(f"/var/results/{job}/status.json")
    except FileNotFoundError:
        log.exception("failed")
    logging.getLogger("waitress").error("Exception while serving /r/%s/pin", job)
    found = lines()
    assert len(found) == 3
    assert job not in json.dumps(found)
    assert "aA_-0123456789012345" not in json.dumps(found)
    assert found[0]["job"] == job[:8] + "…"
    assert found[2]["message"] == f"Exception while serving /r/{job[:8]}…/pin"


def test_paths_and_errors_are_cut_as_well(lines: Any) -> None:
    job = new_id()
    structlog.get_logger().info("gone", path=Path("/scratch/jobs/main") / job / "media", error=ValueError(f"no {job}"))
    [line] = lines()
    assert line["path"] == f"/scratch/jobs/main/{job[:8]}…/media"
    assert line["error"] == f"no {job[:8]}…"


def test_traces_hold_no_values_of_variables(lines: Any) -> None:
    pin = "482913"
    try:
        int(pin) // len("")
    except ZeroDivisionError:
        structlog.get_logger().exception("failed")
    [line] = lines()
    assert "test_logs.py" in json.dumps(line)
    assert pin not in json.dumps(line).replace("482913,", "")


def test_hostile_text_is_one_line(lines: Any) -> None:
    evil = ["a\nb", "\r\n{}", "\x1b[31mred", "\u2028", '"}', "\x00", "\ud800"]
    for text in evil:
        structlog.get_logger().info("said", text=text)
    assert [line["text"] for line in lines()] == evil


@pytest.mark.parametrize("text", ["a" * 25, "a" * 27, "sha256:" + "ab" * 32, "A" * 26, "1" * 26])
def test_what_is_no_id_is_left_as_it_is(text: str) -> None:
    assert shortened(text) == text


class FullDisk(io.StringIO):
    """Takes nothing."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_log_that_cannot_be_written_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = logging.getLogger().handlers[:]
    monkeypatch.setattr(sys, "stderr", FullDisk())
    log_to_stderr(logging.INFO)
    try:
        structlog.get_logger().info("said")
        logging.getLogger("waitress").error("said")
    finally:
        logging.getLogger().handlers[:] = before
        structlog.reset_defaults()
