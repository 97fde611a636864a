"""Every code that is raised has a sentence, is used, and is described in docs/errors.md as it is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from frontend.faults import WORDS
from frontend.server import REFUSALS
from frontend.viewer import PIN_CODES
from shared import errors
from shared.errors import SENTENCES, DfomError

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
SOURCES = [
    *ROOT.glob("*.py"),
    *(path for room in ("shared", "frontend", "backend", "detectors") for path in (ROOT / room).rglob("*.py")),
]
#: What a code is given to: our errors, and the ends of a job, by the name of the called function.
RAISED = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, DfomError)} | {
    "WorkerError",
    "NotApplicable",
    "WorkerFailure",
}
KEYWORD = {"answer", "Status", "_give_up"}


def _codes(path: Path) -> Iterator[tuple[str, str]]:
    """(code, place) of every constant code in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        given = node.args[:1] if name in RAISED or name == "__init__" else []
        given += [word.value for word in node.keywords if word.arg == "code" and name in KEYWORD]
        for value in given:
            if (
                isinstance(value, ast.Constant)
                and isinstance(value.value, str)
                and re.fullmatch("[a-z_]+", value.value)
            ):
                yield value.value, f"{path.relative_to(ROOT)}:{node.lineno}"


def test_every_raised_code_has_a_sentence() -> None:
    found = [item for path in SOURCES for item in _codes(path)]
    assert len({code for code, _ in found}) > 40
    missing = {code: place for code, place in found if code not in SENTENCES}
    missing |= {code: "a table" for code in {*REFUSALS.values(), *PIN_CODES} if code not in SENTENCES}
    assert missing == {}


def test_every_sentence_is_used() -> None:
    text = "\n".join(
        path.read_text(encoding="utf-8", errors="replace")
        for path in [*SOURCES, *(ROOT / "detectors").rglob("*.toml")]
        if path.name != "errors.py"
    )
    assert [code for code in SENTENCES if f'"{code}"' not in text] == []


def test_the_page_lists_every_code_with_its_sentence_and_what_to_do() -> None:
    part = re.search(r"<!-- codes: .*? -->\n(.*)\n<!-- end of codes -->", PAGE, re.DOTALL)
    assert part
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in part[1].splitlines()[2:]]
    assert all(len(row) == 4 for row in rows)
    assert [(code.strip("`"), sentence) for code, sentence, _, _ in rows] == list(SENTENCES.items())
    assert {who for _, _, who, _ in rows} == {"visitor", "operator", "author"}
    assert all(what.endswith(".") for *_, what in rows)


def test_the_page_names_what_remains_by_its_status() -> None:
    assert {int(status) for status in re.findall(r"`http_(\d+)`", PAGE)} == set(WORDS)


def test_sentences_are_whole_and_plain() -> None:
    for code, sentence in SENTENCES.items():
        assert sentence[0].isupper(), code
        assert sentence.endswith("."), code
        assert not re.search(r"\b(stands?|lies|told|nobody of us|by itself)\b", sentence), code
