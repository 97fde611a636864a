"""A call ends: with an answer, by its deadline, with the worker, or when it is cancelled; and only checked words come out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from backend.workers.spec import WorkerError, WorkerSpec
from backend.workers.worker import Worker
from base_detector import NotApplicable

Start = Callable[..., Worker]


def test_an_answer_comes_back_with_its_members(start: Start) -> None:
    answer = start().call("echo", timeout_s=5, pack="job/pack")
    assert answer["request"] == {"verb": "echo", "pack": "job/pack"}


def test_the_same_worker_answers_call_after_call(start: Start) -> None:
    worker = start()
    assert len({worker.call("echo", timeout_s=5)["pid"] for _ in range(20)}) == 1
    assert worker.alive()


def test_progress_is_told_and_a_flood_of_it_is_thinned(start: Start) -> None:
    told: list[tuple[int, int]] = []
    start().call("count", timeout_s=20, total=20_000, on_progress=lambda done, total: told.append((done, total)))
    assert told[0] == (0, 20_000)
    assert told[-1] == (20_000, 20_000)
    assert len(told) < 2_000


def test_a_reason_it_knows_comes_out_and_one_it_invents_does_not(start: Start) -> None:
    worker = start()
    with pytest.raises(NotApplicable, match=r"^no_face$"):
        worker.call("refuse", timeout_s=5, reason="no_face")
    for invented in ("<b>visit evil.example</b>", "deleted", "weights_missing", 7):
        with pytest.raises(NotApplicable, match=r"^not_judgeable$"):
            worker.call("refuse", timeout_s=5, reason=invented)
    assert worker.alive()


def test_a_code_it_knows_comes_out_and_one_it_invents_does_not(start: Start) -> None:
    worker = start()
    for said, heard in (
        ("weights_missing", "weights_missing"),
        ("your_fault", "detector_failed"),
        ("second_dispatcher", "detector_failed"),  # ours to say
        ("media_unreadable", "detector_failed"),  # a detector does not read media
        ("no_face", "detector_failed"),
        (7, "detector_failed"),
    ):
        with pytest.raises(WorkerError) as caught:
            worker.call("fail", timeout_s=5, code=said)
        assert (caught.value.code, caught.value.retryable) == (heard, False)
    assert worker.alive(), "a failure it names itself is an answer"


def test_a_call_past_its_deadline_ends_the_worker(start: Start) -> None:
    worker = start()
    began = time.monotonic()
    with pytest.raises(WorkerError) as caught:
        worker.call("sleep", timeout_s=0.3, seconds=60)
    assert caught.value.code == "detector_timed_out"
    assert not caught.value.retryable
    assert time.monotonic() - began < 5
    assert worker.ending == "killed"


def test_progress_does_not_extend_the_deadline(start: Start) -> None:
    worker = start()
    with pytest.raises(WorkerError, match="detector_timed_out"):
        worker.call("count", timeout_s=0.3, total=10**8)


def test_a_cancelled_call_ends_the_worker_at_once(start: Start) -> None:
    worker, cancelled = start(), threading.Event()
    threading.Timer(0.2, cancelled.set).start()
    began = time.monotonic()
    with pytest.raises(WorkerError, match="cancelled"):
        worker.call("sleep", timeout_s=60, seconds=60, cancelled=cancelled.is_set)
    assert time.monotonic() - began < 5
    assert worker.broken


def test_a_worker_that_dies_is_told_from_one_that_answers(start: Start) -> None:
    worker = start()
    with pytest.raises(WorkerError) as caught:
        worker.call("die", timeout_s=60)
    assert (caught.value.code, caught.value.retryable) == ("worker_died", True)
    assert not worker.alive()


def test_a_broken_worker_answers_no_more(start: Start) -> None:
    worker = start()
    with pytest.raises(WorkerError, match="worker_died"):
        worker.call("die", timeout_s=60)
    with pytest.raises(WorkerError, match="worker_died"):
        worker.call("echo", timeout_s=60)


@pytest.mark.parametrize(
    "words",
    [
        "hello", "[1]", "null", '{"status": "fine"}', '{"status": 1}', "[" * 200_000, "{" + '"a":{' * 100_000, "x" * 2_000_000,
        '{"event": "progress", "done": -1, "total": 2}', '{"event": "progress", "done": 3, "total": 2}',
        '{"event": "progress", "done": true, "total": 2}', '{"event": "progress", "done": 1e999, "total": 2}', '{"event": "other"}',
    ],
)  # fmt: skip
def test_what_is_no_answer_ends_the_worker(start: Start, words: str) -> None:
    worker = start()
    with pytest.raises(WorkerError) as caught:
        worker.call("raw", timeout_s=20, what=words)
    assert caught.value.code == "detector_bad_output"
    assert worker.broken


def test_output_beyond_its_cap_ends_the_worker(start: Start) -> None:
    worker = start()
    with worker.room("job") as room:
        worker.call("write", timeout_s=30, path=room.path("out/1"), bytes=4_000_000)
        with pytest.raises(WorkerError, match="output_too_large"):
            worker.call("write", timeout_s=30, path=room.path("out/2"), bytes=4_000_000, seconds=30)


def test_room_for_networks_ends_with_the_loading(start: Start, spec: WorkerSpec) -> None:
    started = start(opened=False)
    worker = Worker(replace(spec, nets_mb=10), started._running, started._exchange)
    assert worker._most_mb == 20
    worker.open(timeout_s=20)
    with worker.room("job") as room:
        worker.call("write", timeout_s=30, path=room.path("out/1"), bytes=4_000_000)
        with pytest.raises(WorkerError, match="output_too_large"):
            worker.call("write", timeout_s=30, path=room.path("out/2"), bytes=4_000_000, seconds=30)


def test_too_many_files_end_the_worker(start: Start) -> None:
    worker = start()
    with worker.room("job") as room, pytest.raises(WorkerError, match="output_too_large"):
        worker.call("many", timeout_s=60, path=room.path("out"), count=25_000)


def test_memory_beyond_its_limit_is_named(start: Start) -> None:
    worker = start()
    with pytest.raises(WorkerError) as caught:
        worker.call("hoard", timeout_s=30, bytes=8_000_000_000)
    assert (caught.value.code, caught.value.retryable) == ("out_of_memory", True)
    assert worker.broken


def test_a_worker_that_never_listens_is_given_up(start: Start, tmp_path: Path) -> None:
    (tmp_path / "never").touch()
    worker = start(opened=False)
    with pytest.raises(WorkerError) as caught:
        worker.open(timeout_s=0.5)
    assert (caught.value.code, caught.value.retryable) == ("worker_not_started", True)
    assert worker.ending == "killed"


def test_the_log_keeps_the_last_lines_escaped(start: Start, tmp_path: Path) -> None:
    worker = start()
    with pytest.raises(WorkerError):
        worker.call(
            "fail",
            timeout_s=5,
            code="detector_failed",
            words="\x1b[31mred\x07\r\u202eevil\n" + "\n".join(map(str, range(3000))),
        )
    worker.close()
    log = (tmp_path / "acting-0.log").read_text()
    assert log.splitlines()[-1] == "2999"
    assert "\\x1b[31mred\\x07" in log
    assert "\\u202e" in log
    assert "\x1b" not in log


def test_the_error_of_a_failed_worker_has_its_last_words_even_when_the_answer_overtakes_them(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = start()
    slow = worker._running.last_words
    late = iter([[], ["Traceback ..."]])
    monkeypatch.setattr(worker._running, "last_words", lambda: next(late, None) or slow())
    with pytest.raises(WorkerError) as caught:
        worker.call("fail", timeout_s=5, code="detector_failed", words="KeyError: 'fc'\nfail: detector_failed")
    assert caught.value.log[-2:] == ("KeyError: 'fc'", "fail: detector_failed")


def test_a_flood_of_log_lines_stays_below_its_cap(start: Start, tmp_path: Path) -> None:
    worker = start()
    worker.call("run", timeout_s=60, code="import sys\nfor i in range(20): sys.stderr.write('y' * 200_000 + '\\n')")
    worker.close()
    assert (tmp_path / "acting-0.log").stat().st_size <= 1_000_000


def test_a_warm_call_costs_under_five_milliseconds(start: Start) -> None:
    worker = start()
    seconds = []
    for _ in range(200):
        began = time.perf_counter()
        worker.call("echo", timeout_s=5)
        seconds.append(time.perf_counter() - began)
    assert sorted(seconds)[100] < 0.005
