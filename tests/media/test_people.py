"""Faces and persons of real clips: as many as a viewer counts, no skylines, boxes close to those of detecting every picture."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from backend.media.recheck import BELIEVED, second_look
from backend.media.tracks import Found, Sighting, overlap
from tests.media.clips import encode


def persons(pack) -> list[tuple[int, float, float]]:
    """(faces, first second, last second) of each person."""
    return [(item.faces, item.first_s, item.last_s) for item in pack.persons]


def test_a_clip_with_cuts_and_seven_people(run_pass, research: Path):
    """A singer seen in two shots, the pianist small in the first and in profile in the second, four listeners in the last."""
    pack = run_pass(research / "media" / "people_hamilton.mp4")
    assert [shot.start for shot in pack.shots] == [0, 20, 82, 211]
    found = persons(pack)
    assert 6 <= len(found) <= 8
    singer = pack.faces[pack.faces["person"] == 0]
    assert set(singer["shot"]) == {0, 2}  # the same person over a cut and a change of size
    assert len(singer) == 149
    last_shot = pack.faces[pack.faces["shot"] == 3]
    assert len(set(last_shot["person"])) == 4
    assert not set(last_shot["person"]) & {0}
    assert all(faces == 64 for faces, first, _ in found if first > 7)
    assert set(pack.keyfaces) == {item.person for item in pack.persons}
    for person, row in pack.keyfaces.items():
        keyface = pack.faces[row]
        assert keyface["person"] == person
        assert not keyface["tracked"]


def test_a_busy_street(run_pass, research: Path):
    """Three walk towards the camera all the time, others pass behind or in front of them."""
    pack = run_pass(research / "media" / "people_three.mp4", samplings=["frames:32"])
    found = persons(pack)
    assert 6 <= len(found) <= 11
    assert sum(faces >= 24 for faces, _, _ in found) >= 3
    for frame in set(pack.faces["frame"]):
        own = pack.faces["person"][pack.faces["frame"] == frame]
        assert len(own) == len(set(own))


@pytest.mark.parametrize("name", ["ffpp_neuraltextures_004_982.mp4", "dfdc_fake_brtujopkby.mp4"])
def test_backdrops_that_pass_for_faces_once_are_not_persons(run_pass, research: Path, name: str):
    """MTCNN sees a face in the skyline behind the speaker, and in a folded cloth, with up to .99."""
    pack = run_pass(research / "media" / name, samplings=["frames:32"])
    assert [faces for faces, _, _ in persons(pack)] == [32]


def test_following_a_face_stays_close_to_detecting_it_in_every_picture(run_pass, research: Path, tmp_path: Path):
    with av.open(str(research / "media" / "ffpp_real_519.mp4")) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in islice(container.decode(video=0), 40)]
    clip = encode(tmp_path / "part.mkv", pictures, codec="ffv1", pix_fmt="bgr0")
    followed, detected = run_pass(clip, name="followed"), run_pass(clip, name="detected", mode="thorough")
    assert len(followed) == len(detected) == 40
    assert not detected.faces["tracked"].any()
    assert followed.faces["tracked"].sum() > 25
    shared = [
        overlap(a[None], b[None])[0, 0] for a, b in zip(followed.faces["box"], detected.faces["box"], strict=True)
    ]
    assert np.mean(shared) > 0.9


@pytest.mark.parametrize(
    ("name", "people"),
    [
        ("image_one_person.jpg", 1),
        ("image_two_people.jpg", 2),
        ("image_partial_face.jpg", 1),
        ("crop_real00240.jpg", 1),
        ("crop_df00204.jpg", 1),
        ("image_gan_real.png", 1),
    ],
)
def test_people_on_images(run_pass, research: Path, name: str, people: int):
    assert len(run_pass(research / "media" / name).persons) == people


def test_the_second_look_believes_a_face_and_not_a_texture(astronaut: np.ndarray):
    from backend.media.extract import warm_detector

    detector = warm_detector()
    faces = detector.detect(astronaut)
    found = Found(faces.boxes[0], faces.landmarks[0], float(faces.confidence[0]))
    assert second_look(detector, Sighting.cut(astronaut, found, context=2.0, frame=0, time_s=0.0)) > BELIEVED
    noise = np.random.default_rng(2).integers(0, 255, astronaut.shape, np.uint8)
    assert second_look(detector, Sighting.cut(noise, found, context=2.0, frame=0, time_s=0.0)) == 0.0
