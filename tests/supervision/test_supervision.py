"""Killed and stopped processes of a whole site: a start always works, nobody works twice, nothing is lost, nothing is left running.

The real ``deepfake-o-meter serve``, dispatcher and workers. The usual suite disturbs each once; ten times each is
marked slow.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backend.dispatch.heartbeat import STALE_S
from tests.supervision.site import Serving, children, command_of, left_of

#: Each alone, and all together.
TARGETS = [("portal",), ("dispatcher",), ("media worker",), ("portal", "dispatcher", "media worker")]
NAMES = [" and ".join(target) for target in TARGETS]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "var").mkdir()
    return tmp_path / "var"


@pytest.fixture
def serving(data: Path, weights_folder: Path) -> Iterator[Callable[..., Serving]]:
    """Make a site on the common folder; what is left of all of them is ended afterwards."""
    made: list[Serving] = []

    def make(name: str = "site") -> Serving:
        made.append(Serving(data, weights_folder, name=name))
        return made[-1]

    yield make
    for site in made:
        if site.portal and site.portal.poll() is None:
            for pid in site.all().values():
                os.kill(pid, signal.SIGCONT)
            site.portal.kill()
            site.portal.wait()


def in_work(site: Serving) -> bool:
    """Whether all three processes live and a job is in work."""
    return len(site.all()) == 3 and bool(site.store.ids("active"))


def disturb(site: Serving, targets: tuple[str, ...], *, kill: bool, pause_s: float) -> None:
    """Kill the targets, or stop them for ``pause_s``; a killed portal is started again at once."""
    pids = [pid for name, pid in site.all().items() if name in targets]
    for pid in pids:
        os.kill(pid, signal.SIGKILL if kill else signal.SIGSTOP)
    if not kill:
        time.sleep(pause_s)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    elif "portal" in targets:
        site.portal.wait()
        site.start()


def goes_through(site: Serving, targets: tuple[str, ...], *, kill: bool, times: int) -> None:
    """Disturb a site ``times`` in the middle of a job, and see what becomes of the job."""
    chance = random.Random(str(targets))
    for _ in range(times):
        job = site.submit()
        site.wait(lambda: in_work(site) or site.is_done(job))  # noqa: B023
        time.sleep(chance.uniform(0, 0.7))
        disturb(site, targets, kill=kill, pause_s=1.0)
        site.wait(lambda: site.is_done(job))  # noqa: B023
        ends = kill and targets != ("media worker",)
        assert 1 <= site.attempts(job) <= (2 if ends else 1), "more attempts than the job was interrupted"
        assert site.published(job) <= 1, "done twice"
        assert site.portal.poll() is None
        assert len([pid for pid in children(site.portal.pid) if "dispatch" in command_of(pid)]) == 1


def ends_clean(site: Serving, data: Path) -> None:
    """Stop the site: status 0, no process and no job left behind."""
    assert site.end() == 0
    site.wait(lambda: not left_of(data), within_s=10)
    assert not site.store.ids("active")
    assert not site.store.ids("new")


def test_a_disturbed_site_goes_on(serving, data: Path):
    site = serving()
    site.start()
    for targets in TARGETS:
        for kill in (True, False):
            goes_through(site, targets, kill=kill, times=1)
    ends_clean(site, data)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kill", [True, False], ids=["kill -9", "STOP and CONT"])
@pytest.mark.parametrize("targets", TARGETS, ids=NAMES)
def test_a_disturbed_site_goes_on_ten_times(serving, data: Path, targets: tuple[str, ...], kill: bool):
    site = serving()
    site.start()
    goes_through(site, targets, kill=kill, times=10)
    ends_clean(site, data)


# ------------------------------------------------------------------ starting and stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_everything_with_status_0(serving, data: Path, number: signal.Signals):
    site = serving()
    site.start()
    job = site.submit()
    site.wait(lambda: in_work(site) or site.is_done(job))
    assert site.end(number) == 0
    assert not left_of(data)
    site.start()
    site.wait(lambda: site.is_done(job))
    assert site.attempts(job) == 1, "what was stopped in good order is no failed attempt"


def test_ctrl_c_reaches_the_whole_process_group_and_ends_with_0(serving, data: Path):
    site = serving()
    site.start()
    site.wait(site.dispatcher)
    for pid in (site.portal.pid, site.dispatcher()):  # what a terminal does
        os.kill(pid, signal.SIGINT)
    assert site.portal.wait(60) == 0
    assert not left_of(data)


def test_a_second_site_on_the_folder_refuses_and_says_so_by_its_status(serving, data: Path):
    first, second = serving(), serving("second")
    first.start()
    first.wait(lambda: list(first.store.results.glob(".dispatcher-*")))
    second.start()
    assert second.portal.wait(60) == 2
    assert "Another dispatcher works on this folder" in second.log()
    job = first.submit()
    first.wait(lambda: first.is_done(job))
    assert first.end() == 0


def test_a_log_on_a_full_disk_ends_nobody(serving, data: Path):
    site = serving()
    site.start(log_to=Path("/dev/full"))
    site.wait(site.dispatcher)
    os.kill(site.dispatcher(), signal.SIGKILL)
    job = site.submit()
    site.wait(lambda: site.is_done(job))
    site.end()
    site.wait(lambda: not left_of(data), within_s=10)


@pytest.mark.parametrize("after_s", [0.7, 2.0])
def test_a_signal_during_the_start_leaves_nothing_running(serving, data: Path, after_s: float):
    site = serving()
    with contextlib.suppress(AssertionError):
        site.start(within_s=after_s)
    assert site.end() in (0, -signal.SIGTERM)
    site.wait(lambda: not left_of(data), within_s=10)


def test_a_dispatcher_that_is_killed_again_and_again_does_not_end_the_portal(serving, data: Path):
    site = serving()
    site.start()
    for _ in range(3):
        site.wait(site.dispatcher)
        os.kill(site.dispatcher(), signal.SIGKILL)
        site.wait(lambda: site.dispatcher() is None)
    assert site.portal.poll() is None
    job = site.submit()
    site.wait(lambda: site.is_done(job))
    assert site.end() == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_sites_one_of_them_stopped_for_longer_than_its_claim_lives(serving, data: Path):
    """The second takes over; the first wakes up, disturbs nobody and stands by; when the second is killed, the first goes on."""
    first, second = serving("first"), serving("second")
    first.start()
    job = first.submit()
    first.wait(lambda: in_work(first))
    stopped = first.dispatcher()
    os.kill(stopped, signal.SIGSTOP)
    time.sleep(STALE_S + 1)
    second.start()
    second.wait(lambda: second.dispatcher() and second.is_done(job))
    assert second.attempts(job) == 2
    os.kill(stopped, signal.SIGCONT)
    first.wait(lambda: first.dispatcher() not in (stopped, None))
    assert "Another back-end took over; this one stands by." in first.log()
    again = first.submit()
    second.wait(lambda: second.is_done(again) and second.published(again))
    assert (first.published(job) + second.published(job), first.published(again), second.published(again)) == (1, 0, 1)
    assert second.portal.poll() is first.portal.poll() is None
    last = first.submit()
    second.wait(lambda: in_work(second) or second.is_done(last))
    for pid in second.all().values():
        os.kill(pid, signal.SIGKILL)
    first.wait(lambda: first.is_done(last))
    assert first.end() == 0
    first.wait(lambda: not left_of(data), within_s=10)
