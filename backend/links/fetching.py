"""Gets the clip of a page: one container for it, one way out of that, limits on size and time. Imported by the pipeline.

Promises: the container is thrown away afterwards; its answer and its file are untrusted; the file's name is ours.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from backend.harvest.untrusted import harvest_file
from backend.links.egress import Egress
from backend.workers.spec import LINKS_MODULE, WorkerSpec
from backend.workers.worker import Worker
from shared.digest import sha256_of
from shared.errors import PermanentError
from shared.links import SITES
from shared.settings import Settings

MEMORY_MB: Final = 1536
#: What pages, scripts and lists may add to the bytes of the clip.
PAGES_BYTES: Final = 100_000_000

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class FetchedClip:
    """The clip of a page: ``file``, its sha256 and bytes, and a name made of site and number."""

    file: Path
    sha256: str
    bytes: int
    name: str


def links_spec(settings: Settings) -> WorkerSpec:
    """The worker of links: in a container or not at all, and gone after one clip."""
    return WorkerSpec(
        name="links",
        module=LINKS_MODULE,
        weights=None,
        image=f"{settings.image_prefix}/links",
        memory_mb=MEMORY_MB,
        bundled=False,
        output_mb=2 * settings.max_upload_mb + 10,
        once=True,
    )


def fetch_clip(
    worker: Worker,
    url: str,
    site: str,
    target: Path,
    *,
    name: str,
    settings: Settings,
    egress: Callable[..., Egress] = Egress,
    on_progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> FetchedClip:
    """Store the clip of the page ``url`` of ``site`` (a name of ``shared.links``) as ``target``. ``name`` is that of the room.

    Raises WorkerError (``link_...`` codes among them) or PermanentError.
    """
    limit = settings.max_upload_mb * 1_000_000
    with (
        worker.room(name) as room,
        egress(
            room.out.parent / "way",
            most_bytes=2 * limit + PAGES_BYTES,
            timeout_s=settings.link_timeout_s,
            allow_private=settings.url_allow_private,
        ),
    ):
        room.link(certificates(), "certificates.pem")
        answer = worker.call(
            "fetch",
            timeout_s=settings.link_timeout_s,
            on_progress=on_progress,
            cancelled=cancelled,
            url=url,
            extractors=list(SITES[site].extractors),
            limit=limit,
            socket=room.path("way"),
            certificates=room.path("certificates.pem"),
            out=room.path("out"),
        )
        untrusted_file = answer.get("file")
        if not isinstance(untrusted_file, str) or not re.fullmatch(r"[a-z]{1,10}\.[A-Za-z0-9]{1,8}", untrusted_file):
            raise PermanentError("link_failed")
        harvest_file(room.out, untrusted_file, target, max_bytes=limit)
    return FetchedClip(target, sha256_of(target), target.stat().st_size, _shown(site, answer, untrusted_file))


def certificates() -> Path:
    """The bundle of certificate authorities that this machine trusts; PermanentError(link_failed) where there is none."""
    paths = ssl.get_default_verify_paths()
    for place in (
        paths.cafile,
        "/etc/ssl/certs/ca-certificates.crt",
    ):  # the first is that of SSL_CERT_FILE, where it is set
        if place and Path(place).is_file():
            return Path(place).resolve()
    raise PermanentError("link_failed")


def _shown(site: str, answer: dict[str, Any], file: str) -> str:
    """A name for the file: its site and the number it has there."""
    number = re.sub(r"[^A-Za-z0-9_-]", "", str(answer.get("id", "")))[:60] or "clip"
    return f"{site}_{number}.{file.rsplit('.', 1)[1].lower()}"
