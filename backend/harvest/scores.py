"""Reads and checks what a detector's worker wrote, and makes our own copy of it.

Promises: no links, FIFOs, devices or swapped folders are followed, nothing is read beyond its cap, every number is finite and in
its range, every picture is an array of known size. Output that breaks the contract raises PermanentError with ``detector_bad_output``;
nothing is repaired and nothing is filled in. Imported by the pipeline and by ``backend.scores.assemble``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
from pydantic import AliasChoices, FailFast, Field, StringConstraints, ValidationError, model_validator

from backend.harvest.untrusted import Refused, count_values, open_folder, read_array, read_file, refusal
from base_detector import MOST_MASKS, SCORES_SCHEMA, Array
from shared.errors import PermanentError
from shared.records import DetectorId, Record
from shared.results import Count, PersonScore, Score, Unit

#: More than correct scores of a pack take, indented or not: so many bytes, and so many more for each unit.
SCORES_BYTES: Final = 1_000_000
SCORES_BYTES_A_UNIT: Final = 400
#: Nor more values: two lists of numbers, a person of five for each face at most, a mask of three, and a few of its own.
SCORES_VALUES: Final = 6_000
SCORES_VALUES_A_UNIT: Final = 8
MAX_MASK_SIDE: Final = 1024
#: One byte a pixel, and the header.
MAX_MASK_BYTES: Final = MAX_MASK_SIDE**2 + 16_384

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.]{0,40}$")]
#: Without quotes and backslashes: see ``_count_keys``.
Version = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.+-]{1,60}$")]
Seconds = Annotated[float, Field(ge=0.0, le=1e7)]


class HarvestedMask(Record):
    """A picture for face row ``index``; its file's name follows from it."""

    index: Count
    file: Annotated[str, StringConstraints(pattern=r"^masks/[0-9]{6,10}\.npy$")]

    @model_validator(mode="after")
    def _named_after_its_face(self) -> HarvestedMask:
        if self.file != mask_name(self.index):
            raise ValueError(f"the mask of face {self.index} must be {mask_name(self.index)}")
        return self


class HarvestedScores(Record):
    """``scores.json``, checked. ``fake_score`` is parallel to ``index`` (faces, pictures or windows of the pack, ascending), 1 = fake."""

    schema_version: Literal[3] = Field(validation_alias=AliasChoices("schema", "schema_version"))
    contract: Version
    detector: DetectorId
    version: Version
    unit: Unit
    # FailFast: stop at the first mistake
    index: Annotated[tuple[Count, ...], FailFast(), Field(min_length=1)]
    fake_score: Annotated[tuple[Score, ...], FailFast()]
    video_fake_score: Score | None = None
    persons: Annotated[tuple[PersonScore, ...], FailFast()]
    skipped: Annotated[dict[Name, Count], Field(max_length=32)] = Field(default_factory=dict)
    masks: Annotated[tuple[HarvestedMask, ...], FailFast(), Field(max_length=MOST_MASKS)] = ()
    seconds: Annotated[dict[Name, Seconds], Field(max_length=32)] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> HarvestedScores:
        if len(self.fake_score) != len(self.index):
            raise ValueError("fake_score and index must have the same length")
        if any(later <= earlier for earlier, later in zip(self.index, self.index[1:], strict=False)):
            raise ValueError("index must ascend")
        if len({item.person for item in self.persons}) != len(self.persons):
            raise ValueError("a person must appear once")
        if sum(item.faces for item in self.persons) != (len(self.index) if self.unit == "face" else 0):
            raise ValueError("every scored face belongs to one person, and nothing else does")
        masked = [item.index for item in self.masks]
        if self.unit != "face" and masked:
            raise ValueError("only faces have masks")
        if len(set(masked)) != len(masked) or not set(masked) <= set(self.index):
            raise ValueError("a mask belongs to one scored face")
        return self


def mask_name(index: int) -> str:
    """File of the mask of face row ``index``, below the output folder."""
    return f"masks/{index:06d}.npy"


def harvest_scores(untrusted_out: Path, *, card_id: str, units: int, unit: Unit = "face") -> HarvestedScores:
    """The scores of ``card_id`` for a pack with ``units`` faces, or what else its ``unit`` is; PermanentError: detector_bad_output,
    output_too_large, and image_outdated for scores of an earlier schema.
    """
    try:
        with open_folder(untrusted_out) as folder:
            most = SCORES_BYTES + SCORES_BYTES_A_UNIT * units
            untrusted = read_file(folder, "scores.json", max_bytes=most)
        if count_values(untrusted) > SCORES_VALUES + SCORES_VALUES_A_UNIT * units:
            raise Refused("scores.json holds more values than scores of so many units")
        # strict: a string is not a number; pydantic's parser limits the depth and refuses NaN for these types
        scores = HarvestedScores.model_validate_json(untrusted, strict=True)
        if _count_keys(untrusted) != _keys_of(scores):
            raise Refused("scores.json has a key twice")
    except (Refused, ValidationError) as error:
        raise refusal("image_outdated" if _is_older(error) else "detector_bad_output", error) from None
    if (scores.detector, scores.unit) != (card_id, unit) or scores.index[-1] >= units:
        raise PermanentError("detector_bad_output")
    return scores


def _is_older(error: Exception) -> bool:
    """Whether the worker wrote an earlier schema: its image was built before the schema changed."""
    found = error.errors(include_url=False, include_context=False) if isinstance(error, ValidationError) else []
    places = (("schema",), ("schema_version",))
    return any(item["loc"] in places and item["input"] in range(1, SCORES_SCHEMA) for item in found)


def _count_keys(untrusted_json: bytes) -> int:
    """How many keys the objects in it have. Of duplicate keys the parser silently takes the last.

    No string that the schema allows contains a quote, so each quote before a colon ends a key.
    """
    return sum(1 for _ in re.finditer(rb'"[ \t\r\n]*:', untrusted_json))


def _keys_of(scores: HarvestedScores) -> int:
    """How many keys ``scores`` had in the file."""
    parts = (scores, *scores.persons, *scores.masks)
    return sum(len(part.model_fields_set) for part in parts) + len(scores.skipped) + len(scores.seconds)


def harvest_masks(untrusted_out: Path, scores: HarvestedScores, target: Path) -> None:
    """Write our copy of the masks of ``scores`` below ``target``, under the same names; PermanentError(detector_bad_output)."""
    if scores.masks:
        (target / "masks").mkdir(parents=True, exist_ok=True)
    for mask in scores.masks:
        try:
            with open_folder(untrusted_out / "masks") as folder:
                untrusted = read_file(folder, Path(mask_name(mask.index)).name, max_bytes=MAX_MASK_BYTES)
            pixels = _mask(untrusted)
        except Refused as error:
            raise refusal("detector_bad_output", error) from None
        np.save(target / mask_name(mask.index), pixels, allow_pickle=False)


def harvested_masks(folder: Path, scores: HarvestedScores) -> dict[int, Path]:
    """The files of ``harvest_masks`` below ``folder``: face row -> (h, w) uint8 array, 255 = manipulated."""
    return {mask.index: folder / mask_name(mask.index) for mask in scores.masks}


def _mask(untrusted_npy: bytes) -> Array:
    pixels = read_array(untrusted_npy, name="a mask", dtype=np.dtype(np.uint8), dimensions=2)
    if not (min(pixels.shape) > 0 and max(pixels.shape) <= MAX_MASK_SIDE):
        raise Refused(f"a mask must have 1 to {MAX_MASK_SIDE} pixels a side")
    return pixels
