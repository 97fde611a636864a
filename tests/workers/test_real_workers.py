"""The detectors of the platform as workers: the same scores from a process and from a container."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.harvest.scores import harvest_scores
from backend.workers.pool import WorkerPool
from backend.workers.spec import WorkerError, detector_spec, media_spec
from base_detector import Card, NotApplicable
from shared.settings import Settings
from tests.workers.conftest import write_pack

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def card() -> Card:
    return Card.read(ROOT / "detectors" / "mesonet")


def scores_of(settings: Settings, card: Card, pack: Path) -> tuple[float, ...]:
    pool = WorkerPool(settings)
    try:
        with pool.lease(detector_spec(card, settings)) as worker, worker.room("job") as room:
            room.link(pack, "pack")
            worker.call("predict", timeout_s=120, pack=room.path("pack"), out=room.path("out"))
            return harvest_scores(room.out, card_id=card.id, units=4).fake_score
    finally:
        pool.close()


def test_missing_weights_are_named(tmp_path: Path, card: Card) -> None:
    settings = Settings(data=tmp_path, runner="process", hot=[])
    with pytest.raises(WorkerError, match="weights_missing") as caught:
        scores_of(settings, card, write_pack(tmp_path / "pack"))
    assert not caught.value.retryable


def test_a_pack_without_a_face_is_not_for_a_detector(tmp_path: Path, card: Card, weights_folder: Path) -> None:
    settings = Settings(data=tmp_path, runner="process", hot=[], weights=weights_folder)
    with pytest.raises(NotApplicable, match="no_face"):
        scores_of(settings, card, write_pack(tmp_path / "pack", faces=0))


@pytest.mark.docker
def test_a_container_gives_the_scores_of_a_process(
    tmp_path: Path, card: Card, weights_folder: Path, engine: Any, astronaut: np.ndarray
) -> None:
    pack = write_pack(tmp_path / "pack", side=128)
    # four cuts of a real face: noise drives every score to 0
    cuts = [astronaut[60 + 4 * i : 188 + 4 * i, 160:288] for i in range(4)]
    (pack / "crops.bin").write_bytes(b"".join(np.ascontiguousarray(cut).tobytes() for cut in cuts))
    settings = Settings(data=tmp_path, runner="docker", hot=[], weights=weights_folder)
    if not engine.images.list(detector_spec(card, settings).image):
        pytest.skip("deepfake-o-meter/mesonet is not built: 'make images'")
    in_container = scores_of(settings, card, pack)
    in_process = scores_of(settings.model_copy(update={"runner": "process"}), card, pack)
    assert in_container == pytest.approx(in_process, abs=1e-5)
    assert len(set(in_process)) == 4, "scores of four different faces"


def test_a_detector_elsewhere_is_a_third_partys(tmp_path: Path, card: Card) -> None:
    from dataclasses import replace

    settings = Settings(data=tmp_path)
    assert detector_spec(card, settings).bundled
    assert not detector_spec(replace(card, folder=tmp_path / "detectors" / "mesonet"), settings).bundled
    assert media_spec(settings).bundled
