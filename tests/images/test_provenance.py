"""Content credentials are read inside the media worker's container, with its short list of system calls and its limits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backend.media.limits import MediaLimits
from shared.settings import Settings
from tests.media.credentials import Authority, flipped, sign

pytestmark = pytest.mark.docker


@pytest.mark.parametrize("changed", [False, True])
def test_the_container_reads_credentials(
    serving: Callable[..., Any], tmp_path: Path, astronaut: np.ndarray, changed: bool
) -> None:
    plain = tmp_path / "plain.jpg"
    Image.fromarray(astronaut).save(plain, quality=90)
    signed = sign(plain, tmp_path / "signed.jpg", Authority())
    media = serving("media")
    shutil.copy(flipped(signed, tmp_path / "flipped.jpg", at=-3000) if changed else signed, media.exchange / "media")
    (media.exchange / "out").mkdir()
    (media.exchange / "out").chmod(0o777)
    answer = media.ask(
        verb="extract",
        media="media",
        pack="out/pack",
        samplings=["fps:1"],
        mode="quick",
        origin=["credentials"],
        context=2.0,
        limits=asdict(MediaLimits.of(Settings())),
    )
    assert answer["status"] == "ok", answer
    pack = json.loads((media.exchange / "out" / "pack" / "pack.json").read_text())
    credentials = pack["origin"]["credentials"]
    assert credentials["state"] == ("invalid" if changed else "intact"), credentials
