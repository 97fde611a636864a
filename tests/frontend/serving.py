"""``deepfake-o-meter serve`` in a process of its own, for what only the real server shows."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.compiled import share_compiled
from tests.frontend.stories import PIN

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(condition: Callable[[], Any], *, within_s: float = 30) -> Any:
    """What ``condition`` gives once it is true."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "never true"
        time.sleep(0.1)
    return found


class Served:
    """A running site; ``with`` stops it. Settings are those of ``shared.settings``, lists as lists."""

    def __init__(self, folder: Path, *, prepare: Callable[[], None] | None = None, **settings: Any) -> None:
        folder.mkdir(exist_ok=True)
        self.log, self._prepare = folder / "log", prepare
        settings = {"data": folder / "var", "port": free_port(), "runner": "process"} | settings
        self.host, self.port = str(settings.get("host", "127.0.0.1")), int(settings["port"])
        self.data = Path(settings["data"])
        self.scratch = Path(settings.get("scratch", self.data / "scratch"))
        share_compiled(self.data)
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("DFOM_")}
        for name, value in settings.items():
            text = json.dumps(value) if isinstance(value, (list, bool)) else str(value)
            self._environment[name if name.isupper() else f"DFOM_{name.upper()}"] = text

    def __enter__(self) -> Served:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deepfake_o_meter", "serve"],
                cwd=ROOT, env=self._environment, stdout=log, stderr=log, start_new_session=True, preexec_fn=self._prepare,
            )  # fmt: skip
        eventually(self._answers, within_s=60)
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(60)

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-4000:]
        try:
            return self.get("/healthz").status_code == 200
        except httpx.HTTPError:
            return False

    @property
    def url(self) -> str:
        """Address of the site."""
        return f"http://{self.host}:{self.port}"

    def client(self, *, source: str | None = None, **more: Any) -> httpx.Client:
        """A visitor, who may come from an address of their own."""
        transport = httpx.HTTPTransport(local_address=source) if source else None
        headers = {"Accept": "application/json"} | more.pop("headers", {})
        return httpx.Client(base_url=self.url, headers=headers, timeout=20, transport=transport, **more)

    def get(self, path: str, **headers: str) -> httpx.Response:
        """One page."""
        return httpx.get(self.url + path, headers={"Accept": "application/json"} | headers, timeout=10)

    def upload(self, client: httpx.Client, media: bytes | None = None, **changed: Any) -> httpx.Response:
        """Fetch the form and send it."""
        page = client.get("/", headers={"Accept": "text/html"})
        token = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
        assert token, page.text[:500]
        cookie = page.headers.get("Set-Cookie", "").partition(";")[0]  # by hand: a Secure one is not sent to plain HTTP
        headers = {"Cookie": cookie} if cookie else {}
        fields = {
            "csrf_token": token[1],
            "detectors": "mesonet",
            "mode": "quick",
            "pin": PIN,
            "consent": "yes",
        } | changed
        files = {"media": ("a.jpg", media)} if media is not None else None
        return client.post("/submit", data=fields, files=files, headers=headers)

    def submit(self, media: bytes, **changed: Any) -> str:
        """Upload a file; the id of the submission."""
        with self.client() as client:
            answer = self.upload(client, media, **changed)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def workers(self, name: str) -> list[dict[str, str]]:
        """Environments of the running worker processes of one name."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
                if str(self.scratch.absolute()) in command and f"/{name}-" in command:
                    pairs = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
                    found.append(dict(pair.partition("=")[::2] for pair in pairs if pair))
        return found

    def finished(self, job: str, *, within_s: float = 120) -> dict[str, Any]:
        """The status of a job once it has ended."""
        path = self.data / "results" / job / "status.json"

        def ended() -> Any:
            status = json.loads(path.read_text()) if path.exists() else {}
            return status if status.get("state") in ("done", "failed") else None

        return dict(eventually(ended, within_s=within_s))
