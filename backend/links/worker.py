"""The worker of links: ``python -m backend.links.worker --serve EXCHANGE`` (docs/links.md). One container for one clip.

Owns the verbs ``load`` and ``fetch``. It has no network: every connection goes through a socket of the back-end, which checks where it
leads (``backend.links.egress``). What it answers and writes is untrusted. Not imported by other modules.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from backend.links.options import PICTURES, SOUND, options
from base_detector import WorkerFailure, serve_worker

Progress = Callable[[int, int], None]

#: Words of yt-dlp's errors -> the code that says it to a visitor. The first that fits counts.
WORDS: Final = (
    (r"No suitable extractor|Unsupported URL", "link_unsupported"),
    (r"larger than max-filesize", "link_too_large"),
    (r"[Pp]rivate|log ?in|[Ss]ign in|members|account|cookies|age.restrict|confirm your age", "link_needs_login"),
    (r"not available in your (country|location)|geo.?restrict", "link_not_here"),
    (r"DRM", "link_protected"),
    (r"No video|no video|There's no video|No media|Requested format is not available", "link_without_clip"),
)


def load(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Import yt-dlp."""
    import yt_dlp  # noqa: F401

    return {}


def fetch(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Get the clip of a page: ``{url, extractors, limit, socket, certificates, out}`` -> ``{file, site, id}``; the file is in ``out``.

    WorkerFailure: a code of ``WORDS``, ``link_live``, ``link_failed``.
    """
    try:
        url, limit, out = str(request["url"]), int(request["limit"]), Path(request["out"])
        extractors = tuple(map(str, request["extractors"]))
        os.putenv("SSL_CERT_FILE", str(Path(request["certificates"]).absolute()))  # OpenSSL reads it
        _connect_through(Path(request["socket"]).absolute())
    except (KeyError, TypeError, ValueError):
        raise WorkerFailure("bad_request") from None
    chosen = _download(url, extractors, out / "clip", limit, PICTURES, progress)
    name = _only_file(out, "clip")
    if chosen.get("acodec") == "none" and chosen.get("vcodec") != "none":
        name = _with_sound(url, extractors, out, name, limit - (out / name).stat().st_size)
    kept = {key: str(chosen.get(key) or "")[:100] for key in ("extractor", "id")}
    return {"file": name, "site": kept["extractor"], "id": kept["id"]}


def _download(
    url: str, extractors: tuple[str, ...], target: Path, limit: int, what: str, progress: Progress
) -> dict[str, Any]:
    """yt-dlp's description of what it chose and stored as ``target`` with a suffix."""
    from yt_dlp import YoutubeDL
    from yt_dlp.globals import plugin_dirs
    from yt_dlp.utils import DownloadCancelled, YoutubeDLError

    plugin_dirs.value = []

    def told(state: dict[str, Any]) -> None:
        done, total = (
            state.get("downloaded_bytes") or 0,
            state.get("total_bytes") or state.get("total_bytes_estimate") or 0,
        )
        if done > limit:
            raise DownloadCancelled("larger than max-filesize")
        progress(int(done), int(max(done, total)))

    def allowed(info: dict[str, Any], *, incomplete: bool = False) -> str | None:
        if info.get("is_live") or info.get("live_status") in ("is_live", "is_upcoming", "post_live"):
            raise DownloadCancelled("live")
        return None

    words = _Silent()
    ours = {"logger": words, "progress_hooks": [told], "match_filter": allowed}
    try:
        with YoutubeDL(options(extractors=extractors, target=str(target), limit=limit, what=what) | ours) as loader:
            info = loader.extract_info(url)
            if info and info.get("_type") == "playlist":
                info = next(iter(info.get("entries") or []), None)
    except DownloadCancelled as stop:
        raise WorkerFailure("link_live" if str(stop) == "live" else "link_too_large") from None
    except YoutubeDLError as error:
        raise WorkerFailure(code_of(str(error))) from None
    if not info:
        raise WorkerFailure("link_without_clip")
    if not list(target.parent.glob(f"{target.name}.*")):
        raise WorkerFailure("link_too_large" if words.too_large else "link_failed")
    return dict(info)


def code_of(untrusted_words: str) -> str:
    """The code for what yt-dlp says."""
    return next((code for words, code in WORDS if re.search(words, untrusted_words)), "link_failed")


def _only_file(out: Path, stem: str) -> str:
    found = sorted(path.name for path in out.glob(f"{stem}.*") if path.is_file())
    if len(found) != 1:
        raise WorkerFailure("link_failed")
    return found[0]


def _with_sound(url: str, extractors: tuple[str, ...], out: Path, pictures: str, left: int) -> str:
    """Fetch the sound as well and put both into one file, packet by packet; ``pictures`` alone when the page has no sound."""
    try:
        _download(url, extractors, out / "sound", max(1, left), SOUND, lambda done, total: None)
        return _joined(out, pictures, _only_file(out, "sound"))
    except WorkerFailure as failure:
        if failure.code not in ("link_without_clip", "link_failed"):
            raise
        return pictures


def _joined(out: Path, pictures: str, sound: str) -> str:
    """``joined.mkv`` (Matroska takes every codec) with the packets of both files; neither is decoded."""
    import av

    with (
        av.open(str(out / pictures)) as first,
        av.open(str(out / sound)) as second,
        av.open(str(out / "joined.mkv"), "w", format="matroska") as joined,
    ):
        sources = [(first, first.streams.video[0]), (second, second.streams.audio[0])]
        targets = {id(stream): joined.add_stream_from_template(stream) for _, stream in sources}
        waiting = [(container.demux(stream), targets[id(stream)]) for container, stream in sources]
        heads = [next(packets, None) for packets, _ in waiting]
        while any(head is not None for head in heads):
            turn = min((float((h.dts or 0) * h.time_base), i) for i, h in enumerate(heads) if h is not None)[1]
            packet = heads[turn]
            assert packet is not None
            if packet.dts is not None:
                packet.stream = waiting[turn][1]
                joined.mux(packet)
            heads[turn] = next(waiting[turn][0], None)
    for name in (pictures, sound):
        (out / name).unlink()
    return "joined.mkv"


class _Silent:
    """yt-dlp's log: nothing of it is kept, since it has addresses and titles, but that a file was too large is said nowhere else."""

    too_large = False

    def debug(self, words: str) -> None:
        """Listen for that."""
        self.too_large = self.too_large or "larger than max-filesize" in words

    info = warning = error = debug


# --------------------------------------------------------------------------- the way out


class _Way(socket.socket):
    """A unix socket that takes what is meant for TCP."""

    def setsockopt(self, level: int, *rest: Any) -> None:
        """``http.client`` turns off Nagle's algorithm, which there is none of here."""
        if level != socket.IPPROTO_TCP:
            super().setsockopt(level, *rest)


def _connect_through(egress: Path) -> None:
    """Let yt-dlp's one way of making connections end at the back-end's socket. Other ways do not exist here: there is no network."""
    from yt_dlp.networking import _urllib, common

    def connect(address: tuple[str, int], timeout: Any = None, source_address: Any = None, **_: Any) -> socket.socket:
        way = _Way(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            way.settimeout(timeout if isinstance(timeout, int | float) else None)
            way.connect(str(egress))
            way.sendall(json.dumps({"host": address[0], "port": address[1]}).encode() + b"\n")
            if _line(way) != b"open":
                raise OSError(f"{address[0]} is not reached from here")
        except BaseException:
            way.close()
            raise
        return way

    _urllib.create_connection = connect
    for name in [name for name, handler in common._REQUEST_HANDLERS.items() if handler is not _urllib.UrllibRH]:
        del common._REQUEST_HANDLERS[name]  # other packages of HTTP, which connect by themselves


def _line(way: socket.socket) -> bytes:
    found = b""
    while not found.endswith(b"\n") and len(found) < 100:
        piece = way.recv(1)
        if not piece:
            break
        found += piece
    return found.strip()


def main(argv: list[str] | None = None) -> int:
    """Serve until ``stop``."""
    parser = argparse.ArgumentParser(
        prog="backend.links.worker", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument(
        "--serve", type=Path, required=True, metavar="EXCHANGE", help="folder of the socket and of the job"
    )
    serve_worker({"load": load, "fetch": fetch}, parser.parse_args(argv).serve)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
