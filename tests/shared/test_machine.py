"""The budget of workers and the number of jobs follow the machine, and what a control group leaves of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.workers.spec import MEDIA_MEMORY_MB
from base_detector import Card
from shared.machine import LEAST_BUDGET_MB, default_budget_mb, default_jobs, gpus, memory_mb
from shared.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
GIB = 1024**3


def machine(root: Path, **files: str) -> Path:
    """A root folder with these files; ``__`` in a name is a slash."""
    for name, text in {"proc__meminfo": "MemTotal:  16777216 kB\nMemFree: 1 kB\n", **files}.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "bytes_"),
    [
        ({}, 16 * GIB),
        ({"proc__self__cgroup": "0::/a/b\n", "sys__fs__cgroup__a__b__memory.max": f"{4 * GIB}\n"}, 4 * GIB),
        ({"proc__self__cgroup": "0::/a/b\n", "sys__fs__cgroup__a__memory.max": f"{6 * GIB}\n"}, 6 * GIB),
        ({"proc__self__cgroup": "0::/a\n", "sys__fs__cgroup__a__memory.max": "max\n"}, 16 * GIB),
        ({"proc__self__cgroup": "0::/of/the/host\n", "sys__fs__cgroup__memory.max": f"{3 * GIB}\n"}, 3 * GIB),
        ({"proc__self__cgroup": "5:memory:/a\n",
          "sys__fs__cgroup__memory__a__memory.limit_in_bytes": f"{2 * GIB}\n"}, 2 * GIB),
        ({"proc__self__cgroup": "5:memory:/a\n",
          "sys__fs__cgroup__memory__a__memory.limit_in_bytes": "9223372036854771712\n"}, 16 * GIB),
        ({"proc__self__cgroup": "nonsense\n::\n"}, 16 * GIB),
    ],
    ids=["none", "v2", "v2 above", "v2 max", "v2 in a container", "v1", "v1 unlimited", "unreadable"],
)  # fmt: skip
def test_the_memory_is_the_machines_or_what_a_control_group_leaves(tmp_path: Path, files: dict[str, str], bytes_: int):
    assert memory_mb(machine(tmp_path, **files)) == bytes_ // 1_000_000


def test_a_machine_that_does_not_say_gets_the_least_budget(tmp_path: Path):
    assert memory_mb(tmp_path) is None
    assert default_budget_mb(0) == LEAST_BUDGET_MB


@pytest.mark.parametrize(("gib", "budget"), [(2, 6144), (8, 6144), (16, 11264), (24, 17152), (64, 45568)])
def test_the_default_budget_follows_the_memory(gib: int, budget: int):
    assert default_budget_mb(gib * GIB // 1_000_000) == budget
    assert f"| {gib} GiB | {budget} MB |" in (ROOT / "docs/operator.md").read_text() or gib == 2


@pytest.mark.parametrize(
    ("cores", "budget", "jobs"), [(1, 6144, 1), (2, 99_999, 1), (8, 6144, 1), (8, 17_152, 2), (16, 45_568, 4), (99, 999_999, 8)]
)  # fmt: skip
def test_jobs_follow_cores_and_memory(cores: int, budget: int, jobs: int):
    assert default_jobs(cores, budget_mb=budget) == jobs


def test_a_setting_comes_before_the_machine(tmp_path: Path):
    settings = Settings(data=tmp_path, jobs=3, worker_memory_mb=1)
    assert (settings.jobs, settings.worker_memory_mb) == (3, 1)
    assert Settings(data=tmp_path).worker_memory_mb == default_budget_mb()


def test_the_light_detectors_fit_into_the_least_budget_together():
    light = [Card.read(ROOT / "detectors" / name) for name in ("mesonet", "classnseg", "va", "selfblend")]
    assert MEDIA_MEMORY_MB + sum(card.memory_mb for card in light) <= LEAST_BUDGET_MB


def test_the_largest_ensemble_stays_warm_beside_the_media_worker_with_16_gib():
    assert MEDIA_MEMORY_MB + Card.read(ROOT / "detectors/selim").memory_mb <= default_budget_mb(16 * GIB // 1_000_000)


def test_all_gpus_that_the_driver_lists_are_found_and_none_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    said = "Model: \t\t NVIDIA H200\nIRQ: 1\nGPU UUID: \t {}\nVideo BIOS: ??\n"
    place = "proc__driver__nvidia__gpus__0000:{}:00.0__information"
    files = {place.format("1b"): said.format("GPU-1b2c"), place.format("0a"): said.format("GPU-0a1b")}
    files[place.format("ff")] = said.format("GPU-????????")[:30]  # one that is being set up has no UUID yet
    assert gpus(machine(tmp_path / "with", **files)) == ["GPU-0a1b", "GPU-1b2c"]
    assert gpus(machine(tmp_path / "without")) == []
    monkeypatch.setattr("shared.machine.gpus", lambda: ["GPU-0a1b"])
    monkeypatch.setenv("DFOM_GPUS", "auto")
    assert Settings().gpus == ["GPU-0a1b"]
