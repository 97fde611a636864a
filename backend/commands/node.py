"""``deepfake-o-meter node``: start this machine's part of a Ray cluster, with its ports on one private address and tokens asked for.

Knows which options Ray gets, and imports nothing of it. Imported by the composition root.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from ipaddress import ip_address
from typing import Final

import click

from backend.commands.exits import errors_explained
from shared.errors import UserError
from shared.settings import read_settings

#: Ray's ports, fixed so that a firewall can name them: the head's, then those every machine has, then those of its processes.
HEAD_PORT: Final = 6379
#: The server for Ray's own clients, which a head starts where grpcio is installed, and which cannot be turned off: in the range that the
#: firewall closes, not on 10001. Nothing of ours uses it.
CLIENT_PORT: Final = 6386
PORTS: Final = {
    "node-manager-port": 6380,
    "object-manager-port": 6381,
    "runtime-env-agent-port": 6382,
    "dashboard-agent-grpc-port": 6383,
    "dashboard-agent-listen-port": 6384,
    "metrics-export-port": 6385,
    "min-worker-port": 6400,
    "max-worker-port": 6999,
}
#: Objects that travel through Ray: ids and codes. Its least size is 75 MiB (``OBJECT_STORE_MINIMUM_MEMORY_BYTES``).
OBJECT_STORE_BYTES: Final = 80 * 2**20
#: Seconds until Ray counts a machine as dead that does not answer: three checks, one a second, each with so much patience. Ray's own
#: defaults take over a minute.
HEALTH: Final = {
    "health_check_initial_delay_ms": 5000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 4000,
    "health_check_failure_threshold": 3,
}


def start_command(
    address: str, *, head: str | None, cores: int | None = None, scaling: str | None = None, detached: bool = False
) -> list[str]:
    """The command that starts Ray here, in the foreground unless ``detached``. ``head``: HOST:PORT of the head, None: this machine is it;
    ``scaling``: its autoscaler's file. UserError for an address that others could reach."""
    ports = PORTS if head else {"port": HEAD_PORT, "ray-client-server-port": CLIENT_PORT} | PORTS
    options = [f"--address={head}"] if head else ["--head", "--include-dashboard=false", "--dashboard-host=127.0.0.1"]
    options += [f"--node-ip-address={_private(address)}", *(f"--{name}={port}" for name, port in ports.items())]
    options += [f"--object-store-memory={OBJECT_STORE_BYTES}", "--disable-usage-stats"]
    if not detached:
        options.append("--block")
    if not head:
        options.append(f"--system-config={json.dumps(HEALTH)}")
        if scaling:
            options.append(f"--autoscaling-config={scaling}")
    if cores is not None:
        options.append(f"--num-cpus={cores}")
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start"]
    return ["env", "RAY_AUTH_MODE=token", *ray, *options]


def _private(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        raise UserError("bad_setting", f"{address!r} is not an IP address of this machine.") from None
    if parsed.is_unspecified or not parsed.is_private:
        raise UserError(
            "bad_setting",
            f"{address} can be reached by others. Give this machine's address in a private network, like 10.0.0.5.",
        )
    return str(parsed)


@click.command()
@click.option("--ip", "address", required=True, help="address of this machine in the cluster's private network")
@click.option(
    "--join", "head", metavar="HOST:PORT", help="the head of the cluster; without it, this machine is the head"
)
@click.option("--cores", type=click.IntRange(0), help="cores for jobs (default: all; 0 for a head that takes none)")
@click.option("--scaling", metavar="FILE", help="of the head: the autoscaler's file, as 'ray up' writes it")
@click.option("--detach", "detached", is_flag=True, help="end when it runs; 'ray stop' stops it")
def node(address: str, head: str | None, cores: int | None, scaling: str | None, detached: bool) -> None:
    """Start this machine's part of a Ray cluster (docs/cluster.md). The DFOM_ settings it is given are those of its jobs."""
    with errors_explained():
        read_settings()  # a mistake in them is found here, not by the first job
        if find_spec("ray") is None:
            raise UserError("cluster_missing")
        command = start_command(address, head=head, cores=cores, scaling=scaling, detached=detached)
    os.execvp(command[0], command)  # noqa: S606  no shell; our own interpreter
