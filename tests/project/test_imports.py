"""The import rules that import-linter cannot hold: it knows packages, and two of our modules are single files."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = {"base_detector", "shared", "frontend", "backend", "detectors", "deepfake_o_meter"}
DETECTORS = sorted(path.parent.name for path in (ROOT / "detectors").glob("*/detector.py"))


def imported_by(path: Path) -> Iterator[str]:
    """Every module that ``path`` imports anywhere in it, as a full dotted name."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def test_the_contract_needs_numpy_and_the_standard_library_only():
    found = {name.partition(".")[0] for name in imported_by(ROOT / "base_detector.py")}
    found.discard("base_detector")  # itself, where it is run as __main__
    assert found - sys.stdlib_module_names == {"numpy", "__future__"} - sys.stdlib_module_names
    assert "json" in found  # the walk sees imports at all


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_imports_nothing_of_ours_but_contract_nets_probes_and_runtime(name: str):
    allowed = ("base_detector.", "detectors.nets.", "detectors.probes.", "detectors.runtime.", f"detectors.{name}.")
    for path in sorted((ROOT / "detectors" / name).rglob("*.py")):
        for module in imported_by(path):
            if module.partition(".")[0] in OURS:
                assert f"{module}.".startswith(allowed), f"{path.relative_to(ROOT)} imports {module}"


def test_every_folder_with_a_card_is_covered():
    assert sorted(path.parent.name for path in (ROOT / "detectors").glob("*/detector.toml")) == DETECTORS


def test_only_the_command_line_module_itself_knows_both_sides():
    for folder in ("shared", "frontend", "backend", "detectors"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            sides = {module.partition(".")[0] for module in imported_by(path)}
            assert "deepfake_o_meter" not in sides, path
            assert not {"frontend", "backend"} <= sides, path
