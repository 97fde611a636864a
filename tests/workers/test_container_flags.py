"""Worker containers: exact flags, the six endings, and never two where one is enough."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker
import pytest
import structlog

from backend.workers import container_flags as containers
from backend.workers import docker_runner as runner
from backend.workers.pool import WorkerPool
from backend.workers.provenance import as_run_by
from backend.workers.runner import Runners, choose_runners
from backend.workers.spec import MEDIA_MODULE, WorkerError, WorkerSpec
from backend.workers.worker import Worker
from shared.results import Provenance
from shared.settings import Settings
from tests.workers.docker_fixtures import ACTING, build, containers_of
from tests.workers.endings import SixEndings

Start = Callable[..., Worker]
MESONET = WorkerSpec(
    "mesonet", "detectors.mesonet", Path("/w/mesonet"), "dfom/mesonet", 1000, True, output_mb=256, version="1"
)


def options_of(spec: WorkerSpec, *, gpu: str | None = None) -> dict[str, Any]:
    return containers.container_options(
        spec, image="sha256:abc", exchange=Path("/s/mesonet-0"), user="65534:65534", threads=2, seccomp="{}", gpu=gpu
    )


# --------------------------------------------------------------------------- flags


def test_the_arguments_of_a_container_are_exactly_these() -> None:
    labels = {key: value for key, value in options_of(MESONET)["labels"].items() if key != containers.LABEL_FLAGS}
    assert labels == {
        "org.deepfake-o-meter.folder": "/s",
        "org.deepfake-o-meter.place": "mesonet-0",
        "org.deepfake-o-meter.memory-mb": "1000",
    }
    assert {key: value for key, value in options_of(MESONET).items() if key != "labels"} == {
        "image": "sha256:abc",
        "name": containers.container_name(Path("/s/mesonet-0")),
        "hostname": "worker",
        "entrypoint": ["/opt/worker/bin/python"],
        "command": [
            "-m", "base_detector", "detectors.mesonet", "--serve", "/exchange", "--weights", "/weights", "--device", "cpu",
        ],
        "working_dir": "/app",
        "stop_signal": "SIGTERM",
        "user": "65534:65534",
        "network_mode": "none",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true", "seccomp={}"],
        "ipc_mode": "private",
        "cgroupns": "private",
        "shm_size": 67108864,
        "init": True,
        "mem_limit": 1_000_000_000,
        "memswap_limit": 1_000_000_000,
        "oom_score_adj": 500,
        "pids_limit": 256,
        "nano_cpus": 2_000_000_000,
        "ulimits": [
            {"name": "nofile", "soft": 1024, "hard": 1024},
            {"name": "core", "soft": 0, "hard": 0},
            {"name": "fsize", "soft": 256_000_000, "hard": 256_000_000},
        ],
        "tmpfs": {"/tmp": "rw,noexec,nosuid,nodev,size=512m,mode=1777"},
        "mounts": [
            {"Type": "bind", "Source": "/s/mesonet-0", "Target": "/exchange", "ReadOnly": False,
             "BindOptions": {"Propagation": "rprivate"}},
            {"Type": "bind", "Source": "/w/mesonet", "Target": "/weights", "ReadOnly": True,
             "BindOptions": {"Propagation": "rprivate"}},
        ],
        "log_config": {"type": "json-file", "config": {"max-size": "1m", "max-file": "2"}},
        "environment": {
            "HOME": "/tmp", "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1",
            "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "MKL_NUM_THREADS": "2", "THP_MEM_ALLOC_ENABLE": "1",
        },
        "healthcheck": {"test": ["NONE"]},
        "use_config_proxy": False,
    }  # fmt: skip


def test_a_gpu_is_given_one_by_one_and_only_for_computing() -> None:
    with_gpu, without = options_of(MESONET, gpu="GPU-1"), options_of(MESONET)
    assert with_gpu["device_requests"] == [{"driver": "nvidia", "device_ids": ["GPU-1"], "capabilities": [["gpu"]]}]
    assert with_gpu["environment"]["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"
    assert set(with_gpu) - set(without) == {"device_requests"}


def test_a_third_partys_image_runs_its_own_program_and_media_its_own_module() -> None:
    foreign = options_of(replace(MESONET, bundled=False))
    assert (foreign["entrypoint"], foreign["command"], foreign["working_dir"]) == (None, None, None)
    media = options_of(replace(MESONET, module=MEDIA_MODULE, weights=None))
    assert media["command"] == ["-m", "backend.media.worker", "--serve", "/exchange"]
    assert [mount["Target"] for mount in media["mounts"]] == ["/exchange"]


def test_a_container_may_only_read_its_own_compiled_networks_and_a_third_partys_has_none() -> None:
    keeping = replace(MESONET, compiled=Path("/d/compiled/mesonet"))
    with_nets, without = options_of(keeping), options_of(MESONET)
    (mount,) = [mount for mount in with_nets["mounts"] if mount not in without["mounts"]]
    assert (mount["Source"], mount["Target"], mount["ReadOnly"]) == ("/d/compiled/mesonet", "/compiled", True)
    added = dict(set(with_nets["environment"].items()) - set(without["environment"].items()))
    assert added == {"COMPILED_NETS": "/compiled", "COMPILED_NETS_NEW": "/exchange/compiled"}
    foreign = replace(MESONET, bundled=False)
    assert options_of(replace(foreign, compiled=keeping.compiled)) == options_of(foreign)


def test_a_name_tells_folders_apart_and_finds_its_own_again() -> None:
    names = {containers.container_name(Path(folder) / "mesonet-0") for folder in ("/a/main", "/b/main", "/a/extra-1")}
    assert len(names) == 3
    assert containers.container_name(Path("/a/main/mesonet-0")) in names


@pytest.mark.docker
def test_the_engine_confirms_every_flag_and_knows_no_other(start_container: Start, tmp_path: Path) -> None:
    worker = start_container()
    attributes = worker._running._container.attrs  # type: ignore[attr-defined]
    asked = {
        "LogConfig": {"Type": "json-file", "Config": {"max-file": "2", "max-size": "1m"}},
        "NetworkMode": "none",
        "CapDrop": ["ALL"],
        "CgroupnsMode": "private",
        "IpcMode": "private",
        "OomScoreAdj": 500,
        "ReadonlyRootfs": True,
        "SecurityOpt": ["no-new-privileges:true", f"seccomp={containers.SECCOMP.read_text()}"],
        "Tmpfs": {"/tmp": "rw,noexec,nosuid,nodev,size=512m,mode=1777"},
        "ShmSize": 67108864,
        "Memory": 256_000_000,
        "MemorySwap": 256_000_000,
        "NanoCpus": 1_000_000_000,
        "PidsLimit": 256,
        "Init": True,
        "Ulimits": [
            {"Name": "nofile", "Soft": 1024, "Hard": 1024},
            {"Name": "core", "Soft": 0, "Hard": 0},
            {"Name": "fsize", "Soft": 20_000_000, "Hard": 20_000_000},
        ],
        "Mounts": [
            {"Type": "bind", "Source": str(tmp_path / "workers/acting-0"), "Target": "/exchange",
             "BindOptions": {"Propagation": "rprivate"}},
        ],
        "Runtime": "runc",
    }  # fmt: skip
    granted = {
        name: value for name, value in attributes["HostConfig"].items() if value
    }  # zero, empty or absent: not granted
    # what differs between engines: paths the engine itself hides, and how it writes "no"
    assert {"/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"} <= set(granted.pop("MaskedPaths"))
    assert {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"} == set(
        granted.pop("ReadonlyPaths")
    )
    assert granted.pop("RestartPolicy")["Name"] in ("", "no")
    assert granted.pop("ConsoleSize", [0, 0]) == [0, 0]
    assert granted == asked
    config = attributes["Config"]
    assert config["User"] == ("65534:65534" if os.geteuid() == 0 else f"{os.geteuid()}:{os.getegid()}")
    assert (config["Hostname"], config["Healthcheck"], config["StopSignal"]) == (
        "worker",
        {"Test": ["NONE"]},
        "SIGTERM",
    )
    assert (config["Volumes"], config.get("ExposedPorts")) == (None, None)
    assert attributes["Image"].startswith("sha256:")
    assert config["Image"] == attributes["Image"], "started by its content, not by a tag"


# --------------------------------------------------------------------------- endings


@pytest.mark.docker
class TestEndingsOfContainers(SixEndings):
    @pytest.fixture
    def start(self, start_container: Start) -> Start:
        return start_container

    def still_there(self, worker: Worker) -> bool:
        name = worker._running._container.name  # type: ignore[attr-defined]
        found = subprocess.run(["docker", "ps", "-aq", "--filter", f"name=^{name}$"], capture_output=True, check=True)
        return bool(found.stdout.strip())


# --------------------------------------------------------------------------- one and the same container


@pytest.fixture
def docker_settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path / "data", runner="docker", hot=[], threads=1)


@pytest.fixture
def make_pool(docker_settings: Settings, engine: Any, tmp_path: Path) -> Iterator[Callable[..., WorkerPool]]:
    pools: list[WorkerPool] = []

    def make(**changes: Any) -> WorkerPool:
        clock = changes.pop("clock", None)
        changed = docker_settings.model_copy(update=changes)
        pools.append(WorkerPool(changed, clock=clock) if clock else WorkerPool(changed))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()
    assert containers_of(engine, tmp_path) == []


CRASH = """
import os, signal, sys
from pathlib import Path
from backend.workers.pool import WorkerPool
from backend.workers.spec import WorkerSpec
from shared.results import Provenance
from shared.settings import Settings
pool = WorkerPool(Settings(data=Path(sys.argv[1]), runner="docker", hot=[], threads=1))
with pool.lease(WorkerSpec("acting", "detectors.acting", None, "dfom-test/acting", 256, False, output_mb=20)) as worker:
    print(worker._running.id, flush=True)
    with worker.room("job"):
        if "busy" in sys.argv:
            worker._send(b'{"verb": "sleep", "seconds": 600}\\n')
        os.kill(os.getpid(), signal.SIGKILL)
"""


def crash(data: Path, *words: str) -> str:
    """A back-end that starts a worker and dies by ``kill -9``; the id of the container it leaves."""
    done = subprocess.run([sys.executable, "-c", CRASH, str(data), *words], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout.split()[-1]


@pytest.mark.docker
def test_a_worker_is_adopted_after_a_crash_of_the_back_end(
    make_pool: Callable[..., WorkerPool],
    container_spec: WorkerSpec,
    docker_settings: Settings,
    engine: Any,
    tmp_path: Path,
) -> None:
    left = crash(docker_settings.data)
    with make_pool().lease(container_spec) as worker:
        assert worker._running.id == left  # type: ignore[attr-defined]
        assert worker.call("echo", timeout_s=5)["status"] == "ok"
        assert worker.call("look", timeout_s=5, at="/exchange")["found"].keys() == {"/exchange/worker.sock"}, (
            "the old job is gone"
        )
    assert len(containers_of(engine, tmp_path)) == 1


@pytest.mark.docker
@pytest.mark.parametrize("trouble", ["other flags", "busy", "stopped"])
def test_a_worker_that_cannot_be_adopted_is_replaced(
    make_pool: Callable[..., WorkerPool], container_spec: WorkerSpec, docker_settings: Settings, engine: Any, tmp_path: Path,
    trouble: str,
) -> None:  # fmt: skip
    left = crash(docker_settings.data, trouble)
    if trouble == "stopped":
        engine.containers.get(left).kill()
    spec = replace(container_spec, memory_mb=300) if trouble == "other flags" else container_spec
    with make_pool().lease(spec) as worker:
        assert worker._running.id != left  # type: ignore[attr-defined]
        assert worker.call("echo", timeout_s=5)["status"] == "ok"
    assert [item.id for item in containers_of(engine, tmp_path)] != [left]
    assert len(containers_of(engine, tmp_path)) == 1


@pytest.mark.docker
def test_a_leftover_nobody_asks_for_goes_after_its_time(
    make_pool: Callable[..., WorkerPool], container_spec: WorkerSpec, docker_settings: Settings, engine: Any
) -> None:
    left = crash(docker_settings.data)
    now = [0.0]
    pool = make_pool(clock=lambda: now[0], warm_s=600)
    with pool.lease(replace(container_spec, name="other")):
        pass
    assert engine.containers.get(left).status == "running"
    now[0] += 600
    pool.sweep()
    with pytest.raises(Exception, match="No such container"):
        engine.containers.get(left)


@pytest.mark.docker
def test_strays_of_a_dead_back_end_elsewhere_are_removed_and_those_of_a_living_one_are_not(
    make_pool: Callable[..., WorkerPool], container_spec: WorkerSpec, engine: Any, tmp_path: Path
) -> None:
    stray = crash(tmp_path / "analyze")
    portal = make_pool()
    with portal.lease(container_spec) as living, make_pool(data=tmp_path / "another").lease(container_spec) as worker:
        assert worker.call("echo", timeout_s=5)["status"] == "ok"
        assert living.call("echo", timeout_s=5)["status"] == "ok"
        assert stray not in [item.id for item in containers_of(engine, tmp_path)]


@pytest.mark.docker
def test_a_rebuilt_image_gets_a_new_worker(
    make_pool: Callable[..., WorkerPool], container_spec: WorkerSpec, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "IMAGE_S", 0.0)
    build(engine, "dfom-test/rebuilt")
    spec, pool = replace(container_spec, image="dfom-test/rebuilt"), make_pool()
    with pool.lease(spec) as worker:
        before = worker.image_digest
    assert before == pool.image_digest(spec)
    build(engine, "dfom-test/rebuilt", extra="ENV REBUILT=1")
    with pool.lease(spec) as worker:
        assert worker.image_digest == pool.image_digest(spec) != before
    pool.close()
    engine.images.remove("dfom-test/rebuilt")


# --------------------------------------------------------------------------- what is missing


@pytest.mark.docker
def test_a_missing_image_is_named(make_pool: Callable[..., WorkerPool], container_spec: WorkerSpec) -> None:
    pool, spec = make_pool(), replace(container_spec, image="dfom-test/absent")
    assert (pool.available(spec), pool.image_digest(spec)) == ("image_missing", None)
    with pytest.raises(WorkerError, match=r"image_missing: .*make images"), pool.lease(spec):
        pass


@pytest.mark.docker
def test_an_image_with_volumes_is_refused(
    make_pool: Callable[..., WorkerPool], container_spec: WorkerSpec, engine: Any
) -> None:
    build(engine, "dfom-test/volume", extra="VOLUME /data")
    pool, spec = make_pool(), replace(container_spec, image="dfom-test/volume")
    assert pool.available(spec) == "image_refused"
    with pytest.raises(WorkerError, match="image_refused"), pool.lease(spec):
        pass
    engine.images.remove("dfom-test/volume")


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")


def test_without_an_engine_containers_are_unavailable(no_engine: None, docker_settings: Settings) -> None:
    pool = WorkerPool(docker_settings)
    assert (pool.runner_kind(MESONET), pool.available(MESONET)) == ("docker", "engine_unavailable")
    with pytest.raises(WorkerError) as caught, pool.lease(MESONET):
        pass
    assert (caught.value.code, caught.value.retryable) == ("engine_unavailable", True)
    pool.close()


def test_without_an_engine_auto_means_processes(no_engine: None, docker_settings: Settings) -> None:
    chosen = choose_runners(docker_settings.model_copy(update={"runner": "auto"}))
    assert chosen.docker is None
    assert (chosen.of(MESONET).kind, chosen.available(MESONET)) == ("process", None)
    assert chosen.available(replace(MESONET, bundled=False)) == "container_required"
    chosen.close()


@pytest.fixture
def auto(engine: Any, docker_settings: Settings) -> Iterator[Runners]:
    chosen = choose_runners(docker_settings.model_copy(update={"runner": "auto"}))
    yield chosen
    chosen.close()


@pytest.mark.docker
def test_each_worker_goes_its_own_way(
    auto: Runners, container_spec: WorkerSpec, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """One missing image is no reason to run the others as processes, and no trouble of the engine."""
    built, without = replace(container_spec, bundled=True), replace(MESONET, image="dfom-test/absent")
    assert (auto.of(built).kind, auto.available(built)) == ("docker", None)
    assert (auto.of(without).kind, auto.available(without)) == ("process", None)
    assert "engine_error" not in caplog.text + capfd.readouterr().out


@pytest.mark.docker
def test_a_third_partys_detector_without_an_image_never_runs_as_a_process(auto: Runners) -> None:
    stranger = replace(MESONET, image="dfom-test/absent", bundled=False)
    assert (auto.of(stranger).kind, auto.available(stranger)) == ("docker", "image_missing")


@pytest.mark.docker
def test_where_containers_are_demanded_nothing_runs_as_a_process(engine: Any, docker_settings: Settings) -> None:
    chosen = choose_runners(docker_settings)
    without = replace(MESONET, image="dfom-test/absent")
    assert (chosen.process, chosen.of(without).kind, chosen.available(without)) == (None, "docker", "image_missing")
    chosen.close()


@pytest.mark.docker
def test_an_image_that_is_refused_is_not_passed_over(auto: Runners, engine: Any) -> None:
    build(engine, "dfom-test/volume", extra="VOLUME /data")
    refused = replace(MESONET, image="dfom-test/volume")
    assert (auto.of(refused).kind, auto.available(refused)) == ("docker", "image_refused")
    engine.images.remove("dfom-test/volume")


@pytest.mark.docker
def test_an_image_built_meanwhile_is_used_from_the_next_job_on(
    make_pool: Callable[..., WorkerPool], acting_image: str, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = WorkerSpec("acting", "acting", None, "dfom-test/later", memory_mb=256, bundled=True, output_mb=20)
    monkeypatch.setattr("backend.workers.process_runner.ROOT", ACTING.parent)
    monkeypatch.setattr(WorkerSpec, "arguments", lambda self, exchange, *, weights: [self.module, exchange])
    pool = make_pool(runner="auto")
    with pool.lease(spec) as worker:
        assert worker.started_by == pool.runner_kind(spec) == "process"
        expected = Provenance(
            version="1", contract="1", weights={}, parameters={}, runner="docker", image="an image seen before"
        )
        assert as_run_by(worker, expected).runner == "process"
        assert as_run_by(worker, expected).image is None
    engine.images.get(acting_image).tag("dfom-test/later")
    try:
        with pool.lease(spec) as worker:
            assert worker.started_by == pool.runner_kind(spec) == "docker"
            assert as_run_by(worker, expected).image == pool.image_digest(spec)
            assert worker.call("echo", timeout_s=5)["status"] == "ok"
    finally:
        pool.close()
        engine.images.remove("dfom-test/later")


def test_what_needed_no_engine_goes_on_without_it() -> None:
    """An engine that stops answering does not change the way of a worker: neither to a process, nor away from one."""
    answers: dict[str, str | None] = {"with": None, "without": "image_missing"}
    docker = SimpleNamespace(kind="docker", available=lambda spec: answers[spec.image])
    process = SimpleNamespace(kind="process", available=lambda spec: None)
    both = Runners(docker, process)  # type: ignore[arg-type]
    inside, outside = replace(MESONET, image="with"), replace(MESONET, image="without")
    assert (both.of(inside).kind, both.of(outside).kind) == ("docker", "process")
    answers.update(dict.fromkeys(answers, "engine_unavailable"))
    assert (both.of(inside).kind, both.available(inside)) == ("docker", "engine_unavailable")
    assert (both.of(outside).kind, both.available(outside)) == ("process", None)


def test_an_image_that_another_engine_calls_missing_in_its_own_words_is_missing_without_a_line_in_the_log() -> None:
    class Images:
        def get(self, name: str) -> None:
            raise docker.errors.NotFound("404 Client Error: image not known")

    docker_runner = runner.DockerRunner.__new__(runner.DockerRunner)
    docker_runner._clock, docker_runner._images = time.monotonic, {}
    docker_runner._client = lambda: SimpleNamespace(images=Images())  # type: ignore[method-assign, assignment, return-value]
    with structlog.testing.capture_logs() as lines:
        assert docker_runner.available(MESONET) == "image_missing"
        with pytest.raises(WorkerError, match="image_missing"):
            docker_runner.image_label("dfom/other", "x")
    assert lines == []
