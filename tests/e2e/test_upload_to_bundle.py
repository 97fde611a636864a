"""The whole spine as a visitor meets it: one command, a browser, a mail, a PIN, a result, a bundle.

Nothing is stood in for: ``deepfake-o-meter serve`` in its own process, real workers with published weights, an SMTP server on a
real port, Chromium. Set ``SCREENSHOTS`` to a folder to keep pictures of each page.
"""

from __future__ import annotations

import email
import email.policy
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message

from shared.results import Result
from tests.compiled import share_compiled

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = "/usr/bin/chromium"
DETECTORS = {"aasist", "mesonet", "classnseg", "selfblend", "va"}


class Mailbox(Message):
    """Keeps what the SMTP server receives."""

    def __init__(self) -> None:
        super().__init__()
        self.mails: list[email.message.EmailMessage] = []

    def handle_message(self, message: Any) -> None:
        """Keep one mail."""
        self.mails.append(email.message_from_bytes(message.as_bytes(), policy=email.policy.default))

    def text(self, index: int) -> str:
        """The plain text of a mail."""
        return self.mails[index].get_body(("plain",)).get_content()


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    box, port = Mailbox(), free_port()
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    yield box, port
    controller.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Site:
    """``deepfake-o-meter serve`` on one data folder."""

    def __init__(self, data: Path, weights: Path, **settings: object) -> None:
        self.data, self.port = data, free_port()
        share_compiled(data)
        self.address = f"http://127.0.0.1:{self.port}"
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("DFOM_")}
        self.environment |= {"DFOM_DATA": str(data), "DFOM_WEIGHTS": str(weights), "DFOM_PORT": str(self.port)}
        self.environment |= {f"DFOM_{name.upper()}": str(value) for name, value in settings.items()}
        self.log = data / "site.log"

    def start(self) -> float:
        """Start it; seconds until the first page came."""
        started = time.monotonic()
        command = [sys.executable, "-m", "deepfake_o_meter", "serve"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        eventually(self.answers, within_s=60, told=self.told)
        return time.monotonic() - started

    def answers(self) -> bool:
        """True when the front page comes."""
        try:
            with urllib.request.urlopen(self.address, timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def stop(self) -> int:
        """Ctrl-C in the terminal: SIGINT to the whole process group."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(60)

    def told(self) -> str:
        """The end of what it printed."""
        return self.log.read_text(encoding="utf-8")[-6000:]


def eventually(condition: Callable[[], Any], *, within_s: float, told: Callable[[], str] = str) -> Any:
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, told()
        time.sleep(0.1)
    return found


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def runner(request: pytest.FixtureRequest) -> str:
    if request.param == "docker":
        needs_images()
    return str(request.param)


def needs_images() -> None:
    """Skip without a Docker engine and the images."""
    try:
        listed = subprocess.run(
            ["docker", "images", "--format", "{{.Repository}}"], capture_output=True, text=True, timeout=20, check=True
        ).stdout.split()
    except (OSError, subprocess.SubprocessError):
        pytest.skip("no Docker engine answers here")
    if not {f"deepfake-o-meter/{name}" for name in (*DETECTORS, "media")} <= set(listed):
        pytest.skip("the images are not built here ('make images')")


@pytest.fixture
def site(tmp_path: Path, weights_folder: Path, mailbox: tuple[Mailbox, int], runner: str) -> Iterator[Site]:
    (tmp_path / "var").mkdir()
    made = Site(tmp_path / "var", weights_folder, smtp_host="127.0.0.1", smtp_port=mailbox[1], runner=runner)
    yield made
    if made.process.poll() is None:
        made.stop()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    if not os.path.exists(CHROMIUM):
        pytest.skip("Chromium (/usr/bin/chromium) not here")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visitor:
    """Somebody with a browser; collects every complaint of its console."""

    def __init__(self, browser: Any, folder: Path) -> None:
        self.context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
        self.folder, self.trouble = folder, []
        self.page = self.new_tab()

    def new_tab(self) -> Any:
        """An empty page, listened to."""
        page = self.context.new_page()
        page.on("console", lambda m: self.trouble.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.trouble.append(str(error)))
        return page

    def look(self, name: str) -> None:
        """Keep a picture of the page, when asked to."""
        if folder := os.environ.get("SCREENSHOTS"):
            self.page.screenshot(path=f"{folder}/{name}.png", full_page=True)

    def upload(self, address: str, clip: Path) -> str:
        """Fill in the form and send it; the generated PIN."""
        page = self.page
        page.goto(address)
        self.look("1-front")
        page.set_input_files("#file", str(clip))
        page.fill("#email", "journalist@example.org")
        offered = page.input_value("#pin")
        page.click("#generate")
        eventually(lambda: page.input_value("#pin") != offered, within_s=20)
        pin = page.input_value("#pin")
        page.check("input[name=consent]")
        page.click("#send")
        page.wait_for_selector("#headline", timeout=60_000)
        self.look("2-progress")
        return str(pin)

    def open_result(self, link: str, pin: str) -> None:
        """Follow the mailed link, which a mail program opens in a tab of its own, and enter the PIN."""
        self.page = self.new_tab()
        self.page.goto(link)
        self.look("3-pin")
        self.page.fill("#pin", pin)
        self.page.click("text=Open the result")
        # with the video, which the page shows by itself
        self.page.wait_for_selector("text=Download everything", timeout=60_000)
        self.page.wait_for_selector("#curve-part svg", timeout=20_000)
        # evaluate, not wait_for_function: the page's policy forbids the eval that one polls with
        eventually(lambda: self.page.evaluate("document.querySelector('#video').readyState >= 1"), within_s=20)
        self.look("4-result")

    def download(self) -> Path:
        """Save the bundle."""
        with self.page.expect_download() as waiting:
            self.page.click("text=Download everything")
        target = self.folder / "bundle.zip"
        waiting.value.save_as(target)
        return target


@pytest.mark.browser
@pytest.mark.timeout(300)
def test_upload_mail_pin_result_bundle(
    site: Site, mailbox: tuple[Mailbox, int], chromium: Any, astronaut_clip: Path, tmp_path: Path, runner: str
):
    box, _ = mailbox
    assert site.start() < 5, "first page within five seconds"
    eventually(lambda: b"mesonet" in urllib.request.urlopen(site.address).read(), within_s=30, told=site.told)
    visitor = Visitor(chromium, tmp_path)
    pin = visitor.upload(site.address, astronaut_clip)
    assert re.fullmatch(r"\d{6}", pin)
    eventually(lambda: len(box.mails) >= 2, within_s=200, told=site.told)
    assert pin not in box.text(0) + box.text(1), "a PIN is never mailed"
    link = re.search(rf"{re.escape(site.address)}/\S+", box.text(1))[0]
    visitor.open_result(link, pin)
    with zipfile.ZipFile(visitor.download()) as bundle:
        assert bundle.testzip() is None
        result = Result.model_validate(json.loads(bundle.read("result.json")))
        names = set(bundle.namelist())
    assert {item.id for item in result.detectors} == DETECTORS
    assert {item.provenance.runner for item in result.detectors} == {runner}
    shown = visitor.page.inner_text("main")
    for item in result.detectors:
        if item.status == "ok":
            assert f"{item.fake_score:.2f}" in shown, "the page shows the score of the bundle"
        else:
            assert item.fake_score is None
            assert item.message in shown
    assert sum(item.status == "ok" for item in result.detectors) >= 2
    assert {"video/side_by_side.mp4", "scores.csv", "summary.html"} <= names
    assert visitor.trouble == []
    assert pin not in site.log.read_text(encoding="utf-8"), "a PIN is never logged"
    assert site.stop() == 0
    assert not left_over(site.data), "Ctrl-C stops everything"


def left_over(folder: Path) -> list[str]:
    """Processes that still work below ``folder``."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder) in os.readlink(entry / "cwd") or str(folder).encode() in (entry / "cmdline").read_bytes():
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def test_without_a_mail_server_mails_are_files_that_the_log_names(
    tmp_path: Path, weights_folder: Path, astronaut_clip: Path
):
    (tmp_path / "var").mkdir()
    site = Site(tmp_path / "var", weights_folder, runner="process")
    site.start()
    try:
        eventually(lambda: b"mesonet" in urllib.request.urlopen(site.address).read(), within_s=120, told=site.told)
        submit(site.address, astronaut_clip)
        outbox = site.data / "outbox"
        eventually(lambda: len(list(outbox.glob("*.eml"))) == 2, within_s=120, told=site.told)
        # the line in the log comes after the file
        eventually(lambda: all(path.name in site.told() for path in outbox.glob("*.eml")), within_s=30, told=site.told)
    finally:
        assert site.stop() == 0


def test_ctrl_c_stops_a_site_that_a_script_started_in_the_background(tmp_path: Path):
    # a shell without job control starts `serve &` with SIGINT ignored, and Python leaves it so unless asked
    (tmp_path / "var").mkdir()
    site = Site(tmp_path / "var", tmp_path, runner="process")
    ignoring = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        site.start()
    finally:
        signal.signal(signal.SIGINT, ignoring)
    assert site.stop() == 0
    assert not left_over(site.data)


def submit(address: str, clip: Path) -> None:
    """Send the form as a browser without scripts does."""
    import httpx

    with httpx.Client(follow_redirects=True) as client:
        form = client.get(address).text
        fields = {name: re.search(rf'name="{name}" value="([^"]+)"', form)[1] for name in ("csrf_token", "key")}
        fields |= {"detectors": "mesonet", "mode": "quick", "email": "a@example.org", "pin": "73914", "consent": "yes"}
        answer = client.post(f"{address}/submit", data=fields, files={"media": ("clip.mp4", clip.read_bytes())})
        assert answer.status_code == 200, answer.text
