"""Starts workers in containers. The only module that talks to Docker; imported lazily, because the extra [docker] may be missing.

Promises: a container gets exactly the flags of ``container_flags``; the same worker in the same folder is never started twice,
but adopted when it runs already; containers left by a dead back-end are removed. Imported by ``runner``.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import docker
import docker.utils
import requests
import structlog

from backend.workers import container_flags as containers
from backend.workers.compiled import prepare
from backend.workers.exchange import Exchange
from backend.workers.logbook import Logbook
from backend.workers.scratch import abandoned
from backend.workers.spec import WorkerError, WorkerSpec
from shared.records import RunnerKind

log = structlog.get_logger()

#: Seconds an answer about an image is cached: the catalog asks for all of them every few seconds.
IMAGE_S: Final = 10.0
#: Seconds the engine has for one answer.
ENGINE_S: Final = 30


class DockerRunner:
    """Starts containers. Every error of the engine comes out as a WorkerError."""

    kind: RunnerKind = "docker"

    def __init__(self, *, threads: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._threads, self._clock = threads, clock
        self._connected: Any = None
        self._images: dict[str, tuple[float, Any]] = {}
        self._seccomp = containers.SECCOMP.read_text(encoding="utf-8")

    def answers(self) -> bool:
        """Whether an engine answers."""
        try:
            with _EngineErrors():
                self._client().ping()
        except WorkerError:
            return False
        return True

    # -- images

    def available(self, spec: WorkerSpec) -> str | None:
        """None, ``engine_unavailable``, ``image_missing`` or ``image_refused``."""
        try:
            self._image(spec)
        except WorkerError as error:
            return error.code
        return None

    def image_digest(self, spec: WorkerSpec) -> str | None:
        """Id of the image (the sha256 of its configuration), None when it is missing."""
        try:
            return str(self._image(spec).id)
        except WorkerError:
            return None

    def image_label(self, image: str, label: str) -> str | None:
        """The value of ``label`` on ``image``, None when it has none. WorkerError(image_missing, engine_unavailable)."""
        with _EngineErrors(missing="image_missing"):
            labels = self._client().images.get(image).labels
        found = labels.get(label)
        return found if isinstance(found, str) else None

    def _image(self, spec: WorkerSpec) -> Any:
        asked_at, image = self._images.get(spec.image, (float("-inf"), None))
        if image is None or self._clock() - asked_at > IMAGE_S:
            with _EngineErrors(missing="image_missing"):
                image = self._client().images.get(spec.image)
            self._images[spec.image] = (self._clock(), image)
        if (image.attrs.get("Config") or {}).get("Volumes"):
            raise WorkerError("image_refused")  # a volume is a disk without a size limit, even with read_only
        return image

    # -- workers

    def exchange(self, folder: Path, spec: WorkerSpec) -> Exchange:
        """Open to the container's user; links only where that user cannot change our files through them."""
        other = containers.container_user() == containers.NOBODY
        return Exchange(folder, shared=other, linked=other or spec.bundled)

    def start(self, spec: WorkerSpec, exchange: Exchange, *, gpu: str | None = None) -> RunningContainer:
        """Adopt the running worker of this folder when it has this image and these flags, else start one."""
        keeps = spec.compiled is not None and prepare(spec.compiled)
        options = containers.container_options(
            spec if keeps else replace(spec, compiled=None),
            image=self._image(spec).id,
            exchange=exchange.folder,
            user=containers.container_user(),
            threads=self._threads,
            seccomp=self._seccomp,
            gpu=gpu,
        )
        logbook = Logbook(exchange.folder.with_suffix(".log"))
        with _EngineErrors():
            try:
                return self._created(options, exchange, logbook)
            except docker.errors.APIError as error:
                if error.status_code != 409:
                    raise
            found = self._client().containers.get(options["name"])
            if (
                found.status == "running"
                and found.labels.get(containers.LABEL_FLAGS) == options["labels"][containers.LABEL_FLAGS]
            ):
                log.info("worker_adopted", worker=spec.name, container=found.short_id)
                exchange.wipe(keep_socket=True)
                return RunningContainer(found, options["image"], logbook, adopted=True)
            self._remove(found)
            return self._created(options, exchange, logbook)

    def _created(self, options: dict[str, Any], exchange: Exchange, logbook: Logbook) -> RunningContainer:
        container = self._client().containers.create(**options)
        try:
            exchange.wipe()
            container.start()
        except BaseException:
            self._remove(container)
            raise
        return RunningContainer(container, options["image"], logbook, adopted=False)

    # -- leftovers

    def sweep(self, folder: Path) -> dict[str, int]:
        """Remove containers whose back-end is dead; those of ``folder`` may still be adopted: place -> memory in MB."""
        ours: dict[str, int] = {}
        labelled = {"label": containers.LABEL_FOLDER}
        with _EngineErrors():
            for container in self._client().containers.list(all=True, filters=labelled, ignore_removed=True):
                owner = Path(container.labels[containers.LABEL_FOLDER])
                if owner == folder and container.status == "running":
                    ours[container.labels[containers.LABEL_PLACE]] = int(container.labels[containers.LABEL_MEMORY])
                elif owner == folder or abandoned(owner):
                    log.info("stray_removed", container=container.name)
                    self._remove(container)
        return ours

    def remove(self, exchange: Path) -> None:
        """Remove a leftover worker."""
        with _EngineErrors():
            try:
                self._remove(self._client().containers.get(containers.container_name(exchange)))
            except docker.errors.NotFound:
                return

    def close(self) -> None:
        """Close the connection to the engine."""
        if self._connected is not None:
            self._connected.close()
            self._connected = None

    def _remove(self, container: Any) -> None:
        with contextlib.suppress(docker.errors.NotFound):
            container.remove(force=True, v=True)

    def _client(self) -> Any:
        if self._connected is None:
            self._connected = engine_client(timeout_s=ENGINE_S)
        return self._connected


class RunningContainer:
    """A worker's container."""

    started_by: RunnerKind = "docker"

    def __init__(self, container: Any, image: str, logbook: Logbook, *, adopted: bool) -> None:
        self._container, self._logbook = container, logbook
        self.image_digest: str | None = image
        self.adopted = adopted
        self._removed = False

    @property
    def id(self) -> str:
        """The container's id."""
        return str(self._container.id)

    def alive(self) -> bool:
        """Whether it runs; True while the engine does not answer."""
        state = self._state()
        return state is None or bool(state.get("Running"))

    def gone(self) -> bool:
        """Whether it has ended, and all its processes with it."""
        return not self.alive()

    def cause(self) -> str:
        """``out_of_memory`` when the kernel killed something in it for that, else ``worker_died``."""
        return "out_of_memory" if (self._state() or {}).get("OOMKilled") else "worker_died"

    def used_mb(self) -> int | None:
        """None: the engine takes a second to say it."""
        return None

    def terminate(self) -> None:
        """SIGTERM to PID 1, which passes it on."""
        self._kill("SIGTERM")

    def kill(self) -> None:
        """SIGKILL, by the engine."""
        self._kill("SIGKILL")

    def clear(self) -> None:
        """Save the end of its log, then remove it."""
        if self._removed:
            return
        self._save_log()
        with _EngineTrouble("container_not_removed"):
            self._container.remove(force=True, v=True)
        self._removed = True

    def last_words(self) -> list[str]:
        """The last lines of its log."""
        if not self._removed:
            self._save_log()
        return self._logbook.tail()

    def _save_log(self) -> None:
        with _EngineTrouble("container_log_lost"):
            self._logbook.replace(self._container.logs(tail=500))

    def _kill(self, signal: str) -> None:
        with _EngineTrouble("container_not_signalled"):
            self._container.kill(signal)

    def _state(self) -> dict[str, Any] | None:
        """Its state; None when the engine does not answer, not running when it does not exist."""
        if self._removed:
            return {"Running": False}
        try:
            self._container.reload()
        except docker.errors.NotFound:
            return {"Running": False}
        except _engine_errors():
            return None
        state: dict[str, Any] = self._container.attrs["State"]
        return state


def engine_client(*, timeout_s: int) -> Any:
    """A client of the engine that ``DOCKER_HOST`` names; WorkerError(engine_unavailable) when nothing listens on its unix socket.

    The socket is probed first, because docker-py leaves the socket of a failed connection open.
    """
    url = docker.utils.kwargs_from_env().get("base_url", "unix:///var/run/docker.sock")
    scheme, _, path = url.partition("://")
    if scheme in ("unix", "http+unix"):
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(path)
            except OSError:
                raise WorkerError("engine_unavailable", retryable=True) from None
    return docker.from_env(timeout=timeout_s)


def _engine_errors() -> tuple[type[Exception], ...]:
    return (docker.errors.DockerException, requests.exceptions.RequestException)


class _EngineErrors:
    """Turns what docker-py raises into a WorkerError: a missing image, no answer, or a refusal to start.

    ``missing``: the code when the engine does not have what was asked for; docker-py knows a missing image by words of Docker's, which
    other engines do not say.
    """

    def __init__(self, *, missing: str | None = None) -> None:
        self._missing = missing

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or not isinstance(error, _engine_errors()):
            return
        if isinstance(
            error, docker.errors.ImageNotFound
        ):  # an answer, and no trouble: the catalog asks for every image
            raise WorkerError("image_missing") from None
        if self._missing and isinstance(error, docker.errors.NotFound):
            raise WorkerError(self._missing) from None
        log.warning("engine_error", reason=str(error)[:500])
        if isinstance(error, docker.errors.APIError):
            raise WorkerError("worker_not_started", retryable=True) from None
        raise WorkerError("engine_unavailable", retryable=True) from None


class _EngineTrouble:
    """Logs what docker-py raises where the work continues without an answer; "it is gone already" is not logged."""

    def __init__(self, event: str) -> None:
        self._event = event

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if error is None or not isinstance(error, _engine_errors()):
            return False
        if getattr(error, "status_code", None) not in (404, 409):
            log.warning(self._event, reason=str(error)[:500])
        return True
