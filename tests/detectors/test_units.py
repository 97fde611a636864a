"""Detectors of whole pictures and of sound: what they are given, in which order, and when they say nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.admission.practice_units import PracticePictures, PracticeSounds, synthetic_voice
from backend.catalog.cards import read_card
from backend.harvest.media_pack import check_pack
from backend.harvest.scores import harvest_scores
from backend.scores.assemble import DetectorOutcome, detector_result, too_few
from base_detector import Array, BaseDetector, Card, ContractError, NotApplicable, Skip, detector_verbs
from shared.errors import PermanentError
from shared.findings import MediaPack
from shared.results import Provenance
from shared.words import detector_sentence
from tests.workers.conftest import write_pack

COMMON = """id = "toy"
version = "1"
title = "Toy"
summary = "A toy."
paper = "none"
year = 2026
threshold = 0.5
aggregation = "mean"
"""
SOUND = COMMON + 'input = "sound"\nwindow_s = 0.5\nhop_s = 0.25\nleast_units = 3\n'
PICTURE = COMMON + 'input = "picture"\nlossless_only = true\n'


def card_of(text: str, folder: Path) -> Card:
    folder.mkdir()
    (folder / "detector.toml").write_text(text)
    return read_card(folder)


def toy(own: Card) -> BaseDetector:
    """Its soft label is the mean level of a unit; a unit that is zero throughout is skipped."""

    class Toy(BaseDetector):
        card = own

        def load(self, weights: Path, device: str) -> None:
            self.shapes: list[tuple[int, ...]] = []

        def preproc(self, face: Array) -> Array:
            self.shapes.append(face.shape)
            if not face.any():
                raise Skip("silence")
            return np.asarray(np.abs(face.astype(np.float64)).mean() / (255 if face.dtype == np.uint8 else 1))

        def get_softlabel(self, batch: Array) -> Array:
            return batch

    found = Toy()
    found.load(Path(), "cpu")
    return found


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    return write_pack(tmp_path / "portrait", faces=1)


@pytest.fixture
def sounds(tmp_path: Path, portrait: Path) -> PracticeSounds:
    return PracticeSounds(tmp_path / "packs", portrait=portrait, card=card_of(SOUND, tmp_path / "toy"))


@pytest.fixture
def pictures(tmp_path: Path, portrait: Path) -> PracticePictures:
    return PracticePictures(tmp_path / "packs", portrait=portrait)


def test_a_detector_of_sound_hears_each_window_of_its_own_length(sounds: PracticeSounds, tmp_path: Path):
    detector, pack = toy(read_card(tmp_path / "toy")), MediaPack(sounds.clip(5))
    check_pack(pack.folder)
    scores = detector.run_pack(pack, tmp_path)
    voice = synthetic_voice(8000 + 4 * 4000)
    wanted = [1 - np.abs(voice[start : start + 8000]).mean() for start in range(0, 16_001, 4000)]
    assert (scores["unit"], scores["index"], scores["persons"], scores["masks"]) == ("sound", [0, 1, 2, 3, 4], [], [])
    assert scores["fake_score"] == pytest.approx(wanted, abs=1e-6)
    assert detector.shapes == [(8000,)] * 5
    assert pack.window_times(detector.card).tolist() == [[n / 4, n / 4 + 0.5] for n in range(5)]


def test_a_detector_of_pictures_sees_each_whole_picture(pictures: PracticePictures, tmp_path: Path):
    detector, pack = toy(card_of(PICTURE, tmp_path / "toy")), MediaPack(pictures.clip(3))
    check_pack(pack.folder)
    scores = detector.run_pack(pack, tmp_path)
    wanted = [1 - pack.picture(index).mean() / 255 for index in range(3)]
    assert (scores["unit"], scores["index"]) == ("picture", [0, 1, 2])
    assert scores["fake_score"] == pytest.approx(wanted, abs=1e-9)
    assert detector.run(pack.picture(1)) == pytest.approx(wanted[1])


def test_their_scores_are_taken_as_what_they_are_of_and_nothing_else(pictures: PracticePictures, tmp_path: Path):
    detector = toy(card_of(PICTURE, tmp_path / "toy"))
    scores = detector.run_pack(MediaPack(pictures.clip(3)), tmp_path)
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    assert harvest_scores(tmp_path, card_id="toy", units=3, unit="picture").index == (0, 1, 2)
    for unit, units in (("face", 3), ("sound", 3), ("picture", 2)):
        with pytest.raises(PermanentError, match="detector_bad_output"):
            harvest_scores(tmp_path, card_id="toy", units=units, unit=unit)
    person = {"person": 0, "faces": 3, "fake_score": 0.5, "hard_label": "fake"}
    for lie in ({"persons": [person]}, {"masks": [{"index": 0, "file": "masks/000000.npy"}]}, {"unit": "film"}):
        (tmp_path / "scores.json").write_text(json.dumps(scores | lie))
        with pytest.raises(PermanentError, match="detector_bad_output"):
            harvest_scores(tmp_path, card_id="toy", units=3, unit="picture")


def test_what_a_pack_does_not_have_is_a_reason(sounds: PracticeSounds, tmp_path: Path, portrait: Path):
    listens, looks = read_card(tmp_path / "toy"), card_of(PICTURE, tmp_path / "looks")
    heard, seen = MediaPack(sounds.clip(5)), MediaPack(portrait)
    assert (heard.lacks(listens), seen.lacks(listens)) == (None, "no_sound")
    assert (heard.lacks(looks), seen.lacks(looks)) == ("no_picture", "lossy_picture")


def test_a_sound_with_too_few_windows_or_too_much_silence_gets_no_score_of_the_file(
    sounds: PracticeSounds, tmp_path: Path
):
    card = read_card(tmp_path / "toy")
    quiet = np.concatenate([synthetic_voice(7000), np.zeros(16_000, np.float32)])
    for folder, reason in (
        (sounds.clip(2), "sound_too_short"),
        (sounds.example(quiet), "silence"),
        (sounds.clip(3), None),
    ):
        pack, out = MediaPack(folder), tmp_path / f"out-{folder.name}"
        out.mkdir()
        (out / "scores.json").write_text(json.dumps(toy(card).run_pack(pack, out)))
        units = len(pack.units(card))
        scores = harvest_scores(out, card_id="toy", units=units, unit="sound")
        assert too_few(card, scores, of=units) == reason


@pytest.mark.parametrize(
    ("text", "below"), [(PICTURE, "no_trace"), (PICTURE.replace("lossless_only = true\n", ""), "real")]
)
def test_below_its_threshold_a_detector_that_needs_original_pixels_found_no_trace(
    pictures: PracticePictures, tmp_path: Path, text: str, below: str
):
    """A PNG may have been a JPEG before, so a low score of such a detector never says "real"."""
    detector, pack = toy(card_of(text, tmp_path / "toy")), MediaPack(pictures.clip(3))
    (tmp_path / "scores.json").write_text(json.dumps(detector.run_pack(pack, tmp_path)))
    scores = harvest_scores(tmp_path, card_id="toy", units=3, unit="picture")
    provenance = Provenance(version="1", contract="1", weights={}, parameters={}, runner="process", image=None)
    for threshold, label in ((0.01, "fake"), (0.99, below)):
        card = replace(detector.card, threshold=threshold)
        result = detector_result(DetectorOutcome(card, provenance, tmp_path, scores=scores), pack)
        assert result.hard_label == label
        assert ("no trace found" in detector_sentence(result)) == (label == "no_trace")


def test_a_worker_without_a_window_says_so(sounds: PracticeSounds, tmp_path: Path):
    verbs = detector_verbs(toy(read_card(tmp_path / "toy")), tmp_path, "cpu")
    with pytest.raises(NotApplicable, match="no_sound"):
        verbs["predict"]({"pack": str(sounds.empty()), "out": str(tmp_path)}, lambda done, total: None)


def test_a_cut_file_is_an_error_and_no_score(sounds: PracticeSounds, pictures: PracticePictures, tmp_path: Path):
    for detector, folder in (
        (toy(read_card(tmp_path / "toy")), sounds.truncated(5)),
        (
            toy(card_of(PICTURE, tmp_path / "looks")),
            PracticePictures(tmp_path / "more", portrait=tmp_path / "portrait").truncated(4),
        ),
    ):
        with pytest.raises(ValueError, match="reshape"):
            detector.run_pack(MediaPack(folder), tmp_path)
        with pytest.raises(PermanentError, match="media_bad_output"):
            check_pack(folder)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (COMMON + 'input = "sound"\n', "add 'window_s'"),
        (COMMON + 'input = "face"\nsampling = "every_frame"\n', "add 'margin'"),
        (PICTURE.replace('"mean"', '"max_of_persons"'), "it judges no persons"),
        (PICTURE + "window_s = 1.0\nhop_s = 1.0\n", "sound needs window_s"),
    ],
)
def test_a_card_says_what_its_input_needs(text: str, sentence: str, tmp_path: Path):
    with pytest.raises(ContractError, match=sentence):
        card_of(text, tmp_path / "toy")
