"""Faces found in batches of pictures searched ahead are those of the search one by one; here with torch's CPU in place of a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.media.extract import warm_detector
from backend.media.foresight import Foresight
from backend.workers.spec import media_spec
from base_detector import Array
from detectors.nets.mtcnn_batch import MtcnnBatch
from shared.settings import Settings
from tests.conftest import write_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, astronaut: Array) -> Path:
    """A portrait that drifts, then, after a cut, its mirror image elsewhere: 48 pictures."""
    small = cv2.resize(astronaut, (200, 200), interpolation=cv2.INTER_AREA)

    def pictures() -> Iterator[Array]:
        for number in range(48):
            picture = np.full((240, 320, 3), 60 if number < 29 else 150, np.uint8)
            left = number if number < 29 else 110 - number // 2
            picture[20:220, left : left + 200] = small if number < 29 else small[:, ::-1]
            yield picture

    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", pictures(), sound=False)


def test_a_clip_searched_in_batches_has_the_faces_of_the_search_one_by_one(run_pass, clip: Path, monkeypatch):
    made: list[Foresight] = []
    begin = Foresight.__init__

    def noted(self: Foresight, finder: MtcnnBatch) -> None:
        begin(self, finder)
        made.append(self)

    monkeypatch.setattr(Foresight, "__init__", noted)
    expected = run_pass(clip, name="one by one", mode="thorough", detector=warm_detector())
    assert not made
    found = run_pass(clip, name="ahead", mode="thorough", detector=MtcnnBatch(device="cpu"))
    assert len(found) == len(expected) == 48
    for row in range(len(expected)):
        ours, theirs = found.face(row), expected.face(row)
        assert (ours.frame, ours.person) == (theirs.frame, theirs.person)
        np.testing.assert_allclose(ours.box, theirs.box, rtol=0, atol=0.5)
    assert made[0].foreseen >= 5, "regular searches were done ahead, on both sides of the cut"


def test_an_answer_belongs_to_its_pixels_and_no_others(astronaut: Array):
    class Finder:
        def detect(self, image: Array, *, min_face: float = 20.0) -> object:
            return "alone", image.shape, min_face

        def detect_many(self, images, *, min_face: float = 20.0) -> list[object]:
            return [("together", image.shape, min_face) for image in images]

    class Shown:
        damaged, index = False, 0

        def __init__(self, index: int, image: Array) -> None:
            self.index, self._image = index, image

        def rgb(self) -> Array:
            return self._image

    pictures = [Shown(number, astronaut[number:400, :400]) for number in range(3)]
    ahead = Foresight(Finder())
    assert [item.index for item in ahead.over(pictures, {0: 2, 2: -1}, lambda: None)] == [0, 1, 2]
    first = astronaut[:400, :400]
    assert ahead.detect(first)[0] == ahead.detect(astronaut[2:400, :400])[0] == "together"
    assert ahead.detect(astronaut[1:400, :400])[0] == "alone", "it was not sampled"
    assert ahead.detect(first, min_face=30.0)[0] == "alone"
    changed = first.copy()
    changed[0, 0, 0] ^= 1
    assert ahead.detect(changed)[0] == "alone"
    assert (ahead.asked, ahead.foreseen) == (5, 2)


def test_the_media_worker_gets_a_gpu_only_where_it_is_asked_for_and_there_is_one(tmp_path: Path):
    def device(**given: object) -> list[str]:
        spec = media_spec(Settings(data=tmp_path, **given))
        return spec.arguments("/exchange", weights="")[3:]

    assert device() == device(gpus=["0"]) == device(media_gpu=True) == []
    assert device(gpus=["0"], media_gpu=True) == ["--device", "cuda:0"]


def test_a_media_worker_told_to_use_a_card_that_is_not_there_says_what_to_set(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(RuntimeError, match="DFOM_MEDIA_GPU"):
        MtcnnBatch(device="cuda:0")
