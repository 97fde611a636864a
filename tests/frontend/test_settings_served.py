"""Every setting does what its description says, in the real server: ``deepfake-o-meter serve`` in a process of its own.

A table of checks, one for each setting; each start of the site has as many settings as go together, and later starts find what
earlier ones left. A new setting without a check fails the first test.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import socket
import ssl
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from shared.records import JobId, Submission, new_id
from shared.settings import Settings
from shared.store import Store
from tests.conftest import FIXTURES, ROOT, write_clip
from tests.frontend.serving import Served, eventually, free_port
from tests.frontend.stories import JPEG, PIN
from tests.frontend.test_mail import Postbox

A_MOMENT = 1e-6  # days
OPERATOR = "a token that is long enough"


class World:
    """What the checks share: the running site, what surrounds it, and what was submitted to it."""

    site: Served

    def __init__(self, folder: Path) -> None:
        self.folder, self.box, self.logins = folder, Postbox(), list[tuple[bytes, bytes]]()
        self.portrait = (FIXTURES / "astronaut.jpg").read_bytes()
        self.jobs: dict[str, str] = {}

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        """Take any login, and remember it."""
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login, data.password))
        return AuthResult(success=True)

    def clip(self, name: str, *, size: int, frames: int, fps: int) -> bytes:
        """A clip of noise, which compresses badly and holds no face."""
        pictures = np.random.default_rng(1).integers(0, 255, (frames, size, size, 3), np.uint8)
        return write_clip(self.folder / name, pictures, fps=fps, sound=False).read_bytes()

    def abandoned(self, *, attempts: int) -> str:
        """A job in ``active/`` that a back-end began and left, put there without an event anybody could see."""
        store = Store(self.site.data / "submissions", self.site.data / "results")
        with_file = store.read_submission("done", JobId(self.jobs["first"]))
        record = Submission(**(with_file.model_dump() | {"id": new_id()}))
        folder = store.submissions / "tmp" / record.id
        folder.mkdir()
        (folder / "media").write_bytes(self.portrait)
        (folder / "submission.json").write_text(record.model_dump_json())
        (folder / "attempts.json").write_text(json.dumps({"attempts": attempts, "at": time.time()}))
        folder.rename(store.submissions / "active" / record.id)
        return record.id

    def detector(self, job: str) -> dict[str, Any]:
        """What the result of a job says of its one detector."""
        [found] = json.loads((self.site.data / "results" / job / "report" / "result.json").read_text())["detectors"]
        return dict(found)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run(
        [*command.split(), "-keyout", folder / "key", "-out", folder / "cert"], check=True, capture_output=True
    )
    return folder / "cert", folder / "key"


@contextlib.contextmanager
def mail_server(world: World, port: int, certificate: tuple[Path, Path]) -> Iterator[None]:
    """A mail server that talks to nobody without TLS and a login."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    server = Controller(
        world.box, hostname="127.0.0.1", port=port, tls_context=context, require_starttls=True,
        authenticator=world.authenticate, auth_required=True,
    )  # fmt: skip
    server.start()
    yield
    server.stop()


# --------------------------------------------------------------------------- first start: the portal, its mails, one job


def first(world: World, weights: Path, smtp_port: int) -> dict[str, Any]:
    detectors = world.folder / "detectors"
    detectors.mkdir()
    for name in ("mesonet", "classnseg"):
        (detectors / name).symlink_to(ROOT / "detectors" / name)
    return {
        "data": world.folder / "elsewhere", "detectors": detectors, "weights": weights, "scratch": world.folder / "scratch",
        "host": "127.0.0.2", "port": free_port(), "base_url": "https://dfom.example.org/", "max_upload_mb": 1,
        "portal_threads": 2, "trusted_hosts": ["127.0.0.2"], "session_minutes": 1, "url_timeout_s": 2,
        "url_allow_private": True, "smtp_host": "127.0.0.1", "smtp_port": smtp_port, "smtp_user": "dfom",
        "smtp_password": "hush hush", "smtp_tls": "starttls", "mail_from": "Desk <desk@example.org>", "runner": "process",
        "jobs": 2, "hot": ["mesonet"], "cold": ["media"], "warm_s": 2, "show_record": False, "seen_before": False,
        "metrics_for": "local", "access_log": False,
        "api_key_needed": True, "api_origins": ["https://newsroom.example.org"],
    }  # fmt: skip


def data(world: World) -> None:
    world.jobs["first"] = world.site.submit(
        world.portrait, email="alex@example.org", detectors=["mesonet", "classnseg"]
    )
    assert (world.folder / "elsewhere" / "submissions").is_dir()
    assert world.site.finished(world.jobs["first"])["state"] == "done"


def show_record(world: World) -> None:
    assert world.site.get("/record", Accept="text/html").status_code == 404
    assert "/record" not in world.site.get("/how-sure", Accept="text/html").text


def metrics_for(world: World) -> None:
    assert "dfom_queue_jobs" in world.site.get("/metrics").text


def access_log(world: World) -> None:
    world.site.get("/help")
    lines = world.site.log.read_text().splitlines()
    assert not [line for line in lines if '"event": "request"' in line]


def operator_token(world: World) -> None:
    assert world.site.get("/metrics").status_code == 401
    assert world.site.get("/metrics", Authorization=f"Bearer {OPERATOR}").status_code == 200
    eventually(lambda: '"event": "request"' in world.site.log.read_text())


def seen_before(world: World) -> None:
    report = world.folder / "elsewhere" / "results" / world.jobs["first"] / "report"
    origin = json.loads((report / "result.json").read_text())["origin"]
    assert (origin["credentials"]["state"], origin["fingerprint"]) == ("none", None)
    assert not (report / "seen.json").exists()


def for_programs(world: World) -> None:
    answer = httpx.post(
        f"{world.site.url}/api/v1/submissions",
        headers={"PIN": PIN, "Origin": "https://newsroom.example.org"},
        files={"media": ("a.jpg", JPEG)},
    )
    assert (answer.status_code, answer.json()["code"]) == (401, "key_needed")
    assert answer.headers["Access-Control-Allow-Origin"] == "https://newsroom.example.org"
    assert "Access-Control-Allow-Origin" not in world.site.get("/api/v1/limits", Origin="https://evil.example").headers


def detectors(world: World) -> None:
    page = world.site.get("/detectors", Accept="text/html").text
    assert set(re.findall(r'<div id="(\w+)" class="about"', page)) == {"mesonet", "classnseg"}


def weights(world: World) -> None:
    assert "weights not installed" not in world.site.get("/", Accept="text/html").text


def scratch(world: World) -> None:
    assert list((world.folder / "scratch" / "workers").iterdir())


def host_and_port(world: World) -> None:
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{world.site.port}/healthz")


def mails(world: World) -> None:
    """Host, port, STARTTLS, login, sender and the public address, by the mail that arrived."""
    eventually(lambda: world.box.mails)
    recipients, mail = world.box.mails[0]
    assert recipients == ["alex@example.org"]
    assert (b"dfom", b"hush hush") in world.logins
    assert mail["From"] == "Desk <desk@example.org>"
    assert f"https://dfom.example.org/r/{world.jobs['first']}" in mail.get_body(("plain",)).get_content()


def max_upload_mb(world: World) -> None:
    with world.site.client() as client:
        answer = world.site.upload(client, JPEG + bytes(1_040_000))
    assert answer.status_code == 413
    assert "larger than 1 MB" in answer.json()["detail"]


def trusted_hosts(world: World) -> None:
    assert world.site.get("/", Host="evil.example").status_code == 400


def session_minutes(world: World) -> None:
    with world.site.client() as client:
        form = client.get(f"/r/{world.jobs['first']}", headers={"Accept": "text/html"}).text
        token = re.search(r'csrf_token" value="([^"]+)"', form)
        assert token
        client.post(f"/r/{world.jobs['first']}/pin", data={"csrf_token": token[1], "pin": PIN})
        cookie = client.cookies["dfom"]
    payload = cookie.lstrip(".").partition(".")[0]
    raw = base64.urlsafe_b64decode(payload + "==")
    session = json.loads(zlib.decompress(raw) if cookie.startswith(".") else raw)
    assert 0 < session["results"][0]["until"] - time.time() < 61


def downloads_and_threads(world: World) -> None:
    """A private address is fetched from, two seconds long; two such fetches hold both threads."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/a.mp4"
        answers: list[httpx.Response] = []

        def fetch() -> None:
            with world.site.client() as client:
                answers.append(world.site.upload(client, url=address))

        begun = time.monotonic()
        threads = [threading.Thread(target=fetch) for _ in range(2)]
        for thread in threads:
            thread.start()
        held = [silent.accept()[0] for _ in range(2)]
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{world.site.url}/healthz", timeout=0.4)
        for thread in threads:
            thread.join()
        for connection in held:
            connection.close()
    assert [answer.json()["code"] for answer in answers] == ["fetch_timed_out"] * 2
    assert time.monotonic() - begun < 40


def runner(world: World) -> None:
    report = world.site.data / "results" / world.jobs["first"] / "report" / "result.json"
    assert {item["provenance"]["runner"] for item in json.loads(report.read_text())["detectors"]} == {"process"}


def warm_hot_and_cold(world: World) -> None:
    """After a job the cold worker goes at once, the warm one after its time, the hot one stays."""
    eventually(lambda: not world.site.workers("classnseg"), within_s=20)
    assert world.site.workers("mesonet")
    assert not world.site.workers("media")


def jobs(world: World) -> None:
    """Two in work at one time, as their pages say: each takes longer than an upload does."""

    def both_in_work() -> bool:
        files = [world.site.data / "results" / world.jobs[f"long{number}"] / "status.json" for number in range(2)]
        return all(path.exists() and json.loads(path.read_text())["state"] == "working" for path in files)

    grey = np.broadcast_to(np.full((1, 1, 3), 90, np.uint8), (1200, 240, 320, 3))
    for number in range(2):
        clip = write_clip(world.folder / f"long{number}.mp4", grey[number:], sound=False).read_bytes()
        world.jobs[f"long{number}"] = world.site.submit(clip)
    eventually(both_in_work, within_s=60)
    for number in range(2):
        world.site.finished(world.jobs[f"long{number}"])


# --------------------------------------------------------------------------- second start: proxies, limits of media, attempts


def second(world: World, weights: Path) -> dict[str, Any]:
    return {
        "data": world.folder / "elsewhere", "weights": weights, "secure_cookies": True, "trusted_proxies": 1,
        "proxy_addresses": ["127.0.0.9"], "max_duration_s": 3, "max_pixels": 250_000, "max_frames": 60, "max_pack_mb": 1,
        "max_attempts": 2, "scan_s": 1, "keep_media_days": A_MOMENT, "threads": 3, "worker_memory_mb": 1,
        "operator_token": OPERATOR,
    }  # fmt: skip


def secure_cookies(world: World) -> None:
    cookie = world.site.get("/", Accept="text/html").headers["Set-Cookie"]
    assert cookie.startswith("__Host-dfom=")
    assert "Secure" in cookie


def proxies(world: World) -> None:
    """70 visitors behind the proxy upload; 70 addresses that somebody else invents are one visitor."""
    for source, refused in (("127.0.0.9", 0), ("127.0.0.7", 10)):
        with world.site.client(source=source) as client:
            page = client.get("/", headers={"Accept": "text/html"})
            token = re.search(r'csrf_token" value="([^"]+)"', page.text)
            assert token
            cookie = page.headers["Set-Cookie"].partition(";")[0]
            statuses = [
                client.post(
                    "/submit",
                    data={"csrf_token": token[1]},
                    headers={"Cookie": cookie, "X-Forwarded-For": f"198.51.100.{number}"},
                ).status_code
                for number in range(70)
            ]
        assert statuses.count(429) == refused
        assert statuses.count(422) == 70 - refused


def media_limits(world: World) -> None:
    sent = {
        "max_duration_s": (world.clip("long.mp4", size=64, frames=20, fps=5), "media_too_long"),
        "max_frames": (world.clip("many.mp4", size=64, frames=100, fps=50), "media_too_long"),
        "max_pixels": (world.portrait, "media_too_large"),
        "max_pack_mb": (astronauts(world), "pack_too_large"),
    }
    jobs = {name: world.site.submit(media, mode="thorough") for name, (media, _) in sent.items()}
    codes = {name: world.site.finished(job).get("code") for name, job in jobs.items()}
    assert codes == {name: code for name, (_, code) in sent.items()}


def astronauts(world: World) -> bytes:
    """A clip within all limits but that of the pack: 50 frames of a face of some 250 pixels."""
    from PIL import Image

    face = np.asarray(Image.open(FIXTURES / "astronaut.jpg").convert("RGB").resize((480, 480)))
    return write_clip(
        world.folder / "faces.mp4", [np.roll(face, step, 1) for step in range(50)], sound=False
    ).read_bytes()


def attempts_and_scans(world: World) -> None:
    """What nobody announces is found by the scan; a job that was begun twice is not begun a third time."""
    given_up = world.abandoned(attempts=2)
    assert world.site.finished(given_up, within_s=20)["code"] == "too_many_attempts"


def threads(world: World) -> None:
    assert eventually(lambda: world.site.workers("media"))[0]["OMP_NUM_THREADS"] == "3"


def worker_memory_mb(world: World) -> None:
    """A budget for one worker at most: the media worker went when the detector came, or the other way round."""
    job = world.abandoned(attempts=0)
    assert world.site.finished(job)["code"] == "media_too_large"
    assert len(world.site.workers("media")) + len(world.site.workers("mesonet")) <= 1


def keep_media_days(world: World) -> None:
    done = world.site.data / "submissions" / "done" / world.jobs["first"]
    eventually(lambda: not (done / "media").exists())
    assert json.loads((done / "submission.json").read_text())["email"] == "alex@example.org"


# --------------------------------------------------------------------------- third start: times, images, GPUs


def third(world: World, weights: Path) -> dict[str, Any]:
    return {
        "data": world.folder / "elsewhere", "weights": weights, "media_timeout_s": 0.001, "gpus": ["7"], "scan_s": 300,
        "keep_address_days": A_MOMENT,
    }  # fmt: skip


def times_and_gpus(world: World) -> None:
    job = world.site.submit(world.portrait)
    assert eventually(lambda: world.site.workers("mesonet"))[0]["CUDA_VISIBLE_DEVICES"] == "7"
    assert world.site.finished(job)["code"] == "media_timed_out"


def seldom_scans(world: World) -> None:
    """Nobody looks into the folder for a while. The end of a job is followed by a scan, so the first may be seen by that one."""

    def unseen() -> bool:
        waiting = world.abandoned(attempts=0)
        time.sleep(3)
        return not (world.site.data / "results" / waiting).exists()

    assert any(unseen() for _ in range(3))


def keep_address_days(world: World) -> None:
    record = world.site.data / "submissions" / "done" / world.jobs["first"] / "submission.json"
    eventually(lambda: json.loads(record.read_text())["email"] is None)
    assert (world.site.data / "results" / world.jobs["first"] / "report").is_dir()


# --------------------------------------------------------------------------- fourth start


def fourth(world: World, weights: Path) -> dict[str, Any]:
    return {
        "data": world.folder / "elsewhere", "weights": weights, "runner": "auto", "image_prefix": "nobody-has-built",
        "detector_timeout_s": 0.001, "keep_results_days": A_MOMENT,
    }  # fmt: skip


def image_prefix(world: World) -> None:
    said = eventually(
        lambda: re.search(r'"in_containers": "none", "as_processes": "([^"]*)"', world.site.log.read_text())
    )
    assert "media" in said[1]
    assert "engine_error" not in world.site.log.read_text()


def detector_timeout_s(world: World) -> None:
    job = world.site.submit(world.portrait)
    assert world.site.finished(job)["state"] == "done"
    assert world.detector(job)["status"] == "timed_out"


def keep_results_days(world: World) -> None:
    report = world.site.data / "results" / world.jobs["first"] / "report"
    eventually(lambda: not report.exists())
    # the report goes first: after a crash in between it is deleted again, and the page must not say so before
    eventually(lambda: world.site.get(f"/r/{world.jobs['first']}").status_code == 410)


Check = Callable[[World], None]

#: setting -> the check that shows what it does. Several settings may share one.
CHECKS: dict[str, Check] = {
    "data": data, "detectors": detectors, "weights": weights, "scratch": scratch, "host": host_and_port,
    "port": host_and_port, "base_url": mails, "smtp_host": mails, "smtp_port": mails, "smtp_user": mails,
    "smtp_password": mails, "smtp_tls": mails, "mail_from": mails, "max_upload_mb": max_upload_mb,
    "trusted_hosts": trusted_hosts, "session_minutes": session_minutes, "url_timeout_s": downloads_and_threads,
    "url_allow_private": downloads_and_threads, "portal_threads": downloads_and_threads, "runner": runner,
    "warm_s": warm_hot_and_cold, "hot": warm_hot_and_cold, "cold": warm_hot_and_cold, "jobs": jobs,
    "secure_cookies": secure_cookies, "trusted_proxies": proxies, "proxy_addresses": proxies,
    "max_duration_s": media_limits, "max_pixels": media_limits, "max_frames": media_limits, "max_pack_mb": media_limits,
    "max_attempts": attempts_and_scans, "threads": threads, "worker_memory_mb": worker_memory_mb,
    "keep_media_days": keep_media_days, "media_timeout_s": times_and_gpus, "gpus": times_and_gpus, "scan_s": seldom_scans,
    "keep_address_days": keep_address_days, "image_prefix": image_prefix, "detector_timeout_s": detector_timeout_s,
    "keep_results_days": keep_results_days, "show_record": show_record, "seen_before": seen_before, "metrics_for": metrics_for,
    "access_log": access_log, "operator_token": operator_token,
    "api_key_needed": for_programs, "api_origins": for_programs,
}  # fmt: skip

#: Settings that need a cluster: tests/dispatch/test_ray_engine.py shows what they do, tests/commands/test_node.py what is said without one.
OF_A_CLUSTER = {"engine", "ray_address", "job_gpus"}
#: Needs a GPU that answers: tests/media/test_foresight.py shows what the media worker is started with.
OF_A_GPU = {"media_gpu"}
#: Need the internet, or a site of a test's own behind the way out of a container: tests/links.
OF_LINKS = {"link_sites", "link_timeout_s"}

#: The checks of each start, in order.
STARTS: list[list[Check]] = [
    [
        data, detectors, weights, scratch, host_and_port, mails, max_upload_mb, trusted_hosts, session_minutes, runner,
        warm_hot_and_cold, downloads_and_threads, jobs, show_record, seen_before, metrics_for, access_log, for_programs,
    ],
    [secure_cookies, keep_media_days, media_limits, threads, attempts_and_scans, worker_memory_mb, proxies, operator_token],
    [keep_address_days, times_and_gpus, seldom_scans],
    [image_prefix, keep_results_days, detector_timeout_s],
]  # fmt: skip


def test_every_setting_is_in_the_table_and_every_check_is_made() -> None:
    assert set(CHECKS) == set(Settings.model_fields) - OF_A_CLUSTER - OF_A_GPU - OF_LINKS
    assert {check for checks in STARTS for check in checks} == set(CHECKS.values())


@pytest.mark.timeout(600)
def test_each_setting_does_what_it_says(tmp_path: Path, weights_folder: Path, certificate: tuple[Path, Path]) -> None:
    world, smtp_port = World(tmp_path), free_port()
    with mail_server(world, smtp_port, certificate):
        for number, checks in enumerate(STARTS):
            settings = (
                first(world, weights_folder, smtp_port) | {"SSL_CERT_FILE": certificate[0]}
                if number == 0
                else (second, third, fourth)[number - 1](world, weights_folder)
            )
            with Served(tmp_path, **settings) as world.site:
                eventually(lambda: world.site.get("/ready").status_code == 200, within_s=60)
                for check in checks:
                    try:
                        check(world)
                    except BaseException as error:
                        error.add_note(f"{check.__name__} in start {number + 1}\n{world.site.log.read_text()[-3000:]}")
                        raise
