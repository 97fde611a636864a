"""What the code imports is declared; what is declared, and all that it pulls in, is pinned in requirements.lock."""

from __future__ import annotations

import ast
import functools
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distributions, requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
#: what `make setup` installs beside the project: what builds it, and MTCNN's weights
BESIDE = {canonicalize_name(Requirement(line).name) for line in PYPROJECT["dependency-groups"]["beside"]}


def locked(name: str) -> dict[str, tuple[str, list[str]]]:
    """Package -> (version, sha256 of its files) in a lock file; every line has to be of this form."""
    text = (ROOT / name).read_text()
    body = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
    entry = r"([A-Za-z0-9_.-]+)==([0-9][A-Za-z0-9.+]*)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n"
    assert re.fullmatch(f"(?:{entry})+", body), f"{name} holds more than names, versions and sha256"
    return {
        canonicalize_name(name): (version, re.findall("[0-9a-f]{64}", hashes))
        for name, version, hashes in re.findall(entry, body)
    }


LOCK = locked("requirements.lock")
PINNED = {name: version for name, (version, _) in LOCK.items()}
EXTRAS = ("docker", "dev")
#: stub packages and tools that nobody imports, checked by being run
OURS = {"base_detector", "shared", "frontend", "backend", "detectors", "deepfake_o_meter", "tests"}
#: the extra [cluster]
OPTIONAL = {"ray"}


def declared(*extras: str) -> list[Requirement]:
    lines = list(PROJECT["dependencies"])
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


def third_party_imports(*folders: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    for path in [*files, *sorted(ROOT.glob("*.py"))]:
        neighbours = {other.stem for other in path.parent.glob("*.py")}
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in (
                {name.partition(".")[0] for name in names} - OURS - OPTIONAL - neighbours - sys.stdlib_module_names
            ):
                found.setdefault(name, path.relative_to(ROOT))
    return found


def of_images() -> set[str]:
    """What a detector's own image brings (``detectors/<id>/requirements.txt``)."""
    lines = [line for file in ROOT.glob("detectors/*/requirements.txt") for line in file.read_text().splitlines()]
    bare = [line.split("#")[0].strip() for line in lines]
    return {canonicalize_name(Requirement(line).name) for line in bare if line}


@functools.cache
def providing() -> dict[str, set[str]]:
    """Top-level module -> distributions that hold it, by their lists of files (some name only their compiled part)."""
    found: dict[str, set[str]] = {}
    for distribution in distributions():
        for file in distribution.files or []:
            if file.suffix in (".py", ".so"):
                found.setdefault(file.parts[0].partition(".")[0], set()).add(distribution.name)
    return found


@pytest.mark.parametrize(
    ("folders", "extras"),
    [(("shared", "frontend", "backend", "detectors"), ("docker",)), (("tests", "docker"), ("docker", "dev"))],
    ids=["program", "tests and builds"],
)
def test_every_imported_package_is_declared(folders: tuple[str, ...], extras: tuple[str, ...]):
    providers = providing()
    known = {canonicalize_name(requirement.name) for requirement in declared(*extras)} | BESIDE | of_images()
    build_scripts = {path.stem for path in (ROOT / "docker").glob("*.py")}  # imported by their tests
    imports = third_party_imports(*folders)
    assert len(imports) > 5
    undeclared = {
        f"{name} ({path})"
        for name, path in imports.items()
        if name not in build_scripts and not {canonicalize_name(item) for item in providers.get(name, {name})} & known
    }
    assert undeclared == set()


def test_the_lock_holds_names_versions_and_the_sha256_of_every_file():
    assert len(LOCK) > 100
    assert len(LOCK["numpy"][1]) > 20  # the wheels of all systems, and the source


def test_torch_for_cpus_is_the_pinned_version():
    [(name, (version, files))] = locked("torch-cpu.lock").items()
    assert (name, version) == ("torch", f"{PINNED['torch']}+cpu")
    assert not set(files) & set(LOCK["torch"][1])


def test_what_several_machines_need_is_locked_apart_and_agrees_with_what_one_needs():
    cluster = {name: version for name, (version, _) in locked("cluster.lock").items()}
    [ray] = [Requirement(line) for line in PROJECT["optional-dependencies"]["cluster"]]
    assert ray.specifier.contains(cluster[ray.name])
    assert ray.name not in PINNED, "a fresh clone needs no Ray"
    assert {name: version for name, version in cluster.items() if PINNED.get(name, version) != version} == {}


def test_the_lock_is_resolved_with_what_the_installed_torch_needs():
    """PyPI's torch for Linux asks for CUDA, so `make lock` is given the needs of the CPU build; they are those of the real one."""
    given = {entry["name"]: entry for entry in PYPROJECT["tool"]["uv"]["dependency-metadata"]}
    assert {name: entry["version"] for name, entry in given.items()} == {name: PINNED[name] for name in given}
    needed = {Requirement(line) for line in requires("torch") or []}
    assert {Requirement(line) for line in given["torch"]["requires-dist"]} == {
        line for line in needed if line.marker is None
    }


def make_says(*arguments: str) -> str:
    command = ["make", "--dry-run", "--always-make", *arguments]
    environment = {name: value for name, value in os.environ.items() if name not in ("TORCH", "MAKEFLAGS")}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env=environment).stdout


@pytest.mark.parametrize(
    ("driver", "asked", "build"),
    [(False, [], "cpu"), (True, [], "cuda"), (True, ["TORCH=cpu"], "cpu"), (False, ["TORCH=cuda"], "cuda")],
)
def test_torch_for_gpus_is_taken_where_the_driver_is_or_where_it_is_asked_for(
    driver: bool, asked: list[str], build: str, tmp_path: Path
):
    place = tmp_path / "version"
    if driver:
        place.touch()
    said = make_says("setup", "images", f"NVIDIA_DRIVER={place}", *asked)
    assert f"torch for {build} (" in said
    assert f"elif [ {build} = cuda ]" in said
    assert f"docker/build.py --torch {build}" in said
    assert f"touch .venv/torch-{build}" in said


def test_another_build_of_torch_than_the_two_is_refused():
    done = subprocess.run(["make", "--dry-run", "TORCH=gpu", "setup"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert 'TORCH must be cpu or cuda, not "gpu"' in done.stderr


def test_the_packages_of_the_build_for_gpus_are_pinned_beside_the_others():
    cuda = locked("torch-cuda.lock")
    assert f"torch=={PINNED['torch']} " in (ROOT / "torch-cuda.lock").read_text().splitlines()[0]
    assert not set(cuda) & set(LOCK)
    assert {"nvidia-cudnn-cu13", "nvidia-cublas", "triton"} <= set(cuda)


def test_setup_installs_nothing_that_the_lock_does_not_name():
    lines = make_says("setup", "TORCH=cpu").splitlines()
    installs = [part for line in lines for part in re.split(r"\|\||&&|;", line) if "pip install" in part]
    assert len(installs) == 6
    *locked_ones, ours = installs
    assert all("--require-hashes --no-deps" in part for part in locked_ones)
    assert ours.split()[-5:] == ["-qq", "--no-deps", "--no-build-isolation", "--editable", "."]


def test_every_declared_range_holds_the_pinned_version():
    for requirement in declared(*EXTRAS):
        pinned = PINNED[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pinned), f"{requirement} but {pinned} is pinned"


def closure() -> set[str]:
    """Names of all installed distributions that the declared ones need here."""
    waiting, found = declared(*EXTRAS), set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker and not any(
            requirement.marker.evaluate({"extra": extra}) for extra in ("", *requirement.extras)
        ):
            continue
        if name in found:
            continue
        found.add(name)
        extras = requirement.extras or {""}
        for line in requires(name) or []:
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                needed.marker = None
                waiting.append(needed)
    return found


def test_the_lock_is_what_the_declared_packages_need_and_what_is_installed():
    try:
        needed = closure()
    except PackageNotFoundError as missing:
        pytest.fail(f"{missing} is not installed: make setup")
    assert set(PINNED) == needed | BESIDE, "make lock writes it anew"
    differing = {name: version(name) for name in needed if version(name).partition("+")[0] != PINNED[name]}
    assert differing == {}
