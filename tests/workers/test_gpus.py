"""A new worker gets the GPU that will have most memory free; it sees no other."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from backend.workers import gpus
from backend.workers.gpus import Tenant, choose, parse_free, read_free_mb
from backend.workers.pool import WorkerPool
from backend.workers.spec import WorkerSpec
from shared.settings import Settings

THREE = ["GPU-a", "GPU-b", "GPU-c"]


@pytest.mark.parametrize(
    ("free", "tenants", "chosen"),
    [
        ({"GPU-a": 10_000, "GPU-b": 80_000, "GPU-c": 40_000}, [], "GPU-b"),
        ({"GPU-a": 10_000, "GPU-b": 80_000, "GPU-c": 40_000}, [Tenant("GPU-b", 50_000)], "GPU-c"),
        ({"GPU-a": 80_000, "GPU-b": 80_000, "GPU-c": 80_000}, [Tenant("GPU-a"), Tenant("GPU-c")], "GPU-b"),
        ({"GPU-a": 80_000, "GPU-b": 80_000, "GPU-c": 80_000}, [], "GPU-a"),
        ({"GPU-a": 100, "GPU-c": 200}, [Tenant("GPU-c", 5_000)], "GPU-a"),  # b has left the bus
        ({}, [Tenant("GPU-a", 1), Tenant("GPU-b"), Tenant("GPU-b")], "GPU-c"),
        ({}, [Tenant("GPU-a"), Tenant("GPU-b"), Tenant("GPU-c"), Tenant("GPU-a")], "GPU-b"),
    ],
)
def test_the_gpu_with_most_memory_left_is_chosen(free: dict[str, int], tenants: list[Tenant], chosen: str) -> None:
    assert choose(THREE, free_mb=free, tenants=tenants) == chosen


def test_gpus_go_by_number_uuid_or_its_beginning() -> None:
    listing = "0, GPU-5a1c-77, 1000\n1, GPU-6b2d-88, 2000\n2, GPU-7c3e-99, [N/A]\nno such thing\n"
    assert parse_free(listing, ["1", "GPU-5a1c", "GPU-7c3e-99", "3"]) == {"1": 2097, "GPU-5a1c": 1048}


def test_a_tool_that_is_missing_fails_or_says_nothing_leaves_memory_unknown() -> None:
    for question in (
        ["/nowhere/nvidia-smi"],
        [sys.executable, "-c", "raise SystemExit(9)"],
        [sys.executable, "-c", ""],
    ):
        assert read_free_mb(["0"], question=question) == {}
    said = [sys.executable, "-c", "print('0, GPU-1, 1000')"]
    assert read_free_mb(["0"], question=said) == {"0": 1048}


def test_workers_are_spread_over_the_gpus_and_each_sees_one(
    settings: Settings, acting: None, spec: WorkerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = {"GPU-a": 9_000, "GPU-b": 8_900}
    monkeypatch.setattr(gpus, "read_free_mb", lambda names: {name: free[name] for name in names})
    specs = [replace(spec, name=name, device="cuda:0", memory_mb=200) for name in "uvw"]
    pool = WorkerPool(settings.model_copy(update={"gpus": list(free)}))
    seen = []
    try:
        for each in specs:  # each is kept warm, and has taken its memory by then
            with pool.lease(each) as worker:
                seen.append(worker.call("environment", timeout_s=30)["environment"]["CUDA_VISIBLE_DEVICES"])
            free[seen[-1]] -= 200
        with pool.lease(spec) as worker:
            assert "CUDA_VISIBLE_DEVICES" not in worker.call("environment", timeout_s=30)["environment"]
    finally:
        pool.close()
    assert seen == ["GPU-a", "GPU-b", "GPU-a"]
