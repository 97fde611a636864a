"""Which detector a command means: one of the platform's by its id, a folder, or a container image.

Imported by the commands that start one detector.
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final

from backend.catalog.cards import card_of_label, read_card
from backend.catalog.detectors import card_errors, find_cards
from backend.workers.runner import docker_runner
from backend.workers.spec import WorkerSpec, detector_spec
from base_detector import Card
from shared.errors import UserError
from shared.settings import Settings

#: The label under which docker/images.py puts the card on an image.
CARD_LABEL: Final = "org.deepfake-o-meter.card"


def asked_for(what: str, settings: Settings) -> tuple[Card, WorkerSpec, Settings]:
    """The card of a folder, an id or an image, the worker to start, and the settings to start it with."""
    folder = Path(what)
    if (folder / "detector.toml").is_file():
        with card_errors():
            card = read_card(folder.resolve())
        if card.folder.parent != settings.detectors.resolve():
            raise UserError(
                "bad_name",
                f"Put the folder below {settings.detectors} (or set DFOM_DETECTORS), or name its image, PREFIX/{card.id}.",
            )
        return card, detector_spec(card, settings), settings
    if "/" not in what:
        card = find_cards(settings.detectors).named(what)
        return card, detector_spec(card, settings), settings
    card = _card_of_image(what)
    spec = replace(detector_spec(card, settings), image=what, bundled=False)
    return card, spec, settings.model_copy(update={"runner": "docker"})


def _card_of_image(image: str) -> Card:
    """The card in the label of an image."""
    with closing(docker_runner(threads=1)) as runner:
        label = runner.image_label(image, CARD_LABEL)
    if label is None:
        raise UserError("bad_card", f"{image} carries no card (label {CARD_LABEL}): docker/build.py writes it.")
    try:
        untrusted = json.loads(label)
    except (ValueError, RecursionError):
        raise UserError("bad_card", f"The card on {image} is not valid JSON: build the image again.") from None
    with card_errors():
        return card_of_label(untrusted, folder=Path.cwd() / image.rpartition("/")[2])
