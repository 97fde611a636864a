"""The damage table: every file of both shared folders and of both sides' state, damaged in every way, while a real site runs on them.

The site is ``deepfake-o-meter serve`` with its dispatcher and workers, each in its own process. Promises: neither ends, nor is started
again; every job that is not damaged finishes; a damaged one ends with a reason; no page is answered with 500.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from frontend.outbox import Mail
from frontend.pins import Pins
from frontend.receipts import Receipt
from shared import durable
from shared.records import JobId, Status, Submission, new_id
from shared.settings import Settings, read_settings
from shared.store import Store
from tests.conftest import FIXTURES
from tests.e2e.test_upload_to_bundle import ROOT, Site, eventually
from tests.report.conftest import make_result
from tests.shared.damage import DAMAGES

PIN = "482913"
#: Not a picture: a job whose records are whole gets as far as the media pass and fails there.
MEDIA = b"not a picture"

#: Where a job can be damaged: the stage it is in, the folder and the name of what is damaged ("" = the folder itself).
OF_A_JOB = {
    "new/": ("new", "job", ""),
    "new/submission.json": ("new", "job", "submission.json"),
    "new/media": ("new", "job", "media"),
    "new/attempts.json": ("new", "job", "attempts.json"),
    "new/withdrawn": ("new", "job", "withdrawn"),
    "active/": ("active", "job", ""),
    "active/submission.json": ("active", "job", "submission.json"),
    "active/media": ("active", "job", "media"),
    "active/attempts.json": ("active", "job", "attempts.json"),
    "active/withdrawn": ("active", "job", "withdrawn"),
    "results/ of a waiting job": ("new", "result", ""),
    "status.json of a waiting job": ("new", "result", "status.json"),
    "done/": ("done", "job", ""),
    "done/submission.json": ("done", "job", "submission.json"),
    "results/ of a finished job": ("done", "result", ""),
    "status.json of a finished job": ("done", "result", "status.json"),
    "report/": ("done", "result", "report"),
    "report/result.json": ("done", "result", "report/result.json"),
    "access": ("done", "frontend", "access/{job}.json"),
    "receipt": ("done", "frontend", "receipts/{job}.json"),
    "mail": ("done", "frontend", "outbox/{job}-finished.json"),
    "name of a sent mail": ("done", "frontend", "sent/{job}-received"),
}

#: The last three are those of a job whose records are whole: it got as far as its media, or its owner deleted it.
REASONS = {"record_invalid", "media_changed", "unsupported_media", "deleted", "media_unreadable"}

#: Files beside the jobs: relative to DATA. The first group is read at every turn, the second at the start only.
ALL_ALONG = (
    *("results/catalog.json", "results/queue.json", "results/model_cards/mesonet.md", "results/{claim}"),
    *("results/.deepfake-o-meter", "submissions/.deepfake-o-meter", "backend/detectors.json"),
    *("backend/admission/mesonet.json", "backend/scores/{entry}", "backend/scores/{entry}/scores.json"),
)
STARTS = 2
SEEN_BY_JOBS = (*ALL_ALONG[:2], ALL_ALONG[3], *ALL_ALONG[6:7], *ALL_ALONG[8:])
AT_THE_START = ("backend/durations.json", "backend/shared_folders.json", "frontend/shared_folders.json", *ALL_ALONG)


class World(Site):
    """A site, and the jobs of the table; ``victims`` are (place, damage) -> id."""

    def __init__(self, data: Path, weights: Path) -> None:
        super().__init__(data, weights, runner="process", scan_s=0.2, jobs=2)
        self.settings: Settings = read_settings(data=data)
        state = self.settings.frontend_state
        state.mkdir(parents=True)
        self.store = Store(self.settings.submissions, self.settings.results).prepare(state)
        self.pin_hash = Pins(state).hash(PIN)
        self.victims: dict[tuple[str, str], JobId] = {}
        self.answers_of: dict[str, set[int]] = {}
        self.result = make_result().model_copy(update={"id": "x"}).model_dump_json()
        self.client = httpx.Client(timeout=30)

    # -- before the start

    def add_victims(self) -> None:
        for place, (stage, root, name) in OF_A_JOB.items():
            for kind, damage in DAMAGES.items():
                job = self.made(stage)
                folder = {
                    "job": self.store.job(stage, job),
                    "result": self.store.result(job),
                    "frontend": self.settings.frontend_state,
                }[root]
                path = folder / name.format(job=job)
                path.parent.mkdir(parents=True, exist_ok=True)
                damage(path)
                self.victims[place, kind] = job

    def made(self, stage: str) -> JobId:
        """A job in ``stage`` with all that belongs to it."""
        job, now = new_id(), datetime.now(UTC)
        (self.store.open_submission(job) / "media").write_bytes(MEDIA)
        self.store.submit(
            Submission(
                id=job, received=now, email="visitor@example.org", pin_hash=self.pin_hash, detectors=("mesonet",),
                mode="quick", original_name="a.jpg", sha256=hashlib.sha256(MEDIA).hexdigest(), bytes=len(MEDIA),
            )
        )  # fmt: skip
        if stage != "new":
            self.store.move(job, "new", "active")
            self.store.count_attempt(job)
        if stage == "done":
            self.finish(job, now)
        return job

    def finish(self, job: JobId, now: datetime) -> None:
        report = self.data / "made" / job
        report.mkdir(parents=True)
        (report / "result.json").write_text(self.result.replace('"id":"x"', f'"id":"{job}"', 1))
        self.store.publish(job, report)
        self.store.write_status(Status(id=job, state="done", step="done", updated=now, finished=now))
        self.store.move(job, "active", "done")
        state = self.settings.frontend_state
        records = {
            f"access/{job}.json": {"wrong": 1},
            f"receipts/{job}.json": Receipt(id=job, created=now, fingerprint="x").model_dump(mode="json"),
            f"outbox/{job}-finished.json": Mail(
                name=f"{job}-finished", job=job, kind="finished", to="visitor@example.org", link="http://x", created=now,
                next_at=now, message_id="<x@y>",
            ).model_dump(mode="json"),
        }  # fmt: skip
        for name, record in records.items():
            (state / name).parent.mkdir(exist_ok=True)
            (state / name).write_text(json.dumps(record))

    # -- while it runs

    def get(self, path: str) -> httpx.Response:
        answer = self.client.get(self.address + path, headers={"Accept": "text/html"})
        self.answers_of.setdefault(re.sub(r"[a-z2-7]{26}", "ID", path), set()).add(answer.status_code)
        return answer

    def state(self, job: JobId) -> dict[str, Any]:
        answer = self.client.get(f"{self.address}/r/{job}/status.json")
        self.answers_of.setdefault("/r/ID/status.json", set()).add(answer.status_code)
        return answer.json() if answer.status_code == 200 else {"state": f"HTTP {answer.status_code}", "final": False}

    def upload(self) -> JobId:
        """A portrait of a visitor."""
        eventually(lambda: self.get("/ready").status_code == 200, within_s=90, told=self.told)
        form = {
            "csrf_token": _token(self.get("/")),
            "detectors": "mesonet",
            "mode": "quick",
            "pin": PIN,
            "consent": "yes",
        }
        answer = self.client.post(
            f"{self.address}/submit",
            data=form,
            files={"media": ("portrait.jpg", (FIXTURES / "astronaut.jpg").read_bytes())},
            headers={"Accept": "application/json"},
        )
        assert answer.status_code == 201, answer.text
        return JobId(answer.json()["id"])

    def finishes(self, job: JobId) -> None:
        state = eventually(lambda: (found := self.state(job))["final"] and found, within_s=120, told=self.told)
        assert state["state"] == "done", state

    def open_result(self, job: JobId) -> int:
        """Enter the PIN and ask for the result; the status of the last answer."""
        page = self.get(f"/r/{job}")
        if 'name="pin"' not in page.text:
            return page.status_code
        form = {"csrf_token": _token(page), "pin": PIN}
        answer = self.client.post(f"{self.address}/r/{job}/pin", data=form)
        self.answers_of.setdefault("PIN", set()).add(answer.status_code)
        if answer.status_code == 303:
            for name in ("curves.json", "files/bundle.zip", "files/result.json"):
                self.get(f"/r/{job}/{name}")
            return self.get(f"/r/{job}").status_code
        return answer.status_code

    def processes(self) -> list[int]:
        """Portal and dispatcher."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]

    def path(self, name: str) -> Path:
        claims = sorted(path.name for path in self.store.results.glob(".dispatcher-*.json"))
        entries = sorted(path.name for path in (self.settings.backend_state / "scores").glob("[0-9a-f]*"))
        return self.data / name.format(
            claim=claims[-1] if claims else ".dispatcher-1.json", entry=entries[-1] if entries else "none"
        )

    def nothing_broke(self) -> None:
        """What must hold at every moment of the table."""
        assert self.process.poll() is None, self.told()
        log = self.log.read_text(encoding="utf-8")
        for word in ("Traceback", '"exception"', "starts again", "request_failed"):
            assert word not in log, log[max(0, log.index(word) - 3000) :][:6000]
        bad = {path: codes for path, codes in self.answers_of.items() if codes & {500, 502, 504}}
        assert not bad, f"{bad}\n{self.told()}"


def _token(page: httpx.Response) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert found, page.text[:2000]
    return found.group(1)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, weights_folder: Path) -> Iterator[World]:
    data = tmp_path_factory.mktemp("damage") / "var"
    data.mkdir()
    world = World(data, weights_folder)
    world.add_victims()
    world.start()
    yield world
    world.client.close()
    if world.process.poll() is None:
        world.stop()


def ended(world: World, place: str) -> Callable[[], bool]:
    jobs = [job for (where, _), job in world.victims.items() if where == place]
    return lambda: all(world.store.stage_of(job) not in ("new", "active") for job in jobs)


def test_a_visitor_gets_a_result_beside_all_the_damage(world: World):
    before = world.processes()
    world.finishes(world.upload())
    assert world.processes() == before
    world.nothing_broke()


@pytest.mark.parametrize("place", OF_A_JOB)
def test_a_damaged_job_ends_with_a_reason_and_its_page_is_answered(world: World, place: str):
    eventually(ended(world, place), within_s=120, told=world.told)
    for kind in DAMAGES:
        job = world.victims[place, kind]
        page, state = world.get(f"/r/{job}"), world.state(job)
        assert page.status_code in (200, 404, 410), (kind, page.status_code)
        if OF_A_JOB[place][0] != "done":
            assert state["state"] == "failed", (kind, state)
            code = world.store.read_status(job).code
            assert code in REASONS, (kind, code)
        elif page.status_code == 200:
            assert state["final"], (kind, state)
            assert world.open_result(job) in (200, 403, 404, 423), kind
    world.nothing_broke()


@pytest.mark.parametrize("name", ALL_ALONG)
def test_damage_beside_the_jobs_while_the_site_runs(world: World, name: str):
    before, kept = world.processes(), world.path(name)
    whole = kept.read_bytes() if kept.is_file() else None
    for kind, damage in DAMAGES.items():
        path = world.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        damage(path)
        time.sleep(0.05)
        for page in ("/", "/detectors", "/detectors/mesonet", "/ready", "/healthz"):
            assert world.get(page).status_code in (200, 404, 503), (kind, page)
    if "backend/detectors.json" in name:  # nothing is enabled by damage: the operator has to decide anew
        durable.remove(world.path(name))
    elif "scores/" not in name and not durable.exists(world.path(name)) and whole:
        world.path(name).write_bytes(whole)
    if name in SEEN_BY_JOBS:
        world.finishes(world.upload())
    assert world.processes() == before
    world.nothing_broke()


def test_a_site_starts_on_damaged_state(world: World):
    """Each start meets another damage in each file, so that a few starts see them all in turn."""
    kinds = list(DAMAGES)
    for turn in range(STARTS):
        assert world.stop() == 0, world.told()
        for index, name in enumerate(AT_THE_START):
            path = world.path(name)
            if durable.is_folder(path.parent):  # damage of a folder takes what is in it along
                DAMAGES[kinds[(STARTS * index + turn) % len(kinds)]](path)
        for claim in world.store.results.glob(".dispatcher-*"):  # a damaged claim counts by its age
            os.utime(claim, (1, 1), follow_symlinks=False)
        world.start()
        durable.remove(world.settings.backend_state / "detectors.json")
        eventually(lambda: world.get("/ready").status_code == 200, within_s=90, told=world.told)
        world.nothing_broke()
    world.finishes(world.upload())


def test_a_finished_job_can_be_deleted_whatever_is_damaged(world: World):
    left = []
    for place, (stage, _, _) in OF_A_JOB.items():
        if stage != "done":
            continue
        for kind in DAMAGES:
            job = world.victims[place, kind]
            page = world.get(f"/r/{job}")
            if 'name="pin"' not in page.text:
                continue
            form = {"csrf_token": _token(page), "pin": PIN}
            answer = world.client.post(f"{world.address}/r/{job}/delete", data=form)
            world.answers_of.setdefault("delete", set()).add(answer.status_code)
            if answer.status_code == 303 and durable.exists(world.store.report(job)):
                left.append((place, kind))
    assert not left
    world.nothing_broke()


@pytest.mark.parametrize(
    ("name", "kind"), [("pepper", "cut in half"), ("session_key", "FIFO"), ("receipt_key", "link to itself")]
)
def test_a_damaged_secret_stops_the_start_with_a_sentence_and_is_never_replaced(world: World, name: str, kind: str):
    if world.process.poll() is None:
        world.stop()
    path = world.settings.frontend_state / name
    whole = path.read_bytes()
    DAMAGES[kind](path)
    before = os.lstat(path)
    command = [sys.executable, "-m", "deepfake_o_meter", "serve"]
    ended = subprocess.run(command, cwd=ROOT, env=world.environment, capture_output=True, text=True, timeout=60)
    durable.remove(path) if os.lstat(path).st_ino == before.st_ino else None
    assert ended.returncode == 2, ended.stderr
    assert "Restore it from a backup" in ended.stderr
    assert not durable.exists(path), "another one was drawn"
    path.write_bytes(whole)
