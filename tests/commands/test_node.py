"""``deepfake-o-meter node`` starts Ray where only the cluster's own network reaches it; without the extra, nothing of Ray is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from backend.commands.node import start_command
from shared.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
PORTS = {
    "--node-manager-port=6380", "--object-manager-port=6381", "--runtime-env-agent-port=6382", "--dashboard-agent-grpc-port=6383",
    "--dashboard-agent-listen-port=6384", "--metrics-export-port=6385", "--min-worker-port=6400", "--max-worker-port=6999",
}  # fmt: skip
COMMON = {"--object-store-memory=83886080", "--disable-usage-stats", "--block"} | PORTS


def test_the_head_asks_for_tokens_has_no_dashboard_and_announces_a_private_address():
    *start, system = start_command("10.0.0.5", head=None)
    assert start[:6] == ["env", "RAY_AUTH_MODE=token", sys.executable, "-m", "ray.scripts.scripts", "start"]
    head = {
        "--head",
        "--include-dashboard=false",
        "--dashboard-host=127.0.0.1",
        "--node-ip-address=10.0.0.5",
        "--port=6379",
        "--ray-client-server-port=6386",
    }
    assert set(start[6:]) == head | COMMON
    assert len(start[6:]) == len(head | COMMON)
    assert json.loads(system.removeprefix("--system-config="))["health_check_failure_threshold"] == 3


def test_the_other_machines_join_with_the_same_precautions():
    start = start_command("fd00::6", head="10.0.0.5:6379", cores=8)
    assert start[:2] == ["env", "RAY_AUTH_MODE=token"]
    assert set(start[6:]) == {"--address=10.0.0.5:6379", "--node-ip-address=fd00::6", "--num-cpus=8"} | COMMON
    assert set(start) - set(start_command("fd00::6", head="10.0.0.5:6379", cores=8, detached=True)) == {"--block"}


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "8.8.8.8", "2001:4860:4860::8888", "head.example.org", ""])
def test_an_address_that_others_reach_is_refused(address: str):
    with pytest.raises(UserError, match="address"):
        start_command(address, head=None)


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a Python that has no Ray."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "DFOM_"))}
    without = f"import sys; sys.modules['ray'] = None; sys.path.insert(0, {str(ROOT)!r}); {code}"
    return subprocess.run(
        [sys.executable, "-c", without],
        env=bare | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_without_the_extra_everything_else_loads_and_the_engine_says_what_is_missing(tmp_path: Path):
    modules = "deepfake_o_meter, backend.dispatch.dispatcher, backend.dispatch.node, backend.commands.node, backend.dispatch.batch_cluster"
    loaded = run(f"import {modules}; print([name for name in sys.modules if name.split('.')[0] == 'ray'])")
    assert loaded.stdout.strip() == "['ray']", loaded.stderr  # our own None
    for command in (["dispatch"], ["batch", str(tmp_path), "--out", str(tmp_path / "out")]):
        code = f"import deepfake_o_meter as d; d.main({command!r})"
        asked = run(code, DFOM_ENGINE="ray", DFOM_DATA=str(tmp_path / "var"))
        assert asked.returncode == 2
        assert "make cluster" in asked.stderr


@pytest.mark.parametrize("address", ["local", "ray://10.0.0.5:10001", "10.0.0.5"])
def test_an_address_that_would_start_another_cluster_is_refused(address: str, tmp_path: Path):
    asked = run("import deepfake_o_meter as d; d.main(['dispatch'])", DFOM_RAY_ADDRESS=address, DFOM_DATA=str(tmp_path))
    assert asked.returncode == 2
    assert "HOST:PORT" in asked.stderr
