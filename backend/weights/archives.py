"""Takes one file out of a zip or tar.

Promises: the first bytes say what an archive is, not its name; only the bytes of the wanted member are used, whatever the paths and links
in the archive say, and never more than allowed; a damaged archive is deleted; errors say what to do. May be imported by
``backend.weights``.
"""

from __future__ import annotations

import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, Final

from backend.weights.part import MOST_BYTES
from shared.errors import UserError

_ARCHIVES: Final = (".zip", ".tar", ".tar.gz", ".tgz")
#: How a zip begins (a torch file, too); an empty one begins with the third.
_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")


def is_archive(address: str, file: str) -> bool:
    """Whether ``address`` leads to an archive that holds ``file``, by its name."""
    path = re.split("[?#]", address, maxsplit=1)[0].lower()
    return path.endswith(_ARCHIVES) and not file.lower().endswith(_ARCHIVES)


def unpack_member(archive: Path, member: str, target: IO[bytes], *, most: int = 0) -> None:
    """Write ``member`` to ``target``, at most ``most`` bytes; UserError when that is not possible.

    ``member`` is as for ``the_one``. An archive that cannot be read is deleted.
    """
    try:
        with archive.open("rb") as stream:
            begin = stream.read(4)
        # zipfile would look at the end, and a tar may end in a torch file, which is a zip
        if begin in _ZIP:
            with zipfile.ZipFile(archive) as opened:
                name = _named(member, [info.filename for info in opened.infolist() if not info.is_dir()], archive)
                with opened.open(name) as source:
                    _copy(source, target, most or MOST_BYTES, member)
            return
        with tarfile.open(archive) as opened_tar:
            names = {info.name: info for info in opened_tar if info.isreg()}
            taken = opened_tar.extractfile(names[_named(member, list(names), archive)])
            if taken:
                with taken:
                    _copy(taken, target, most or MOST_BYTES, member)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        archive.unlink(missing_ok=True)
        raise UserError(
            "weights_mismatch",
            f"What was downloaded to take {member} from is a damaged archive, or none ({error}); it was deleted. Fetch it again. If "
            "that does not help, the publisher has replaced it.",
        ) from None
    except (NotImplementedError, RuntimeError, ValueError) as error:  # zip: a password, an unknown compression
        raise UserError(
            "weights_mismatch", f"{member} cannot be taken out of the archive ({error}). {_by_hand(archive)}"
        ) from None


def the_one(member: str, names: Iterable[str]) -> list[str]:
    """Which of ``names`` (paths with /) are ``member``: a path, its end, a file's name, or a pattern of a name or a path.

    What macOS adds to archives for itself never counts (``__MACOSX/``, ``._name``).
    """
    paths = [name for name in names if not _of_macos(name)]
    return (
        [name for name in paths if name.removeprefix("./") == member]
        or [name for name in paths if name.endswith(f"/{member}")]
        or [name for name in paths if fnmatchcase(PurePosixPath(name).name, member)]
        or [name for name in paths if fnmatchcase(name, member)]
    )


def _of_macos(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or (bool(parts) and parts[-1].startswith("._"))


def _named(member: str, names: list[str], archive: Path) -> str:
    found = the_one(member, names)
    if len(found) != 1:
        content = ", ".join(sorted(name for name in names if not _of_macos(name))[:20]) or "nothing"
        fault = f"has more than one {member}" if found else f"does not have {member}"
        raise UserError("weights_mismatch", f"The archive {fault}; it has {content}. {_by_hand(archive)}")
    return found[0]


def _by_hand(archive: Path) -> str:
    return f"It is kept as {archive}: take the file out by hand and install it with 'deepfake-o-meter weights add'."


def _copy(source: IO[bytes], target: IO[bytes], most: int, member: str) -> None:
    have = 0
    while block := source.read(1 << 20):
        have += len(block)
        if have > most:
            raise UserError(
                "weights_mismatch", f"{member} in the archive is larger than {most} bytes, so it was not used."
            )
        target.write(block)
