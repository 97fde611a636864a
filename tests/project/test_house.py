"""The house: what is at the top of the back-end, how long a module may be, who renames files, and no import hidden in a string."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: folders and files of the program itself
PROGRAM = ("shared", "frontend", "backend", "detectors", "docker", "base_detector.py", "deepfake_o_meter.py")

MOST_LINES = 600

MOST_LINES_OF_A_FUNCTION = 50
#: a flat table of flags with the reason beside each
LONG_FUNCTIONS = {"backend/workers/container_flags.py: container_options"}


def tracked(*below: str) -> list[Path]:
    """The Python modules that belong to the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *below],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    return [ROOT / name for name in listed if name.endswith(".py") and (ROOT / name).is_file()]


def calls(path: Path) -> Iterator[tuple[int, str, ast.Call]]:
    """(line, what is called, the call) of every call in ``path``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func), node


def imports_by_string(path: Path) -> list[int]:
    """Lines on which ``path`` imports a module whose name is written there as a text."""
    return [
        line
        for line, name, call in calls(path)
        if name.rpartition(".")[2] in ("import_module", "__import__")
        and call.args
        and isinstance(call.args[0], ast.Constant)
    ]


def renames(path: Path) -> list[int]:
    """Lines on which ``path`` gives a file or folder another name.

    ``replace`` is also a method of texts, times and records: theirs take two arguments, or named ones.
    """
    found = []
    for line, name, call in calls(path):
        owner, _, verb = name.rpartition(".")
        single = len(call.args) == 1 and not call.keywords
        if (
            (owner == "os" and verb in ("rename", "renames", "replace"))
            or (owner == "shutil" and verb == "move")
            or (owner and verb == "rename" and single)
            or (owner and verb == "replace" and single and not owner.endswith("logbook"))
        ):
            found.append(line)
    return found


def test_four_modules_are_at_the_top_of_the_back_end():
    assert {path.name for path in (ROOT / "backend").glob("*.py")} == {
        "__init__.py", "board.py", "job.py", "pipeline.py", "rejudging.py",
    }  # fmt: skip


def test_every_room_of_the_back_end_has_its_tests():
    rooms = {path.parent.name for path in (ROOT / "backend").glob("*/__init__.py")}
    assert {"commands", "dispatch", "workers", "media"} <= rooms
    untested = {room for room in rooms if not list((ROOT / "tests" / room).glob("test_*.py"))}
    assert untested == set()


def test_no_module_is_longer_than_600_lines():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in tracked()}
    assert len(lengths) > 300
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def test_no_function_of_the_program_is_longer_than_50_lines():
    long = {
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in tracked(*PROGRAM)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno >= MOST_LINES_OF_A_FUNCTION
    }
    assert long == LONG_FUNCTIONS


def test_no_import_is_hidden_in_a_string():
    hidden = {str(path.relative_to(ROOT)): imports_by_string(path) for path in tracked(*PROGRAM)}
    assert {name: lines for name, lines in hidden.items() if lines} == {}


def test_only_store_and_durable_rename_files():
    """Not asked of the contract, detectors and image builds: they may not import ``shared``, and write to folders of their own."""
    paths = tracked("shared", "frontend", "backend", "deepfake_o_meter.py")
    found = {str(path.relative_to(ROOT)): renames(path) for path in paths}
    assert found.pop("shared/durable.py")
    found.pop("shared/store.py")
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("importlib.import_module('backend.media')", imports_by_string),
        ("__import__('backend.media')", imports_by_string),
        ("os.replace(a, b)", renames),
        ("os.rename(a, b)", renames),
        ("shutil.move(a, b)", renames),
        ("path.replace(target)", renames),
        ("(folder / 'a').rename(target)", renames),
    ],
)
def test_the_rules_see_what_they_forbid(tmp_path: Path, line: str, what):
    (tmp_path / "module.py").write_text(f"import os\n{line}\n")
    assert what(tmp_path / "module.py") == [2]


@pytest.mark.parametrize(
    "line",
    ["importlib.import_module(name)", "text.replace('a', 'b')", "replace(record, state='x')", "now.replace(hour=1)"],
)
def test_the_rules_do_not_see_more(tmp_path: Path, line: str):
    (tmp_path / "module.py").write_text(line)
    assert (imports_by_string(tmp_path / "module.py"), renames(tmp_path / "module.py")) == ([], [])
