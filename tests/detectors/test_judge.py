"""A detector that judges a whole pack: its own scores of persons and of the video reach the result, and nothing is made up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.harvest.scores import harvest_masks, harvest_scores, harvested_masks
from backend.scores.aggregate import OWN, video_score
from base_detector import (
    FACE_DTYPE,
    MOST_MASKS,
    BaseDetector,
    Card,
    ContractError,
    FacePack,
    Judgement,
    Skip,
)
from shared.errors import PermanentError
from shared.findings import MediaPack
from tests.packs import finish_pack

CARD = """
id = "clips"
version = "1"
title = "Clips"
summary = "reads clips"
paper = "none"
year = 2026
input = "video"
sampling = "every_frame"
margin = 1.0
threshold = 0.5
aggregation = "own"
sees = ["x"]
limits = ["y"]
"""


@pytest.fixture
def card(tmp_path: Path) -> Card:
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "detector.toml").write_text(CARD)
    return Card.read(folder)


@pytest.fixture
def pack(tmp_path: Path) -> MediaPack:
    folder = tmp_path / "pack"
    folder.mkdir()
    faces = np.zeros(6, FACE_DTYPE)
    faces["frame"], faces["person"] = [0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 0, 1]
    np.save(folder / "faces.npy", faces)
    (folder / "crops.bin").write_bytes(b"")
    return finish_pack(folder, size=(1, 1))


def clips_detector(own: Card, judgement: Judgement) -> BaseDetector:
    class Clips(BaseDetector):
        card = own

        def load(self, weights, device):
            pass

        def judge(self, pack, progress):
            progress(len(pack), len(pack))
            return judgement

    return Clips()


LABELS = np.array([np.nan, 0.1, 0.9, 0.3, np.nan, np.nan])


def test_its_scores_of_faces_persons_and_video_are_kept(card: Card, pack: FacePack, tmp_path: Path):
    told = []
    detector = clips_detector(card, Judgement(LABELS, video=0.25, persons={0: 0.8, 1: 0.05}, skipped={"few": 3}))
    found = detector.run_pack(pack, tmp_path, progress=lambda done, total: told.append((done, total)))
    assert found["index"] == [1, 2, 3]
    assert found["fake_score"] == pytest.approx([0.9, 0.1, 0.7])
    assert found["video_fake_score"] == 0.75
    assert [(p["person"], p["faces"], p["hard_label"]) for p in found["persons"]] == [(0, 1, "real"), (1, 2, "fake")]
    assert [p["fake_score"] for p in found["persons"]] == pytest.approx([0.2, 0.95])
    assert found["skipped"] == {"few": 3}
    assert told == [(6, 6)]


def test_without_scores_of_persons_they_come_from_postproc(card: Card, pack: FacePack, tmp_path: Path):
    found = clips_detector(card, Judgement(LABELS, video=0.5)).run_pack(pack, tmp_path)
    assert [p["fake_score"] for p in found["persons"]] == pytest.approx([0.1, 0.8])


def test_a_single_picture_is_left_unjudged(card: Card):
    with pytest.raises(Skip, match="needs_a_clip"):
        clips_detector(card, Judgement(LABELS)).run(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize(
    "judgement", [Judgement(LABELS[:5]), Judgement(LABELS + 1), Judgement(LABELS, video=1.5)], ids=str
)
def test_labels_out_of_range_or_shape_are_refused(card: Card, pack: FacePack, tmp_path: Path, judgement: Judgement):
    with pytest.raises(ContractError, match="clips: soft labels must"):
        clips_detector(card, judgement).run_pack(pack, tmp_path)


def test_strategy_own_takes_the_detectors_number_or_none_at_all(pack: FacePack):
    faces = np.asarray(pack.faces)
    assert video_score(OWN, scores=1 - LABELS, faces=faces, persons_scores={}, own=0.75) == 0.75
    with pytest.raises(PermanentError) as caught:
        video_score(OWN, scores=1 - LABELS, faces=faces, persons_scores={})
    assert caught.value.code == "not_judgeable"


def test_a_detector_needs_get_softlabel_or_judge(card: Card):
    with pytest.raises(ContractError, match="must define get_softlabel"):

        class Neither(BaseDetector):
            def load(self, weights, device):
                pass


def test_a_pack_says_by_name_what_pack_json_holds(pack: MediaPack):
    assert (pack.frames.tolist(), pack.times.tolist()) == ([0, 1, 2], [0.0, 0.0, 0.0])
    assert (pack.is_image, pack.fps, pack.frame_count, pack.frame_size) == (False, 25.0, pack.media.frames, (1, 1))
    assert (pack.media.kind, pack.media.fps, pack.media.width, pack.media.height) == ("video", 25.0, 1, 1)
    assert [(item.shot, item.start, item.end) for item in pack.shots] == [(0, 0, 2)]
    assert [(item.person, item.faces) for item in pack.persons] == [(0, 3), (1, 3)]
    assert pack.keyfaces == {0: 0, 1: 1}


def test_a_pack_of_a_later_platform_is_read_and_an_incomplete_one_is_refused(pack: FacePack):
    path = pack.folder / "pack.json"
    info = json.loads(path.read_text())
    info["media"]["colours"] = info["later"] = 3
    path.write_text(json.dumps(info))
    assert FacePack(pack.folder).shots == pack.shots
    assert MediaPack(pack.folder).media == pack.media
    for part, name in (("media", "width"), ("shots", "start")):
        broken = json.loads(json.dumps(info))
        del (broken[part] if part == "media" else broken[part][0])[name]
        path.write_text(json.dumps(broken))
        with pytest.raises(ContractError, match=rf"not complete .*{name}"):
            FacePack(pack.folder)


def test_a_crowd_gives_no_more_evidence_than_is_taken(card: Card, tmp_path: Path):
    """70 persons with eight pictures each are more than the back-end accepts of one pack."""
    faces = np.zeros(70 * 9, FACE_DTYPE)
    faces["frame"], faces["person"] = np.repeat(np.arange(9), 70), np.tile(np.arange(70), 9)
    faces["box"], faces["crop_height"], faces["crop_width"] = (0, 0, 4, 4), 4, 4
    folder = tmp_path / "crowd"
    folder.mkdir()
    np.save(folder / "faces.npy", faces)
    (folder / "crops.bin").write_bytes(bytes(4 * 4 * 3))
    pack = finish_pack(folder, size=(4, 4))
    own = replace(card, aggregation="mean")

    class Painter(BaseDetector):
        card = own

        def load(self, weights, device):
            pass

        def get_softlabel(self, batch):
            return np.full(len(batch), 0.5)

        def evidence(self, batch):
            return np.zeros((len(batch), 6, 5), np.uint8)

    out = tmp_path / "exchange" / "job" / "out"
    out.mkdir(parents=True)
    scores = Painter().run_pack(pack, out)
    (out / "scores.json").write_text(json.dumps(scores))
    assert len(scores["masks"]) == MOST_MASKS == 512
    assert len({faces["person"][mask["index"]] for mask in scores["masks"]}) == 64
    taken = harvest_scores(out, card_id="clips", units=len(faces))
    harvest_masks(out, taken, tmp_path / "ours")
    first = next(iter(harvested_masks(tmp_path / "ours", taken).values()))
    assert np.load(first).shape == (6, 5)
