"""What can become of a record, for tests: each damage takes a path, whole or not there, and leaves something else in its place."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

Damage = Callable[[Path], None]


def clear(path: Path) -> None:
    """Make room under this name."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def replaced_by(content: bytes) -> Damage:
    """Other content."""

    def damage(path: Path) -> None:
        clear(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    return damage


def _cut(path: Path) -> None:
    content = path.read_bytes() if path.is_file() else b'{"schema_version": 1, "id": "abc"}'
    replaced_by(content[: len(content) // 2])(path)


def _members(path: Path) -> dict[str, Any]:
    """The members of a record; none when it is not an object."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _other_schema(path: Path) -> None:
    content = _members(path)
    replaced_by(json.dumps(content | {"schema" if "schema" in content else "schema_version": 99}).encode())(path)


def _duplicate_keys(path: Path) -> None:
    """Every member twice, the second time as null: parsers that keep the last one would read another record."""
    content = _members(path) or {"schema_version": 1}
    members = [f"{json.dumps(name)}: {json.dumps(value)}, {json.dumps(name)}: null" for name, value in content.items()]
    replaced_by(f"{{{', '.join(members)}}}".encode())(path)


def _nan(path: Path) -> None:
    """A number becomes NaN, or one is added."""
    content = _members(path)
    names = [name for name, value in content.items() if isinstance(value, int | float) and name != "schema_version"]
    replaced_by(json.dumps(content | {names[0] if names else "extra": float("nan")}).encode())(path)


def _fifo(path: Path) -> None:
    clear(path)
    os.mkfifo(path)


def _socket(path: Path) -> None:
    clear(path)
    here = os.getcwd()
    os.chdir(path.parent)  # the address of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


def _link_to_itself(path: Path) -> None:
    clear(path)
    path.symlink_to(path.name)


def _link_outside(path: Path) -> None:
    clear(path)
    path.symlink_to("/etc/passwd")


def _directory(path: Path) -> None:
    clear(path)
    (path / "inside").mkdir(parents=True)


#: Every damage by its name.
DAMAGES: dict[str, Damage] = {
    "cut in half": _cut,
    "empty": replaced_by(b""),
    "null": replaced_by(b"null"),
    "list": replaced_by(b"[]"),
    "object": replaced_by(b"{}"),
    "text": replaced_by(b'"text"'),
    "other schema": _other_schema,
    "10 MB": replaced_by(b'{"a": "' + b"x" * 10_000_000 + b'"}'),
    "deep": replaced_by(b"[" * 100_000),
    "not UTF-8": replaced_by(b'{"id": "\xff\xfe"}'),
    "NaN": _nan,
    "duplicate keys": _duplicate_keys,
    "FIFO": _fifo,
    "socket": _socket,
    "link to itself": _link_to_itself,
    "link to /etc/passwd": _link_outside,
    "directory": _directory,
}
