"""Fixtures of tests with a real engine: an image of the acting program, built here, and workers started from it."""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.workers.container_flags import LABEL_FOLDER
from backend.workers.docker_runner import DockerRunner
from backend.workers.spec import WorkerSpec
from backend.workers.worker import Worker

docker = pytest.importorskip("docker", reason="the extra [docker] is not installed")

ACTING = Path(__file__).parent / "acting.py"
BASE = "deepfake-o-meter/base"


def build(engine: Any, tag: str, *, extra: str = "") -> str:
    """Build an image of the acting program; its id."""
    try:
        engine.images.get(BASE)
    except docker.errors.ImageNotFound:
        pytest.skip(f"{BASE} is not built: 'make images'")
    dockerfile = f'FROM {BASE}\nCOPY acting.py /app/acting.py\nCMD ["python", "/app/acting.py", "/exchange"]\n{extra}\n'
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for name, content in (("Dockerfile", dockerfile.encode()), ("acting.py", ACTING.read_bytes())):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    context.seek(0)
    image, _ = engine.images.build(fileobj=context, custom_context=True, tag=tag, rm=True)
    return str(image.id)


@pytest.fixture(scope="session")
def acting_image(engine: Any) -> Iterator[str]:
    """An image whose program speaks the protocol and misbehaves on request."""
    build(engine, "dfom-test/acting")
    yield "dfom-test/acting"
    with contextlib.suppress(docker.errors.APIError):  # another test run uses it, or removed it
        engine.images.remove("dfom-test/acting")


@pytest.fixture
def container_spec(acting_image: str) -> WorkerSpec:
    """A third party's detector: 256 MB of memory, 20 MB of output."""
    return WorkerSpec("acting", "detectors.acting", None, acting_image, memory_mb=256, bundled=False, output_mb=20)


@pytest.fixture
def start_container(container_spec: WorkerSpec, tmp_path: Path, engine: Any) -> Iterator[Callable[..., Worker]]:
    """Start containers of the acting program; all are ended after the test, and none is left."""
    runner = DockerRunner(threads=1)
    workers: list[Worker] = []
    (tmp_path / "workers").mkdir(mode=0o700)

    def begin(**changes: Any) -> Worker:
        spec = replace(container_spec, **changes)
        exchange = runner.exchange(tmp_path / "workers" / f"acting-{len(workers)}", spec)
        worker = Worker(spec, runner.start(spec, exchange), exchange)
        workers.append(worker)
        worker.open(timeout_s=60)
        return worker

    yield begin
    for worker in workers:
        worker.broken = True
        worker.close()
    runner.close()
    assert containers_of(engine, tmp_path) == []


def containers_of(engine: Any, folder: Path) -> list[Any]:
    """Worker containers whose exchange folders lie below ``folder``."""
    found = engine.containers.list(all=True, filters={"label": LABEL_FOLDER}, ignore_removed=True)
    return [item for item in found if item.labels[LABEL_FOLDER].startswith(str(folder))]
