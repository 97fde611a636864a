"""What is kept of a judged file, and when two files are said to be alike."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from shared.origin import Fingerprint, Origin
from shared.seen import PICTURES_APART, Likeness, Marks, Seen, likeness, pictures_apart
from tests.report.conftest import make_result


def a_mark(seed: int, *, flipped: int = 0) -> str:
    """A mark of 256 bits; ``flipped`` of them are changed."""
    bits = np.random.default_rng(seed).integers(0, 2, 256, np.uint8)
    bits[:flipped] ^= 1
    return np.packbits(bits).tobytes().hex()


def seen(*pictures: str, sha256: str = "ab" * 32, kind: str = "video", sound: str = "") -> Seen:
    result = make_result(frames=3)
    origin = Origin(fingerprint=Fingerprint(pictures, sound))
    media = result.media.__class__(**(vars(result.media) | {"sha256": sha256, "kind": kind}))
    return Seen.of(result.model_copy(update={"origin": origin, "media": media}))


def alike(one: Seen, other: Seen) -> Likeness:
    return likeness(Marks.of(one), Marks.of(other))


def test_only_scores_marks_and_the_day_are_kept():
    kept = seen(a_mark(1)).model_dump(mode="json")
    assert set(kept) == {"schema_version", "sha256", "kind", "judged", "mode", "pictures", "sound", "scores"}
    assert set(kept["scores"][0]) == {"id", "title", "unit", "threshold", "fake_score", "made_by"}
    assert "clip.mp4" not in str(kept)
    with pytest.raises(ValidationError):
        Seen.model_validate_json(seen(a_mark(1)).model_dump_json().replace(a_mark(1), "x" * 64))


def test_pictures_are_alike_up_to_the_measured_distance():
    one = seen(a_mark(1), a_mark(2))
    near = seen(a_mark(1, flipped=PICTURES_APART), a_mark(2, flipped=PICTURES_APART), sha256="cd" * 32)
    far = seen(a_mark(1, flipped=PICTURES_APART + 1), a_mark(2, flipped=PICTURES_APART + 1), sha256="cd" * 32)
    assert alike(one, near) == Likeness(same=False, pictures=True, sound=None)
    assert not alike(one, far).any
    assert alike(one, seen(a_mark(9))) == Likeness(same=True, pictures=None, sound=None)


def test_a_part_of_a_longer_clip_is_not_said_to_be_like_it():
    """Most marks of both must be near: a short excerpt has none of the rest."""
    long = seen(*(a_mark(number) for number in range(9)))
    part = seen(a_mark(0), a_mark(1), sha256="cd" * 32)
    assert pictures_apart(Marks.of(long).pictures, Marks.of(part).pictures) > PICTURES_APART
    assert not alike(long, part).any


def test_a_picture_is_not_compared_with_a_clip_and_silence_with_nothing():
    still = seen(a_mark(1), kind="image", sha256="cd" * 32)
    assert alike(seen(a_mark(1)), still) == Likeness(same=False, pictures=None, sound=None)
    quiet = seen(sha256="cd" * 32, sound="-" * 8 * 200)
    assert alike(quiet, seen(sound="-" * 8 * 200)) == Likeness(same=False, pictures=None, sound=None)


def test_the_same_stretch_of_sound_is_found_wherever_it_begins():
    words = np.random.default_rng(1).integers(0, 2**32, 300, np.uint32)
    digits = [f"{word:08x}" for word in words]
    whole = seen(sound="".join(digits), kind="sound")
    cut = seen(sound="".join(digits[90:250]), sha256="cd" * 32)
    other = seen(sound="".join(f"{word:08x}" for word in words ^ np.uint32(0x5A5A5A5A)), sha256="ee" * 32)
    assert alike(whole, cut) == Likeness(same=False, pictures=None, sound=True)
    assert alike(cut, whole).sound
    assert alike(whole, other) == Likeness(same=False, pictures=None, sound=False)
    assert alike(cut, seen(sound="".join(digits))) == Likeness(same=False, pictures=None, sound=None)  # two clips
