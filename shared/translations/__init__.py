"""The catalogues, and the command that brings them up to date with the texts of pages, scripts and modules: ``make translations``.

Owns which files have texts and how these are found: ``_``, ``ngettext`` and ``pgettext`` in Python and scripts, ``{% trans %}`` and ``_``
in templates, and all strings inside ``marked(...)``. Promises: running it twice changes nothing; a translation is never guessed, so a new
or changed text is empty (and shown in English) until somebody translates it. Imported by this command and its tests only.
"""

from __future__ import annotations

import ast
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract
from babel.messages.pofile import read_po, write_po

from shared.languages import CATALOGUES

ROOT: Final = Path(__file__).resolve().parents[2]
_FUNCTIONS: Final = {name: DEFAULT_KEYWORDS[name] for name in ("_", "gettext", "ngettext", "pgettext")}
#: Functions of ours that translate an argument, and which one.
_OURS: Final[dict[str, Any]] = {"Variant": (2,), "_refused": None, "_unreachable": None}
KEYWORDS: Final = _FUNCTIONS | _OURS
#: The operator's page stays English.
ENGLISH_ONLY: Final = ("frontend/templates/operator/page", "frontend/templates/operator/open", "frontend/operator")

_SCRIPTS: Final = {"encoding": "utf-8", "template_string": "false"}
_TEMPLATES: Final = {"trimmed": "true", "newstyle_gettext": "true", "silent": "false", "encoding": "utf-8"}


def python_texts(file: IO[bytes], keywords: Any, tags: Any, options: Any) -> Iterator[Any]:
    """The marked texts of a module, those inside f-strings as well: in calls, in tables inside ``marked``, and titles of errors."""
    tree = ast.parse(file.read())
    tables = {target.id: value for node in tree.body for target, value in _targets(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if name == "marked":
                for argument in node.args:
                    table = tables[argument.id] if isinstance(argument, ast.Name) else argument
                    yield from ((line, "_", text, []) for line, text in _strings(table))
            elif name in KEYWORDS:
                yield from _of_call(node, name, KEYWORDS[name] or (1,))
        if isinstance(node, ast.keyword) and node.arg == "title":  # of an error: UserError and answer() translate it
            yield from ((line, "_", text, []) for line, text in _strings(node.value))


def _of_call(node: ast.Call, name: str, places: tuple[Any, ...]) -> Iterator[Any]:
    """The texts of one call, as Babel wants them: all arguments up to the last one that is a text."""
    count = max(place[0] if isinstance(place, tuple) else place for place in places)
    texts = [one.value if isinstance(one, ast.Constant) and isinstance(one.value, str) else None for one in node.args]
    if len(texts) >= count and any(texts[:count]):
        yield node.lineno, name, tuple(texts[:count]) if count > 1 else texts[0], []


def _targets(node: ast.stmt) -> Iterator[tuple[ast.Name, ast.AST]]:
    """The names that a statement of a module gives a value, with it."""
    if isinstance(node, ast.AnnAssign) and node.value is not None and isinstance(node.target, ast.Name):
        yield node.target, node.value
    elif isinstance(node, ast.Assign):
        yield from ((target, node.value) for target in node.targets if isinstance(target, ast.Name))


def _strings(node: ast.AST) -> Iterator[tuple[int, str]]:
    """The strings below a node in their order, without keys of dictionaries and without names such as ``points_to_fake``."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
        yield node.lineno, node.value
    elif isinstance(node, ast.Dict):
        for value in node.values:
            yield from _strings(value)
    elif not isinstance(node, ast.JoinedStr | ast.Subscript | ast.Compare):
        for child in ast.iter_child_nodes(node):
            yield from _strings(child)


def template(root: Path = ROOT) -> Catalog:
    """All texts of the checkout with the files that they are in."""
    found = Catalog(project="DeepFake-o-meter", charset="utf-8")
    for path in sorted(_files(root)):
        name = path.relative_to(root).as_posix()
        method, options = _reader(path)
        with path.open("rb") as file:
            for _line, text, comments, context in extract(method, file, KEYWORDS, ("translators:",), options):
                found.add(text, None, [(name, 1)], auto_comments=comments, context=context)
    return found


def _files(root: Path) -> Iterator[Path]:
    for folder in ("frontend", "shared"):
        for path in (root / folder).rglob("*"):
            name = path.relative_to(root).as_posix()
            if path.suffix in (".py", ".html", ".txt", ".js") and not name.startswith(ENGLISH_ONLY):
                yield path


def _reader(path: Path) -> tuple[Any, dict[str, str]]:
    if path.suffix == ".py":
        return python_texts, {"encoding": "utf-8"}
    if path.suffix == ".js":
        return "javascript", _SCRIPTS
    return "jinja2", _TEMPLATES


def updated(code: str, texts: Catalog) -> bytes:
    """The catalogue of a language with exactly the texts that there are, as its file is to be; empty translations are missing ones."""
    path = path_of(code)
    if path.is_file():
        with path.open("rb") as file:
            known = read_po(file, locale=code)
    else:
        known = Catalog(locale=code, project=texts.project, charset="utf-8")
    known.update(texts, no_fuzzy_matching=True, update_header_comment=False, update_creation_date=False)
    written = io.BytesIO()
    write_po(written, known, width=100, sort_output=True, ignore_obsolete=True, no_location=True)
    return written.getvalue()


def path_of(code: str) -> Path:
    """The file of a language."""
    return CATALOGUES / code / "LC_MESSAGES" / "messages.po"


def missing(code: str) -> list[str]:
    """The texts that have no translation, or one that nobody confirmed (fuzzy)."""
    with path_of(code).open("rb") as file:
        known = read_po(file, locale=code)
    return [str(item.id) for item in known if item.id and (item.fuzzy or not _whole(item.string))]


def _whole(translation: Any) -> bool:
    return all(translation) if isinstance(translation, (tuple, list)) else bool(translation)


def script_texts(root: Path = ROOT) -> list[str | tuple[str, str]]:
    """The texts of our scripts, which the browser gets with the page; with both forms where they have a number."""
    method, options = "javascript", _SCRIPTS
    found: dict[str | tuple[str, str], None] = {}
    for path in sorted((root / "frontend" / "static").glob("*.js")):
        with path.open("rb") as file:
            found.update((text, None) for _, text, _, _ in extract(method, file, KEYWORDS, (), options))  # type: ignore[misc]
    return list(found)
