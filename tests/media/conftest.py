"""What the media tests share: the warm face detector, and a way to run the pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("av")

from shared.findings import MediaPack
from shared.settings import Settings


@pytest.fixture
def run_pass(tmp_path: Path):
    """Run the media pass on a file; the read pack. Every picture is sampled unless told otherwise."""
    from backend.media.extract import extract_pack
    from backend.media.limits import MediaLimits

    def run(media: Path, *, name: str = "pack", samplings=("every_frame",), limits=None, **options) -> MediaPack:
        bounds = replace(MediaLimits.of(Settings()), **(limits or {}))
        extract_pack(media, tmp_path / name, samplings=samplings, limits=bounds, **options)
        return MediaPack(tmp_path / name)

    return run
