"""docs/promises.md names tests that exist and that continuous integration collects."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
#: Rows of the table that are no heading: promise, test, what is not proven.
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith(("| **", "| ---", "| Promise"))
]
#: Markers that the options in pyproject.toml leave out.
LEFT_OUT = {"slow", "gpu", "soak"}


def _markers(node: ast.AST) -> set[str]:
    """Names of the markers in an expression: pytest.mark.NAME."""
    return set(re.findall(r"\bmark\.(\w+)", ast.unparse(node)))


def _test_and_markers(file: Path, test: str) -> set[str] | None:
    """Markers of a test and of its module; None where the module defines no such test."""
    body = ast.parse(file.read_text(encoding="utf-8")).body
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name == test:
            of_module = [
                other
                for other in body
                if isinstance(other, ast.Assign) and ast.unparse(other.targets[0]) == "pytestmark"
            ]
            decorators = (
                ast.unparse(each) for each in node.decorator_list
            )  # a parameter's marker leaves out that one only
            own = {found[1] for each in decorators if (found := re.match(r"pytest\.mark\.(\w+)", each))}
            return own.union(*(_markers(each) for each in of_module))
    return None


def test_every_row_has_a_promise_and_one_test():
    assert len(ROWS) > 50
    assert [
        row for row in ROWS if len(row) != 3 or not row[0] or not re.fullmatch(r"`tests/[\w/]+\.py::test_\w+`", row[1])
    ] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:60])
def test_the_named_test_exists_and_is_collected(row: list[str]):
    file, test = row[1].strip("`").split("::")
    markers = _test_and_markers(ROOT / file, test)
    assert markers is not None, f"{file} defines no {test}"
    left_out = markers & LEFT_OUT
    assert not left_out or left_out & set(re.findall(r"\w+", row[2])), f"{test} is left out of CI: {left_out}"
