"""The engine on the machines of a Ray cluster: places jobs, follows them, and notices machines that are gone.

Ray is placement: the shared folder stays the truth, and only job ids travel. On each machine one actor owns that machine's pool of
workers (``node.Node``). A job is one task, which Ray places on one machine by cores, memory and GPU; the task hands the job to the actor
beside it and waits. A machine that Ray loses, or that gives no sign of life for LOST_S, ends the attempts it has as ``lost``: the
dispatcher begins them again, and what the machine still writes when it wakes up is refused, since its attempt is no longer the current
one (``hold``).

The only module that imports Ray; ``Cluster`` is what a batch (``batch_cluster``) uses of it. Imported by the composition root.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import ray
import structlog
from ray._private.authentication.authentication_utils import is_token_auth_enabled
from ray.exceptions import RayError, RayTaskError, TaskCancelledError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from backend.batch.arriving import AtHand
from backend.batch.entries import Entry
from backend.batch.run import Order
from backend.dispatch.batch_cluster import Lost
from backend.dispatch.batch_node import Answer, BatchNode
from backend.dispatch.machines import MB, Machine, lacking, memory_of, slots
from backend.dispatch.node import MEDIA, Ended, Node, Report, Task
from backend.dispatch.periodic import Periodic
from backend.job import Cancelled
from shared.errors import UserError
from shared.machine import CORES_OF_A_JOB, MEMORY_OF_A_JOB_MB
from shared.records import JobId, RunnerKind, Submission
from shared.settings import Settings

if TYPE_CHECKING:
    from backend.catalog.durations import Durations
    from backend.dispatch.node import NodeBackend
    from backend.dispatch.run import Run

log = structlog.get_logger()

#: Seconds between two looks at the machines, and without an answer after which a machine is lost. With the next scan of the dispatcher the
#: jobs of a dead machine begin again well within 30 s, whatever times Ray itself is set to.
LOOK_S: Final = 1.0
LOST_S: Final = 15.0
#: Seconds until a machine whose actor broke gets another one.
REHIRE_S: Final = 30.0
#: Seconds a task waits for the actor of a machine that has just joined.
JOIN_S: Final = 120.0
#: Calls at once into one actor: its jobs, and the questions of the engine.
CALLS: Final = 64
#: The label by which Ray names a machine (``ray._raylet.RAY_NODE_ID_KEY``).
NODE_LABEL: Final = "ray.io/node-id"


def connection(settings: Settings, *, namespace: str) -> dict[str, Any]:
    """What ``ray.init`` gets: join a cluster that runs, never start one (which would open a dashboard); its logs stay on its machines."""
    return {
        "address": settings.ray_address,
        "namespace": namespace,
        "log_to_driver": False,
        "configure_logging": False,
    }


def join(settings: Settings, *, namespace: str) -> None:
    """Join the cluster; UserError when it does not answer or takes work from anyone."""
    if not is_token_auth_enabled():
        raise UserError("cluster_open")
    try:
        ray.init(**connection(settings, namespace=namespace))
    except (ConnectionError, RayError, RuntimeError) as error:
        log.error("cluster_away", address=settings.ray_address, reason=str(error).splitlines()[0])
        raise UserError("cluster_away") from None


def actor_options(node: str) -> dict[str, Any]:
    """The actor of one machine. It reserves nothing: the jobs do. It is not restarted by Ray: its attempts would be lost unseen."""
    return {
        "name": f"node-{node}",
        "num_cpus": 0,
        "max_restarts": 0,
        "max_task_retries": 0,
        "max_concurrency": CALLS,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False),
        # its workers use the machine's GPUs, which Ray hides from an actor that reserves none
        "runtime_env": {"env_vars": {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}},
    }


def task_options(
    job: str, *, cores: float, memory_mb: int, gpus: float, on: str | None, never_on: frozenset[str]
) -> dict[str, Any]:
    """The task of one job or file, for the machine ``on``, or for any but ``never_on``. Ray never repeats it: attempts are counted on the
    folder."""
    options: dict[str, Any] = {
        "name": f"job-{job[:6]}",
        "num_cpus": cores,
        "memory": memory_mb * MB,
        "num_gpus": gpus,
        "max_retries": 0,
        "num_returns": "streaming",
    }
    if on is not None:
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(on, soft=False)
    elif never_on:
        options["label_selector"] = {NODE_LABEL: f"!in({','.join(sorted(never_on))})"}
    return options


def attempt(task: Task) -> Iterator[str | Ended]:
    """The task: the machine it came to, then how the attempt ended. Nothing was begun when the first answer is an ``Ended``."""
    actor = yield from _arrival()
    if actor is not None:
        yield _get(actor.perform.remote(task))


def one_file(key: str, entry: Entry) -> Iterator[str | Ended | AtHand | Answer]:
    """The task of one file of a batch: the machine it came to, the file when it was read, what became of it. As ``attempt``."""
    actor = yield from _arrival()
    if actor is not None:
        performing = actor.perform.remote(key, entry)
        yield _get(actor.seen.remote(key))
        yield _get(performing)


def _arrival() -> Generator[str | Ended, None, Any]:
    """The first answer of a task: the machine it came to, or that it was refused there. Returns that machine's actor, None if refused."""
    here = ray.get_runtime_context().get_node_id()
    actor = _willing_actor_of(here)
    yield Ended("refused") if actor is None else here
    return actor


def _willing_actor_of(node: str) -> Any:
    """The actor of a machine; None when there is none, or it takes no work."""
    try:
        actor = _actor_of(node)
        return actor if _get(actor.trouble.remote()) is None else None
    except (RayError, ValueError):
        return None


def _get(ref: Any) -> Any:
    """``ray.get`` in a task that keeps its cores meanwhile.

    Ray lends the cores of a task whose main thread waits to the next task: that one came to a machine that was full, and others stood idle.
    """
    answer: Future[Any] = Future()

    def wait() -> None:
        try:
            answer.set_result(ray.get(ref))
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=wait, name="answer", daemon=True).start()
    return answer.result()


def _actor_of(node: str) -> Any:
    until = time.monotonic() + JOIN_S
    while True:
        try:
            return ray.get_actor(f"node-{node}")
        except ValueError:  # a machine that has just joined
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


@dataclass
class _Flight:
    """One job handed to Ray. ``node``: where it is, None until it is placed. ``back``: it is to be placed anew, since it may be on its way
    to a machine that is gone, or reserves what no machine has."""

    run: Run
    task: Task
    node: str | None = None
    #: the machine it was sent to, None: Ray chooses
    target: str | None = None
    demand: dict[str, Any] = field(default_factory=dict)
    cancelled: threading.Event = field(default_factory=threading.Event)
    back: threading.Event = field(default_factory=threading.Event)
    lost: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None


class RayEngine:
    """``build`` makes the back-end of a machine, there; ``jobs``: at most so many in work, None: as many as the machines hold."""

    def __init__(
        self, settings: Settings, *, build: Callable[[], NodeBackend], durations: Durations, jobs: int | None = None
    ) -> None:
        self._settings, self._build, self._jobs, self.durations = settings, build, jobs, durations
        self._finished: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._flights: dict[JobId, _Flight] = {}
        self._machines: dict[str, Machine] = {}
        self._said: dict[str, str | None] = {}
        self._claim = ""
        self._looked_at = time.monotonic()
        self._looker: Periodic | None = None
        self._actor = ray.remote(Node)
        self._task = ray.remote(attempt)

    def connected(self, _jobs: int, finished: Callable[[], None]) -> RayEngine:
        """Join the cluster; UserError when it does not answer or takes work from anyone. ``finished`` is called when a job ended."""
        self._finished = finished
        join(self._settings, namespace="deepfake-o-meter")
        return self

    # -- what the dispatcher asks

    def begin(self, *, claim: str, load_ahead: Callable[[], object]) -> None:
        """Begin to look for machines. This machine runs no jobs unless it is one of them, so nothing is loaded ahead."""
        self._claim = claim
        self._looker = Periodic("machines", self._look, every_s=LOOK_S)

    def submit(self, job: JobId, work: Run) -> None:
        """Hand the job to Ray; a thread of ours waits for its end."""
        task = Task(job, work.hold.attempt, work.hold.moment(), work.draws)
        flight = _Flight(work, task)
        flight.thread = threading.Thread(target=self._follow, args=(flight,), name=f"job-{job[:6]}", daemon=True)
        with self._lock:
            self._flights[job] = flight
        try:
            flight.thread.start()
        except BaseException:  # no more threads: the place is free again
            with self._lock:
                self._flights.pop(job, None)
            raise

    def cancel(self, job: JobId) -> None:
        """Tell the machine that has the job; one that was not placed yet is taken back."""
        with self._lock:
            flight = self._flights.get(job)
        if flight:
            self._cancel(flight)

    def running(self) -> frozenset[JobId]:
        """Jobs in work."""
        with self._lock:
            return frozenset(self._flights)

    def places(self) -> int:
        """The set number, or what the machines hold; at least one, which tells an autoscaler that there is work."""
        if self._jobs is not None:
            return self._jobs
        cores = self._cores()
        return max(1, sum(slots(machine, cores=cores, gpus=self._settings.job_gpus) for machine in self._willing()))

    def free(self) -> int:
        """Free places."""
        return self.places() - len(self.running())

    def media_way(self) -> RunnerKind | None:
        """As most machines say, None while there is none."""
        ways = [machine.report.offers[MEDIA].way for machine in self._willing() if machine.report]
        if not ways:
            return None
        return "docker" if 2 * ways.count("docker") >= len(ways) else "process"

    def evicted(self) -> int:
        """Sum over the machines."""
        return sum(machine.report.evicted for machine in self._willing() if machine.report)

    def unavailable(self, detector: str, *, otherwise: Callable[[], str | None]) -> str | None:
        """None when a machine can run this detector, else the code of one that cannot; ``otherwise`` while there is no machine."""
        offers = [
            offer for machine in self._willing() if machine.report and (offer := machine.report.offers.get(detector))
        ]
        if not offers:
            return otherwise()
        return None if any(offer.unavailable is None for offer in offers) else offers[0].unavailable

    def way(self, detector: str, *, otherwise: Callable[[], RunnerKind | None]) -> RunnerKind | None:
        """How the first machine that can run this detector does it; ``otherwise`` while there is no machine."""
        machines = self._willing()
        for machine in machines:
            offer = machine.report.offers.get(detector) if machine.report else None
            if offer and offer.unavailable is None:
                return offer.way
        return None if machines else otherwise()

    def close(self, *, grace_s: float) -> bool:
        """Return all jobs to the folder, end the workers of all machines, and leave the cluster."""
        with self._lock:
            flights, machines = list(self._flights.values()), list(self._machines.values())
        until = time.monotonic() + grace_s
        for flight in flights:
            self._cancel(flight)
        for flight in flights:
            if flight.thread:
                flight.thread.join(max(0.0, until - time.monotonic()))
        if self._looker:
            self._looker.close()
        closing = [machine.actor.close.remote(grace_s=5.0) for machine in machines if machine.broken_at is None]
        if closing:
            with contextlib.suppress(RayError):
                ray.wait(closing, num_returns=len(closing), timeout=10, fetch_local=False)
        ray.shutdown()
        return not any(flight.thread and flight.thread.is_alive() for flight in flights)

    # -- one job, in a thread of its own

    def _follow(self, flight: _Flight) -> None:
        try:
            self._attempt(flight)
        except BaseException:  # our own bug: the attempt counts, so this cannot repeat for ever
            log.exception("job_broke_off", job=flight.task.job, code="internal")
            flight.run.ending = "broke_off"
        finally:
            with self._lock:
                self._flights.pop(flight.task.job, None)
            self._finished()

    def _attempt(self, flight: _Flight) -> None:
        run, flight.demand = flight.run, self._demand(flight.run.submission)
        never_on = self._unfit(run.submission)
        self._aim(flight, never_on)
        options = task_options(flight.task.job, **flight.demand, on=flight.target, never_on=never_on)
        answers = self._task.options(**options).remote(flight.task)
        try:
            while not self._has_come(answers):
                if flight.cancelled.is_set() or flight.back.is_set():
                    ray.cancel(answers)
                    run.call_off()  # should it begin in this very moment, it is no longer the current attempt
                    return
            first = ray.get(next(answers))
            if isinstance(first, Ended):
                run.call_off()
                return
            flight.node = first
            if flight.cancelled.is_set():
                self._cancel(flight)
            while not self._has_come(answers):
                if flight.lost.is_set():
                    run.ending = "lost"
                    return
            ended = ray.get(next(answers))
        except TaskCancelledError:
            run.call_off()
        except RayError as error:
            self._failed(flight, error)
        else:
            self._ended(flight, ended)

    def _has_come(self, answers: Any) -> bool:
        """Whether the next answer is there, within half a second."""
        return bool(ray.wait([answers], timeout=0.5, fetch_local=False)[0])

    def _ended(self, flight: _Flight, ended: Ended) -> None:
        log.info("job_ended", job=flight.task.job, attempt=flight.task.attempt, node=flight.node, ending=ended.ending)
        if ended.ending == "refused":  # it was stopped in between
            flight.run.call_off()
        else:
            flight.run.ending, flight.run.code = ended.ending, ended.code

    def _aim(self, flight: _Flight, never_on: frozenset[str]) -> None:
        """Choose the machine with the most room. Where none has room Ray chooses, when there is some or a new machine has come: its picture
        of who has room is a little old, and two jobs that begin at once would queue on one machine beside an idle one."""
        cores, gpus = self._cores(), self._settings.job_gpus
        willing = self._willing()
        with self._lock:
            used = Counter(item.node or item.target for item in self._flights.values() if item is not flight)
            room = {machine.id: slots(machine, cores=cores, gpus=gpus) - used[machine.id] for machine in willing}
            best = max((node for node in room if node not in never_on), key=lambda node: room[node], default=None)
            flight.target = best if best is not None and room[best] > 0 else None

    def _failed(self, flight: _Flight, error: RayError) -> None:
        own = isinstance(error, RayTaskError) and not isinstance(error.cause, RayError)
        begun = flight.node is not None
        if own or begun:
            flight.run.ending = "broke_off" if own else "lost"
        else:  # its machine was gone before it came there
            flight.run.call_off()
        reason = str(error).strip().splitlines()[-1] if own else type(error).__name__
        log.warning("job_lost", job=flight.task.job, node=flight.node, ending=flight.run.ending, reason=reason)
        with self._lock:
            machine = None if own else self._machines.get(flight.node or flight.target or "")
        if machine:
            self._broke(machine, reason)

    def _cancel(self, flight: _Flight) -> None:
        flight.cancelled.set()
        with self._lock:
            machine = self._machines.get(flight.node or "")
        if machine:
            with contextlib.suppress(RayError):
                machine.actor.cancel.remote(flight.task.job, flight.task.begun, flight.run.why)

    def _demand(self, submission: Submission) -> dict[str, Any]:
        """What the job reserves: cores and memory as jobs have them on one machine, and no more than the machines have."""
        willing = self._willing()
        needs = [memory_of(submission, machine.report) for machine in willing if machine.report]
        most = max((machine.memory_mb for machine in willing), default=MEMORY_OF_A_JOB_MB)
        return {
            "cores": self._cores(),
            "memory_mb": min([MEMORY_OF_A_JOB_MB, most, *needs]),
            "gpus": self._settings.job_gpus,
        }

    def _cores(self) -> float:
        return min([float(CORES_OF_A_JOB), *(machine.cores for machine in self._willing())])

    def _unfit(self, submission: Submission) -> frozenset[str]:
        """Machines that take no jobs, or lack an image or weights that others have for this one."""
        with self._lock:
            machines = list(self._machines.values())
        unfit = {machine.id for machine in machines if machine.trouble is not None}
        lacks = {machine.id: lacking(machine.report, submission) for machine in machines if machine.id not in unfit}
        least = min(lacks.values(), default=0)
        return frozenset(unfit | {node for node, count in lacks.items() if count > least})

    # -- the machines, in one thread

    def _willing(self) -> list[Machine]:
        with self._lock:
            return [machine for machine in self._machines.values() if machine.trouble is None]

    def _look(self) -> None:
        """Hire machines that joined, drop those that left, ask the others how they are."""
        now = time.monotonic()
        if now - self._looked_at > LOOK_S + LOST_S / 2:  # we slept, not they
            for machine in self._machines.values():
                machine.seen_at = now
        self._looked_at = now
        alive = {item["NodeID"]: item["Resources"] for item in ray.nodes() if item["Alive"]}
        for machine in list(self._machines.values()):
            if machine.id not in alive:
                self._drop(machine, reason="Ray says it is dead")
            elif machine.broken_at is not None and now - machine.broken_at > REHIRE_S:
                self._drop(machine, reason="its actor broke")
        for node, has in alive.items():
            if node not in self._machines and has.get("CPU", 0) > 0:
                self._hire(node, has)
        for machine in list(self._machines.values()):
            self._ask(machine, now)
            self._say(machine)

    def _hire(self, node: str, has: Mapping[str, float]) -> None:
        actor = self._actor.options(**actor_options(node)).remote(self._build, claim=self._claim)
        with self._lock:
            self._machines[node] = Machine(node, actor, has, time.monotonic())

    def _drop(self, machine: Machine, *, reason: str) -> None:
        log.warning("node_gone", node=machine.id, reason=reason)
        with self._lock:
            self._machines.pop(machine.id, None)
            self._said.pop(machine.id, None)
        with contextlib.suppress(RayError):
            ray.kill(machine.actor)
        self._lose(machine)

    def _broke(self, machine: Machine, reason: str) -> None:
        """Its actor is gone, and perhaps the whole machine: Ray needs longer to know."""
        if machine.broken_at is None:
            machine.broken_at, machine.report = time.monotonic(), None
            log.warning("node_broken", node=machine.id, reason=reason)
            self._lose(machine)

    def _lose(self, machine: Machine) -> None:
        """End the attempts the machine has. When it wakes up, they are to end there, too. What has no place yet is placed anew."""
        with self._lock:
            flights = [flight for flight in self._flights.values() if flight.node == machine.id]
            on_their_way = [flight for flight in self._flights.values() if flight.node is None]
        for flight in on_their_way:
            flight.back.set()
        for flight in flights:
            if not flight.lost.is_set():
                log.warning("job_lost", job=flight.task.job, node=machine.id, ending="lost", reason="no sign of life")
                with contextlib.suppress(RayError):
                    machine.actor.cancel.remote(flight.task.job, flight.task.begun, "yield")
                flight.lost.set()

    def _ask(self, machine: Machine, now: float) -> None:
        if machine.broken_at is not None:
            return
        try:
            if machine.asked is not None and ray.wait([machine.asked], timeout=0)[0]:
                machine.report, machine.asked = ray.get(machine.asked), None
                machine.seen_at = now
                self._take_in(machine.report)
            if machine.asked is None:
                machine.asked = machine.actor.report.remote()
        except RayError as error:
            self._broke(machine, type(error).__name__)
        if machine.report is not None and now - machine.seen_at > LOST_S:
            machine.report = None  # it counts again with its next report
            self._lose(machine)

    def _take_in(self, report: Report) -> None:
        for step, mode, seconds in report.measured:
            self.durations.add(step, mode=mode, seconds=seconds)
        with self._lock:
            flights = {job: self._flights[job] for job in report.work if job in self._flights}
        for job, flight in flights.items():
            state = report.work[job]
            flight.run.board.follow(progress=state.progress, finished=state.finished)
            flight.run.numbers_out = state.numbers_out

    def _say(self, machine: Machine) -> None:
        """One line when a machine begins or ceases to take jobs."""
        if self._said.get(machine.id, "") != machine.trouble:
            self._said[machine.id] = machine.trouble
            log.info("node", node=machine.id, takes_jobs=machine.trouble is None, reason=machine.trouble)
            self._place_anew()

    def _place_anew(self) -> None:
        """Take back what reserves something else than it would now: the first machine may be smaller than was thought."""
        with self._lock:
            waiting = [flight for flight in self._flights.values() if flight.node is None and flight.demand]
        for flight in waiting:
            if flight.demand != self._demand(flight.run.submission):
                flight.back.set()


class Cluster:
    """What ``batch_cluster`` asks of Ray: the machines, and each file as one task. Lost where Ray says that something is gone."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._actor, self._task = ray.remote(BatchNode), ray.remote(one_file)

    def join(self, name: str) -> None:
        """UserError when the cluster does not answer or takes work from anyone."""
        join(self._settings, namespace=name)

    def machines(self) -> dict[str, Mapping[str, float]]:
        """Those that are alive and have cores: what each has."""
        return {
            item["NodeID"]: item["Resources"] for item in ray.nodes() if item["Alive"] and item["Resources"].get("CPU")
        }

    def hire(self, node: str, build: Callable[[Settings], NodeBackend], order: Order) -> Any:
        """The actor of a machine."""
        return self._actor.options(**actor_options(node)).remote(build, order)

    def ask(self, actor: Any) -> Any:
        """Ask an actor for its trouble; for ``told``."""
        return actor.trouble.remote()

    def told(self, asked: Any) -> tuple[bool, str | None]:
        """Whether it has answered, and what. Lost."""
        if not ray.wait([asked], timeout=0)[0]:
            return False, None
        with _lost():
            return True, ray.get(asked)

    def begin(self, key: str, entry: Entry, *, never_on: frozenset[str], **demand: Any) -> Any:
        """Hand a file over; the answers for ``next``."""
        options = task_options(key, **demand, on=None, never_on=never_on)
        return self._task.options(**options).remote(key, entry)

    def next(self, answers: Any, stopping: threading.Event) -> Any:
        """The next answer of ``one_file``. Lost; Cancelled when ``stopping`` is set."""
        while not ray.wait([answers], timeout=0.5, fetch_local=False)[0]:
            if stopping.is_set():
                ray.cancel(answers)
                raise Cancelled
        with _lost():
            return ray.get(next(answers))

    def decide(self, actor: Any, key: str, wanted: bool) -> None:
        """Tell the machine whether a content is to be judged."""
        actor.decide.remote(key, wanted)

    def leave(self, actors: Sequence[Any]) -> None:
        """End the workers of all machines."""
        closing = [actor.close.remote() for actor in actors]
        if closing:
            with contextlib.suppress(RayError):
                ray.wait(closing, num_returns=len(closing), timeout=10, fetch_local=False)
        ray.shutdown()


@contextlib.contextmanager
def _lost() -> Iterator[None]:
    try:
        yield
    except RayError as error:
        if isinstance(error, RayTaskError) and not isinstance(error.cause, RayError):
            raise  # our own bug
        cause = error.cause if isinstance(error, RayTaskError) else error
        raise Lost(type(cause).__name__) from None
