"""One folder of compiled networks for all sites and commands that the tests start: each network is made once, not by every test.

An entry is known by the digest of weights, code, versions and processor, and read only while its bytes are right (``detectors.kept``),
so a test that shares it runs the same networks as one that does not. What is about making and keeping networks shares nothing.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from detectors import kept
from shared.settings import Settings


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tests-compiled-"))
    folder.chmod(0o755)  # containers' workers are another user
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@pytest.fixture(scope="module")
def kept_here() -> Iterator[None]:
    """Detectors that a module loads in this process find networks that another module made, and keep theirs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(kept.VARIABLE, str(_folder() / "here"))
        yield


def share_compiled(data: Path) -> None:
    """Let the site with its data in ``data`` keep its compiled networks where those before it did."""
    place = Settings(data=data).compiled_folder
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        place.symlink_to(_folder(), target_is_directory=True)
