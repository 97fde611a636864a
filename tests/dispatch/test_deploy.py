"""The files of docker/deploy are what their tools take, and hold what docs/cluster.md and docs/operator.md promise of them."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from backend.commands.node import node
from deepfake_o_meter import main
from tests.dispatch.nodes import need_ray
from tests.supervision.site import Serving

DEPLOY = Path(__file__).resolve().parents[2] / "docker" / "deploy"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services of the compose file, as Compose itself reads them."""
    command = next((name for name in ("docker-compose",) if shutil.which(name)), None)
    if command is None:
        pytest.skip("docker-compose is not installed")
    run = subprocess.run(
        [command, "-f", str(DEPLOY / "compose.yaml"), "config"],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/", "DFOM_BASE_URL": "https://x.example", "DOCKER_GID": "998"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return yaml.safe_load(run.stdout)["services"]


def mounts(service: dict[str, Any]) -> set[tuple[str, str]]:
    """(on the host, inside) of each volume."""
    return {tuple(item.split(":")[:2]) for item in service["volumes"]}


def test_of_one_machine_only_the_back_end_has_the_engines_socket_and_only_the_portal_a_network(services):
    assert set(services) == {"portal", "back-end"}
    socket = ("/var/run/docker.sock", "/var/run/docker.sock")
    assert {name for name, service in services.items() if socket in mounts(service)} == {"back-end"}
    assert services["back-end"]["network_mode"] == "none"
    assert "ports" not in services["back-end"]
    for service in services.values():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_image_is_built_from_an_archive_that_nothing_is_kept_out_of():
    """.dockerignore keeps the checkout out of every context, so the archive must not hold it."""
    recipe = (DEPLOY / "service.Dockerfile").read_text()
    assert "git archive HEAD | docker build -f docker/deploy/service.Dockerfile" in recipe
    root = DEPLOY.parents[1]
    ignored = ["git", "check-attr", "export-ignore", ".dockerignore", "Makefile", "cluster.lock"]
    said = subprocess.run(ignored, cwd=root, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()
    assert [line.rpartition(": ")[2] for line in said] == ["set", "unspecified", "unspecified"]


def test_secrets_of_the_portal_and_files_of_the_back_end_are_kept_apart(services):
    inside = {name: {where for _, where in mounts(service)} for name, service in services.items()}
    shared = {"/srv/dfom/submissions", "/srv/dfom/results"}
    assert inside["portal"] == shared | {"/srv/dfom/frontend"}
    others = {"/srv/dfom/backend", "/srv/dfom/scratch", "/srv/dfom/weights", "/var/run/docker.sock"}
    assert inside["back-end"] == shared | others


def test_workers_mounts_have_the_same_path_for_the_host_and_the_back_end(services):
    assert all(host == inside for host, inside in mounts(services["back-end"]))


def test_the_commands_of_the_services_exist(services):
    for service in services.values():
        name, *options = service["command"] if isinstance(service["command"], list) else service["command"].split()
        shown = CliRunner().invoke(main, [name, "--help"])
        assert shown.exit_code == 0
        assert all(option in shown.output for option in options)


@pytest.fixture(scope="module")
def aws() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "aws-cluster.yaml").read_text())


def test_ray_takes_the_cloud_cluster(aws):
    need_ray()
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(aws)
    validate_config(prepared)
    types = prepared["available_node_types"]
    assert {name: (item["min_workers"], item["max_workers"]) for name, item in types.items() if name != "head"} == {
        "cpu": (0, 12),
        "gpu": (0, 4),
    }
    assert prepared["max_workers"] == 16
    assert types["gpu"]["resources"]["GPU"] == 1
    assert types["head"]["resources"]["CPU"] == 0


def test_machines_of_the_cloud_have_no_public_address_and_are_started_by_our_command(aws):
    assert aws["provider"]["use_internal_ips"] is True
    assert "docker" not in aws, "the machines run the workers' containers, they are none"
    for name in ("head_start_ray_commands", "worker_start_ray_commands"):
        stop, start = aws[name]
        assert stop.endswith("ray stop")
        words = shlex.split(re.sub(r"\$\([^)]*\)", "10.0.0.5", start))
        given = words[words.index("node") + 1 :]
        context = node.make_context("node", [word.replace("$RAY_HEAD_IP", "10.0.0.4") for word in given])
        assert context.params["address"] == "10.0.0.5"
        assert context.params["detached"] is True
        assert (context.params["head"] is None) == name.startswith("head")


def test_ray_takes_the_cluster_of_kubernetes():
    need_ray()
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
    from ray.autoscaler._private.util import validate_config

    cluster, policy = yaml.safe_load_all((DEPLOY / "kuberay.yaml").read_text())
    cluster["metadata"]["namespace"] = "default"
    derived = _derive_autoscaling_config_from_ray_cr(cluster)
    validate_config(derived)
    types = derived["available_node_types"]
    bounds = {name: (item["min_workers"], item["max_workers"], item["resources"]) for name, item in types.items()}
    assert {name: bound[:2] for name, bound in bounds.items()} == {"headgroup": (0, 0), "cpu": (0, 12), "gpu": (0, 4)}
    assert (bounds["headgroup"][2]["CPU"], bounds["cpu"][2]["CPU"], bounds["gpu"][2]["GPU"]) == (0, 16, 1)
    label = {"ray.io/cluster": cluster["metadata"]["name"]}
    assert policy["spec"]["podSelector"]["matchLabels"] == label
    for group in [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]:
        [container] = group["template"]["spec"]["containers"]
        given = {item["name"]: item.get("value") for item in container["env"]}
        assert given["RAY_AUTH_MODE"] == "token"
        assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_the_portal_alone_starts_no_back_end(tmp_path):
    site = Serving(tmp_path / "var", tmp_path / "weights")
    site.start(options=["--portal-only"])
    try:
        assert site.dispatcher() is None
        assert not list(site.store.results.glob(".dispatcher-*"))
    finally:
        assert site.end() == 0
