"""Fixtures of the image tests: the build scripts as modules, the engine, and containers with the platform's flags."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "deepfake-o-meter"
if str(ROOT / "docker") not in sys.path:
    sys.path.append(str(ROOT / "docker"))  # build.py runs as a script: its neighbours are top-level modules


def platform_flags(name: str, *, exchange: Path, weights: Path | None = None, memory_mb: int = 4000) -> dict[str, Any]:
    """The flags the back-end starts the worker ``name`` with, under a name of the test's own."""
    from backend.workers.container_flags import container_options
    from backend.workers.spec import MEDIA_MODULE, WorkerSpec

    module = MEDIA_MODULE if name == "media" else f"detectors.{name}"
    spec = WorkerSpec(name, module, weights, f"{PREFIX}/{name}", memory_mb, bundled=True, output_mb=2000)
    seccomp = (ROOT / "docker" / "seccomp.json").read_text()
    # without root the files a worker leaves must be ours, or the test could not remove them
    user = "65534:65534" if os.geteuid() == 0 else f"{os.geteuid()}:{os.getegid()}"
    flags = container_options(spec, image=spec.image, exchange=exchange, user=user, threads=2, seccomp=seccomp)
    return flags | {"name": f"dfom-test-{secrets.token_hex(8)}", "labels": {"org.deepfake-o-meter.test": "images"}}


@pytest.fixture(scope="session")
def built(engine: Any) -> Callable[[str], Any]:
    """``built("media")`` is that image, made from the checkout as it is."""
    from docker.errors import ImageNotFound
    from images import SOURCES, all_images, sources_digest

    wanted = {image.name: sources_digest(image) for image in all_images()}

    def find(name: str) -> Any:
        try:
            found = engine.images.get(f"{PREFIX}/{name}")
        except ImageNotFound:
            pytest.skip(f"the image {PREFIX}/{name} is not built ('make images')")
        if found.labels.get(SOURCES) != wanted[name]:
            pytest.skip(f"the image {PREFIX}/{name} is not made from this checkout ('make images')")
        return found

    return find


@pytest.fixture
def run_python(engine: Any, built: Callable[[str], Any], tmp_path: Path) -> Iterator[Callable[..., str]]:
    """``run_python("base", code, **changed_flags)`` runs code in a container and gives what it printed; it must exit with 0."""
    started = []

    def run(name: str, code: str, **changed: Any) -> str:
        built(name)
        flags = platform_flags(name, exchange=tmp_path) | {"command": ["-c", code]} | changed
        container = engine.containers.create(**flags)
        started.append(container)
        container.start()
        status = container.wait(timeout=120)["StatusCode"]
        output = container.logs(stdout=True, stderr=True).decode()
        assert status == 0, output
        return output

    yield run
    for container in started:
        container.remove(force=True)


class ServingWorker:
    """A container that serves the worker protocol on its exchange folder."""

    def __init__(self, container: Any, exchange: Path) -> None:
        self.container, self.exchange = container, exchange

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send one request, give the answer behind the progress lines."""
        deadline = time.monotonic() + 60
        while not (self.exchange / "worker.sock").exists():
            self.container.reload()
            assert self.container.status in ("created", "running"), self.container.logs().decode()
            assert time.monotonic() < deadline, "the worker never listened: " + self.container.logs().decode()
            time.sleep(0.05)
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(60)
            where = os.open(self.exchange, os.O_PATH)  # socket names are short, temporary folders are not
            try:
                caller.connect(f"/proc/self/fd/{where}/worker.sock")
            finally:
                os.close(where)
            caller.sendall(json.dumps(request).encode() + b"\n")
            for line in caller.makefile("rb"):
                answer = json.loads(line)
                if "event" not in answer:
                    return answer
        raise AssertionError("the worker closed the connection: " + self.container.logs().decode())


@pytest.fixture
def serving(engine: Any, built: Callable[[str], Any], tmp_path: Path) -> Iterator[Callable[..., ServingWorker]]:
    """``serving("mesonet", weights=folder)`` starts that worker; ``by_itself`` leaves the command to the image."""
    started = []

    def start(name: str, *, weights: Path | None = None, by_itself: bool = False) -> ServingWorker:
        built(name)
        exchange = tmp_path / f"exchange-{name}"
        exchange.mkdir()
        exchange.chmod(0o777)  # the worker runs as 65534
        own = {"entrypoint": None, "command": None, "working_dir": None} if by_itself else {}
        container = engine.containers.create(**(platform_flags(name, exchange=exchange, weights=weights) | own))
        started.append(container)
        container.start()
        return ServingWorker(container, exchange)

    yield start
    for container in started:
        with contextlib.suppress(Exception):
            container.kill()
        container.remove(force=True)
