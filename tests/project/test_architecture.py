"""The map of the code is true: what docs/architecture.md names exists, and its floors are those of the linter."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
QUESTIONS = re.findall(r"^\| ([^|]+\?) \| `([^`]+)` \| `(\w+)` \|$", TEXT, re.MULTILINE)


@pytest.mark.parametrize(("question", "file", "name"), QUESTIONS, ids=[question for question, _, _ in QUESTIONS])
def test_the_answer_is_where_the_map_says(question: str, file: str, name: str):
    nodes = list(ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))))
    defined = {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    defined |= {ast.unparse(node.target) for node in nodes if isinstance(node, ast.AnnAssign)}
    assert name in defined


def test_the_map_answers_questions_of_every_chapter():
    assert len(QUESTIONS) > 20
    folders = {"/".join(file.split("/")[:-1]) for _, file, _ in QUESTIONS}
    rooms = {f"backend/{path.parent.name}" for path in (ROOT / "backend").glob("*/__init__.py")}
    assert rooms - folders <= {"backend/commands", "backend/weights"}
    assert {"frontend", "shared"} <= folders


def test_every_file_the_map_names_exists():
    named = set(re.findall(r"`((?:backend|frontend|shared|detectors|docs)/[\w/.]+)`", TEXT))
    assert len(named) > 30
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_the_floors_of_the_back_end_are_those_of_the_linter():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract.get("containers") == ["backend"])
    wanted = [sorted(re.findall(r"\w+", layer)) for layer in layers]
    table = TEXT.partition("| floor | room of `backend/`")[2].partition("\n\n")[0]
    shown: list[list[str]] = []
    for floor, room in re.findall(r"^\| (\d*) ?\| `(\w+)(?:/|\.py)` \|", table, re.MULTILINE):
        if floor:
            shown.append([])
        shown[-1].append(room)
    assert [sorted(rooms) for rooms in shown] == wanted
