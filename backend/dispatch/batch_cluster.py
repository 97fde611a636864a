"""The files of a batch on the machines of a cluster: which machine gets them, and what follows when one is lost or has trouble.

Only this process keeps rows, and it waits for one attempt at a file at a time: what a lost machine still answers is heard by nobody. A
file whose machine is lost begins elsewhere, three times at most; one that came to a machine in trouble (a full disk, no container engine,
a folder that is not mounted) begins elsewhere uncounted, and that machine gets none for a while. Knows nothing of Ray, which is handed in
(``ray_engine.Cluster``). Imported by the composition root.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

from backend.batch.arriving import AtHand, Source
from backend.batch.entries import Entry
from backend.batch.hands import CLUSTER_UNFIT, Found
from backend.batch.run import Order
from backend.dispatch.batch_node import Answer, Trouble
from backend.dispatch.node import Ended
from backend.dispatch.periodic import Periodic
from backend.job import Cancelled
from shared.errors import RetryableError, sentence_for
from shared.names import shown
from shared.records import new_id
from shared.settings import Settings

if TYPE_CHECKING:
    from backend.dispatch.node import NodeBackend

log = structlog.get_logger()

#: Seconds between two looks at the machines.
LOOK_S: Final = 1.0
#: Seconds for which a machine with trouble of its own gets no files.
SHELVED_S: Final = 60.0


class Lost(Exception):
    """The machine, its actor or a process of it is gone."""


class Cluster(Protocol):
    """``ray_engine.Cluster``."""

    def join(self, name: str) -> None: ...
    def machines(self) -> dict[str, Mapping[str, float]]: ...
    def hire(self, node: str, build: Callable[[Settings], NodeBackend], order: Order) -> Any: ...
    def ask(self, actor: Any) -> Any: ...
    def told(self, asked: Any) -> tuple[bool, str | None]: ...
    def begin(self, key: str, entry: Entry, *, never_on: frozenset[str], **demand: Any) -> Any: ...
    def next(self, answers: Any, stopping: threading.Event) -> Any: ...
    def decide(self, actor: Any, key: str, wanted: bool) -> None: ...
    def leave(self, actors: list[Any]) -> None: ...


@dataclass
class _Machine:
    """``trouble``: why it gets no files; None when it does."""

    actor: Any
    cores: float
    memory_mb: int
    asked: Any
    reported: bool = False
    trouble: str | None = None
    #: until when the trouble that a file met holds
    shelved_until: float = 0.0

    def fit(self) -> bool:
        """Whether it gets files."""
        return self.reported and self.trouble is None and time.monotonic() >= self.shelved_until


class ClusterHands:
    """Judges the files of a batch on a cluster (``Hands``); a context manager. ``source``: how this machine reads a file."""

    def __init__(
        self,
        settings: Settings,
        *,
        cluster: Cluster,
        build: Callable[[Settings], NodeBackend],
        order: Order,
        source: Source,
    ) -> None:
        self.stopping = threading.Event()
        self._settings, self._cluster, self._build, self._order, self._source = settings, cluster, build, order, source
        self._lock = threading.Lock()
        self._machines: dict[str, _Machine] = {}
        self._looker: Periodic | None = None

    def __enter__(self) -> ClusterHands:
        self._cluster.join(f"batch-{new_id()}")
        self._looker = Periodic("machines", self._look, every_s=LOOK_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        if self._looker:
            self._looker.close()
        self._cluster.leave([machine.actor for machine in self._machines.values()])

    def cut_off(self) -> None:
        """Calls look at ``stopping`` themselves."""

    def places(self) -> int:
        """Files at once: one for each core of the machines that are there, when all have reported."""
        self._wait_for(lambda: all(machine.reported for machine in self._machines.values()))
        with self._lock:
            cores = self._demand()["cores"]
            return max(1, int(sum(machine.cores // cores for machine in self._machines.values() if machine.fit())))

    def judge(self, entry: Entry, wanted: Callable[[AtHand], bool]) -> Found | None:
        """See ``Hands``. RetryableError when each attempt was lost with its machine."""
        if entry.trouble or _unreadable(entry):
            with self._source.opened(entry) as file:  # says what is wrong with it
                if not wanted(file):
                    return None
        for _ in range(self._settings.max_attempts):
            try:
                answer = self._attempt(entry, wanted)
            except Lost as lost:
                log.warning("file_lost", file=shown(entry.file), reason=str(lost))
                continue
            if isinstance(answer, Trouble):
                raise answer.error()
            return answer
        raise RetryableError("worker_died")

    # -- one file

    def _attempt(self, entry: Entry, wanted: Callable[[AtHand], bool]) -> Answer:
        """Until a machine takes it that has no trouble of its own."""
        while True:
            self._wait_for(lambda: True)
            key = new_id()
            with self._lock:
                # one that has just joined may have it: its task waits for its actor
                unfit = {node for node, machine in self._machines.items() if machine.reported and not machine.fit()}
                demand = self._demand()
            answers = self._cluster.begin(key, entry, never_on=frozenset(unfit), **demand)
            node = self._cluster.next(answers, self.stopping)
            if isinstance(node, Ended):  # it was refused
                self.stopping.wait(0.2)
                continue
            file = self._cluster.next(answers, self.stopping)
            if file is not None:
                self._decide(node, key, file, wanted)
            answer: Answer = self._cluster.next(answers, self.stopping)
            if not isinstance(answer, Trouble) or not answer.of_machine or _unreadable(entry):
                return answer
            self._shelve(node, answer)

    def _decide(self, node: str, key: str, file: AtHand, wanted: Callable[[AtHand], bool]) -> None:
        with self._lock:
            machine = self._machines.get(node)
        if machine is None:
            raise Lost(f"{node} is gone")
        decision = False
        try:
            decision = wanted(file)
        finally:
            self._cluster.decide(machine.actor, key, decision)

    def _shelve(self, node: str, trouble: Trouble) -> None:
        with self._lock:
            machine = self._machines.get(node)
            if machine:
                machine.trouble, machine.shelved_until = trouble.sentence, time.monotonic() + SHELVED_S
        log.warning("node", node=node, takes_files=False, reason=trouble.sentence)

    # -- the machines

    def _demand(self) -> dict[str, Any]:
        """One core a file and the memory of its workers, and no more than the machines have. With the lock."""
        fit = [machine for machine in self._machines.values() if machine.fit()]
        memory = min([self._order.memory_mb, *([max(machine.memory_mb for machine in fit)] if fit else [])])
        return {
            "cores": min([1.0, *(machine.cores for machine in fit)]),
            "memory_mb": memory,
            "gpus": self._settings.job_gpus,
        }

    def _wait_for(self, ready: Callable[[], bool]) -> None:
        """Return when a machine takes files and it is ``ready``; RetryableError when each that is there has said why it takes none."""
        while True:
            with self._lock:
                machines = list(self._machines.values())
                if any(machine.fit() for machine in machines) and ready():
                    return
            if machines and all(machine.reported and not machine.fit() for machine in machines):
                reasons = sorted({machine.trouble or "" for machine in machines})
                raise RetryableError(CLUSTER_UNFIT, f"{sentence_for(CLUSTER_UNFIT)} They say: {'; '.join(reasons)}")
            if self.stopping.wait(0.1):
                raise Cancelled

    def _look(self) -> None:
        """Hire machines that joined, forget those that left, hear the others."""
        there = self._cluster.machines()
        with self._lock:
            for node in self._machines.keys() - there.keys():
                log.warning("node_gone", node=node)
                del self._machines[node]
            new = [node for node in there if node not in self._machines]
        for node in new:
            actor = self._cluster.hire(node, self._build, self._order)
            machine = _Machine(
                actor, there[node]["CPU"], int(there[node].get("memory", 0) / 1_000_000), self._cluster.ask(actor)
            )
            with self._lock:
                self._machines[node] = machine
        for node, machine in list(self._machines.items()):
            self._hear(node, machine)

    def _hear(self, node: str, machine: _Machine) -> None:
        try:
            came, trouble = self._cluster.told(machine.asked)
        except Lost as lost:
            log.warning("node_broken", node=node, reason=str(lost))
            with self._lock:
                self._machines.pop(node, None)  # hired anew at the next look, if it lives
            return
        if not came:
            return
        machine.asked = self._cluster.ask(machine.actor)
        if time.monotonic() < machine.shelved_until:
            return
        if not machine.reported or trouble != machine.trouble:
            log.info("node", node=node, takes_files=trouble is None, reason=trouble)
        machine.reported, machine.trouble = True, trouble


def _unreadable(entry: Entry) -> bool:
    """Whether a file of a folder or list cannot be read here."""
    return (
        entry.path is not None and entry.url is None and not (entry.path.is_file() and os.access(entry.path, os.R_OK))
    )
