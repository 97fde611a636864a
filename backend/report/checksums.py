"""The files of a report and their checksums.

Owns which files count: ``result.json`` lists them, and the portal hands out and zips what it lists. May be imported by ``backend.report``.
"""

from __future__ import annotations

from pathlib import Path

from shared import durable
from shared.digest import sha256_of


def report_files(folder: Path) -> list[str]:
    """Names of all regular files of a report, relative, sorted; nothing that is still in the making (dot-names)."""
    return sorted(name.as_posix() for name in durable.files_below(folder))


def checksums(folder: Path) -> dict[str, str]:
    """File -> sha256 of all files of a report except ``result.json``, which holds this list."""
    return {name: sha256_of(folder / name) for name in report_files(folder) if name != "result.json"}
