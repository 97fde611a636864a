"""The media worker: ``python -m backend.media.worker --serve EXCHANGE`` (docs/worker_protocol.md).

Owns the verbs ``load``, ``extract``, ``render``, ``corrupt`` and ``vary``. The only process that opens submitted bytes; the networks stay
loaded between jobs. Not imported by other modules.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from backend.media.limits import MediaLimits
from base_detector import Verb, WorkerFailure, serve_worker

Progress = Callable[[int, int], None]


def load(request: dict[str, Any], progress: Progress, *, device: str = "cpu") -> dict[str, Any]:
    """Load the networks of faces and speech and all modules of both verbs now instead of with the first job."""
    import backend.media.render  # noqa: F401  PyAV, OpenCV and what draws
    from backend.media.extract import warm_detector
    from backend.media.speech import warm_network

    warm_detector(device)
    warm_network()
    return {}


def extract(request: dict[str, Any], progress: Progress, *, device: str = "cpu") -> dict[str, Any]:
    """Run the media pass; answers ``faces``, ``frames`` and ``seconds``. What the request does not ask for is not written."""
    from backend.media.extract import extract_pack, warm_detector

    media, pack = _paths(request, "media", "pack")
    limits = MediaLimits.from_request(request.pop("limits", None))
    anchors = _paths(request, "anchors")[0] if request.get("anchors") else None
    finder = warm_detector(device) if device != "cpu" and request.get("samplings") else None
    request.pop("anchors", None)
    return _ask(
        extract_pack, media, pack, **request, anchors=anchors, limits=limits, progress=progress, detector=finder
    )


def render(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Draw the result video; answers what ``backend.media.render.render`` returns."""
    from backend.media.render import render as draw

    media, plan, out = _paths(request, "media", "plan", "out")
    limits = MediaLimits.from_request(request.pop("limits", None))
    return _ask(draw, media, plan, out, **request, limits=limits, progress=progress)


def corrupt(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Write a damaged copy of a file; answers what ``backend.media.corrupt.corrupt`` returns."""
    from backend.media.corrupt import corrupt as damage

    media, out = _paths(request, "media", "out")
    limits = MediaLimits.from_request(request.pop("limits", None))
    return _ask(damage, media, out, **request, limits=limits, progress=progress)


def vary(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Write the pixels of a small pack after mild changes; answers what ``backend.media.vary.vary`` returns."""
    from backend.media.vary import vary as change

    pack, out = _paths(request, "pack", "out")
    limits = MediaLimits.from_request(request.pop("limits", None))
    return _ask(change, pack, out, **request, limits=limits, progress=progress)


def verbs(device: str) -> dict[str, Verb]:
    """What the worker answers to; faces are found on ``device``."""
    found = {"load": partial(load, device=device), "extract": partial(extract, device=device)}
    return {**found, "render": render, "corrupt": corrupt, "vary": vary}


def main(argv: list[str] | None = None) -> int:
    """Serve until ``stop``."""
    parser = argparse.ArgumentParser(
        prog="backend.media.worker", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument(
        "--serve", type=Path, required=True, metavar="EXCHANGE", help="folder of the socket and of the jobs"
    )
    parser.add_argument("--device", default="cpu", help="where faces are found: cpu (default) or cuda:N")
    asked = parser.parse_args(argv)
    serve_worker(verbs(asked.device), asked.serve)
    return 0


def _paths(request: dict[str, Any], *names: str) -> list[Path]:
    """Take the paths out of a request; WorkerFailure(``bad_request``) when one is missing."""
    try:
        return [Path(request.pop(name)) for name in names]
    except (KeyError, TypeError):
        raise WorkerFailure("bad_request") from None


def _ask(verb: Callable[..., dict[str, Any]], *paths: Path, **members: Any) -> dict[str, Any]:
    """Call ``verb``; unknown or missing members are the caller's mistake."""
    try:
        inspect.signature(verb).bind(*paths, **members)
    except TypeError:
        raise WorkerFailure("bad_request") from None
    return verb(*paths, **members)


if __name__ == "__main__":
    raise SystemExit(main())
