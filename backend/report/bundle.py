"""``bundle.zip`` and the checksums of a report.

Owns which files go in and that the same report gives the same bytes. May be imported by ``backend.report``.
"""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from shared.digest import sha256_of

BUNDLE = "bundle.zip"
_PACKED_ALREADY = frozenset({".mp4", ".png", ".jpg"})
#: The earliest time a zip can hold, so that the bundle does not depend on when it was made.
_NO_TIME = (1980, 1, 1, 0, 0, 0)


def report_files(folder: Path) -> list[str]:
    """Names of all regular files of a report, relative, sorted, without ``bundle.zip``."""
    names = (
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()
    )
    return sorted(name for name in names if name != BUNDLE)


def checksums(folder: Path) -> dict[str, str]:
    """File -> sha256 of all files of a report except ``result.json``, which holds this list."""
    return {name: sha256_of(folder / name) for name in report_files(folder) if name != "result.json"}


def write_bundle(folder: Path) -> None:
    """Pack all files of a report into its ``bundle.zip``."""
    with zipfile.ZipFile(folder / BUNDLE, "w") as bundle:
        for name in report_files(folder):
            entry = zipfile.ZipInfo(name, _NO_TIME)
            entry.compress_type = zipfile.ZIP_STORED if Path(name).suffix in _PACKED_ALREADY else zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100644 << 16
            entry.create_system = 3  # Unix: the permission bits count
            entry.file_size = (folder / name).stat().st_size  # lets zipfile choose ZIP64 for large videos
            with (folder / name).open("rb") as source, bundle.open(entry, "w") as target:
                shutil.copyfileobj(source, target, 1 << 20)
