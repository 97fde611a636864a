"""The fusion of Eighteen Years Old against outputs of the published rules (the golden vectors of the research data)."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.eighteen import fusion
from detectors.eighteen.detector import NETWORKS, network_score

GOLDEN = "eighteen"


def test_image_scores_follow_the_published_rule(golden: dict):
    entries = golden["aggregate"]["image_score_rule"]
    assert entries
    for entry in entries:
        differences = np.array(entry["logit_difference_face_by_frame"])
        logits = np.stack([np.zeros_like(differences), differences], axis=-1)
        faces = [fusion.face_score(fusion.group_scores(face[fusion.image_frames(len(face))])) for face in logits]
        score = fusion.score_of_faces(np.array(faces))
        for wanted, found in ((entry["score"], score), (entry["score_isScale"], fusion.soften(score))):
            assert np.isnan(found) if wanted == -1 else found == pytest.approx(wanted, abs=1e-6)


def test_very_sure_scores_are_softened_and_others_are_not():
    by_name = {network.name: network for network in NETWORKS}
    assert [fusion.soften(score) for score in (1.0, 0.98, 0.97, 0.5, 0.02, 0.0)] == pytest.approx(
        [0.98, 0.9608, 0.97, 0.5, 0.0392, 0.02]
    )
    assert network_score(by_name["b3"], [np.array([1.0])]) == pytest.approx(0.98)
    assert network_score(by_name["b1"], [np.array([1.0])]) == 1.0


def test_scores_of_faces_follow_the_published_rule(golden: dict):
    entries = golden["aggregate"]["sf_score_rule"]
    assert entries
    for entry in entries:
        found = fusion.score_of_faces(np.array(entry["face_probs"]))
        assert found == pytest.approx(entry["sf_score"], abs=1e-6)


def test_fusion_is_the_published_one(golden: dict):
    names = [*fusion.SLOWFAST_WEIGHTS, *fusion.IMAGE_WEIGHTS]
    assert names == [network.name for network in NETWORKS]
    parts = [
        np.array(list(group.values())) / sum(group.values())
        for group in (fusion.SLOWFAST_WEIGHTS, fusion.IMAGE_WEIGHTS)
    ]
    weights = np.concatenate([fusion.SLOWFAST_SHARE * parts[0], (1 - fusion.SLOWFAST_SHARE) * parts[1]])
    np.testing.assert_allclose(weights, golden["aggregate"]["fusion_weights"], atol=1e-9)
    assert golden["aggregate"]["fusion"]
    for entry in golden["aggregate"]["fusion"]:
        found = fusion.fuse({name: np.nan if s == -1 else s for name, s in zip(names, entry["scores"], strict=True)})
        if entry["final"] == -1:
            assert found is None
        else:
            assert found == pytest.approx(entry["final"], abs=1e-6)


def test_scores_on_a_bound_count_neither_as_fake_nor_as_real():
    assert fusion.face_score(np.array([0.85, 0.1, 0.1])) == pytest.approx(0.35)
    assert fusion.face_score(np.array([0.1] * 7 + [0.9] * 3)) == pytest.approx(0.34)  # 70 % are not more than 70 %
    assert fusion.face_score(np.array([0.1] * 8 + [0.9] * 2)) == pytest.approx(0.1)
    assert fusion.score_of_faces(np.array([0.6, 0.9])) == pytest.approx(0.75)


def test_nothing_is_never_a_half():
    assert np.isnan(fusion.face_score(np.array([])))
    assert np.isnan(fusion.score_of_faces(np.array([])))
    assert np.isnan(fusion.score_of_faces(np.array([np.nan, 0.5])))
    assert fusion.fuse({}) is None
    assert fusion.fuse({"b1": float("nan")}) is None
    assert list(map(len, map(fusion.image_frames, (0, 4, 5, 9, 35, 36, 160)))) == [0, 0, 5, 5, 35, 15, 30]
