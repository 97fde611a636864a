"""Takes one file out of a zip or tar.

Promises: only the bytes of the wanted member are used, whatever the paths and links in the archive say, and never more than
allowed; a damaged archive is deleted; errors say what to do. May be imported by ``backend.weights``.
"""

from __future__ import annotations

import re
import tarfile
import zipfile
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, Final

from backend.weights.part import MOST_BYTES
from shared.errors import UserError

_ARCHIVES: Final = (".zip", ".tar", ".tar.gz", ".tgz")


def is_archive(address: str, file: str) -> bool:
    """Whether ``address`` leads to an archive that holds ``file``, by its name."""
    path = re.split("[?#]", address, maxsplit=1)[0].lower()
    return path.endswith(_ARCHIVES) and not file.lower().endswith(_ARCHIVES)


def unpack_member(archive: Path, member: str, target: IO[bytes], *, most: int = 0) -> None:
    """Write ``member`` to ``target``, at most ``most`` bytes; UserError when that is not possible.

    ``member`` is a path in the archive, or the name or a pattern of one file in it.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                name = _the_one(member, [info.filename for info in opened.infolist() if not info.is_dir()], archive)
                with opened.open(name) as source:
                    _copy(source, target, most or MOST_BYTES, member)
            return
        with tarfile.open(archive) as opened_tar:
            names = {info.name: info for info in opened_tar if info.isreg()}
            taken = opened_tar.extractfile(names[_the_one(member, list(names), archive)])
            if taken:
                with taken:
                    _copy(taken, target, most or MOST_BYTES, member)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        archive.unlink(missing_ok=True)
        raise UserError(
            "weights_mismatch", f"The archive with {member} is damaged ({error}); it was deleted. Fetch it again."
        ) from None


def _the_one(member: str, names: list[str], archive: Path) -> str:
    found = (
        [name for name in names if name.removeprefix("./") == member]
        or [name for name in names if name.endswith(f"/{member}")]
        or [name for name in names if fnmatchcase(PurePosixPath(name).name, member)]
    )
    if len(found) != 1:
        content = ", ".join(sorted(names)[:20]) or "nothing"
        fault = f"has more than one {member}" if found else f"does not have {member}"
        raise UserError(
            "weights_mismatch",
            f"The archive {fault}; it has {content}. It is kept as {archive}: take the file out by hand and install it with "
            "'deepfake-o-meter weights add'.",
        )
    return found[0]


def _copy(source: IO[bytes], target: IO[bytes], most: int, member: str) -> None:
    have = 0
    while block := source.read(1 << 20):
        have += len(block)
        if have > most:
            raise UserError(
                "weights_mismatch", f"{member} in the archive is larger than {most} bytes, so it was not used."
            )
        target.write(block)
