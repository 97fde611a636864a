"""The site's own record: submissions whose truth became known later, with the scores they had, and how often detectors were wrong.

Owns the shape of ``results/record/<id>.json`` (``shared.store`` knows the path) and the counts of the page ``/record`` and of
``deepfake-o-meter truth --list``. Promises: no address, PIN, name of a file, person or medium is kept; a file whose content changed is
noticed (``RecordInvalid``); a file of media counts once for each detector, however often it was submitted. May be imported by all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from shared.intervals import clopper_pearson
from shared.languages import _, digits, marked, ngettext
from shared.records import ID_PATTERN, Guess, JobId, Mode, Moment, Record
from shared.results import Conditions, DetectorResult, Points, Provenance, Result, Score, Tally, Unit
from shared.statement import counts, enough, percent

#: What the figures are no measure of, for page and command line.
NO_SAMPLE: Final = marked(
    "These are files whose truth somebody found out, not a fair sample of all that is sent here: "
    "others may be judged better, or worse."
)
#: Kinds of files that are counted apart: sound, pictures, and clips by mode.
MATERIALS: Final = marked(
    {
        "sound": "sound",
        "stills": "stills",
        "quick": "clips, quick mode",
        "standard": "clips, standard mode",
        "thorough": "clips, thorough mode",
    }
)
#: Characters of a note.
LONGEST_NOTE: Final = 200


class NotedAnswer(Record):
    """What one detector said of a submission. ``counted``: it gave a score, and judged enough of the file to be counted."""

    id: str
    title: str
    unit: Unit
    threshold: Score
    strategy: str
    paper: str
    status: Literal["ok", "not_applicable", "failed", "timed_out"]
    code: str | None
    fake_score: Score | None
    counted: bool
    #: where its finding pointed; None without a score, and in a result of a version without findings
    points: Points | None
    provenance: Provenance


class Noted(Record):
    """One submission with its truth. ``media_sha256`` tells two submissions of one file; ``sha256`` is of all other members."""

    schema_version: Literal[1] = 1
    id: Annotated[JobId, StringConstraints(pattern=ID_PATTERN)]
    fake: bool
    note: Annotated[str, StringConstraints(max_length=LONGEST_NOTE)] = ""
    noted: Moment
    judged: Moment
    mode: Mode
    kind: str
    media_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    #: None in a result of an earlier version
    like: Conditions | None
    answers: Annotated[tuple[NotedAnswer, ...], Field(max_length=64)]
    #: what its visitor had guessed before the result; None: nothing, or noted by an earlier version
    guess: Guess | None = None
    sha256: str = ""

    @classmethod
    def of(cls, result: Result, *, fake: bool, note: str, now: datetime, guess: Guess | None = None) -> Noted:
        """What is kept of a result, and of the guess that came with its file."""
        is_clip = result.media.kind != "image"
        bare = cls.model_construct(
            id=JobId(result.id),
            fake=fake,
            note=note,
            noted=now,
            judged=result.created,
            mode=result.mode,
            kind=result.media.kind,
            media_sha256=result.media.sha256,
            like=result.conditions,
            answers=tuple(_noted(answer, is_clip=is_clip) for answer in result.detectors),
            guess=guess,
        )
        return cls.model_validate(bare.model_dump() | {"sha256": bare.digest()})

    def digest(self) -> str:
        """sha256 of the members beside ``sha256``."""
        later = {"guess"} if self.guess is None else set()  # records without it are older than this member
        content: Any = self.model_dump(mode="json", exclude={"sha256"} | later)
        return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.sha256 != self.digest():
            raise ValueError("the content is not what was written")
        return self


def _noted(answer: DetectorResult, *, is_clip: bool) -> NotedAnswer:
    scored = answer.status == "ok" and answer.fake_score is not None
    able = counts(answer) if answer.finding is not None else enough(answer, is_clip=is_clip)
    kept = {name: getattr(answer, name) for name in NotedAnswer.model_fields if name not in ("counted", "points")}
    points = answer.finding.points if answer.finding else None
    return NotedAnswer(**kept, counted=scored and able, points=points)


def made_by(provenance: Provenance, strategy: str) -> str:
    """What makes scores comparable, as one text: version, contract, weights, parameters, strategy. Those that differ are never joined."""
    return json.dumps([provenance.comparable, strategy], sort_keys=True)


# --------------------------------------------------------------------------- counts


@dataclass(frozen=True)
class Side:
    """Files of one kind of truth. ``noted``: those that the detector was asked about; ``wrong``: of the judged ones, those on the wrong
    side of its threshold. ``inconclusive``, ``misled``: where its findings pointed; those of a version without findings are in neither."""

    noted: int
    wrong: Tally
    inconclusive: int
    misled: int

    @property
    def judged(self) -> int:
        """Files that it gave a score it may be counted with."""
        return self.wrong.of

    @property
    def words(self) -> str:
        """How many of the judged files were on the wrong side: '3 of 22 (2.9 to 35 %)', 'none judged'."""
        if not self.judged:
            return _("none judged")
        return wrong_of(self.wrong)


def wrong_of(tally: Tally) -> str:
    """'3 of 22 (2.9 to 35 %)'."""
    return _(
        "{part} of {whole} ({low} to {high} %)",
        part=digits(tally.reached, ","),
        whole=digits(tally.of, ","),
        low=percent(tally.low),
        high=percent(tally.high),
    )


@dataclass(frozen=True)
class Line:
    """One detector of one version on one kind of file. ``material``: the kind of file, and the mode where it matters."""

    detector: str
    title: str
    version: str
    weights: str
    material: str
    real: Side
    fake: Side


@dataclass(frozen=True)
class Guesses:
    """How often visitors' own guesses were wrong, on real and on manipulated files; ``unsure`` are in neither.

    A file counts once, with the first guess: who sends it later may have seen a result.
    """

    real: Tally
    fake: Tally
    unsure: int

    @property
    def made(self) -> int:
        """Files of which somebody guessed."""
        return self.real.of + self.fake.of

    def words(self, kind: Literal["real", "fake"]) -> str:
        """How many guesses were wrong: '3 of 22 (2.9 to 35 %)', 'none guessed'."""
        tally = getattr(self, kind)
        return wrong_of(tally) if tally.of else _("none guessed")


@dataclass(frozen=True)
class SiteRecord:
    """The record as it is shown. ``real``, ``fake``: files noted; ``damaged``: items that cannot be read and are in no count."""

    real: int
    fake: int
    damaged: int
    since: datetime | None
    lines: tuple[Line, ...]
    guesses: Guesses

    @property
    def words(self) -> str:
        """What it counts, in a sentence."""
        if not self.real + self.fake:
            return _(
                "Nothing is noted yet: nobody has recorded whether a file that was checked here is real or manipulated."
            )
        return ngettext(
            "The truth of {n} file became known later and was noted: {real} real, {fake} manipulated.",
            "The truth of {n} files became known later and was noted: {real} real, {fake} manipulated.",
            self.real + self.fake,
            real=digits(self.real, ","),
            fake=digits(self.fake, ","),
        )


def site_record(items: Iterable[Noted], *, damaged: int = 0) -> SiteRecord:
    """The counts by detector, version and kind of file, the detectors with most judged files first."""
    known = list(items)
    truths = {item.media_sha256: item.fake for item in known}
    groups: dict[tuple[str, str, str], dict[str, tuple[bool, NotedAnswer]]] = {}
    for item in sorted(
        known, key=lambda one: (one.judged, one.id)
    ):  # of two submissions of one file the later one counts
        for answer, material in _with_material(item):
            key = (answer.id, made_by(answer.provenance, answer.strategy), material)
            groups.setdefault(key, {})[item.media_sha256] = (item.fake, answer)
    lines = [_line(material, list(own.values())) for (_, _, material), own in groups.items()]
    return SiteRecord(
        real=sum(not fake for fake in truths.values()),
        fake=sum(truths.values()),
        damaged=damaged,
        since=min((item.noted for item in known), default=None),
        lines=tuple(sorted(lines, key=lambda line: (-line.real.judged - line.fake.judged, line.title, line.material))),
        guesses=_guesses(known),
    )


def _guesses(known: list[Noted]) -> Guesses:
    first: dict[str, Noted] = {}
    for item in sorted(known, key=lambda one: (one.judged, one.id)):
        if item.guess is not None:
            first.setdefault(item.media_sha256, item)
    sure = [item for item in first.values() if item.guess != "unsure"]
    tallies = {}
    for fake in (False, True):
        of_kind = [item for item in sure if item.fake == fake]
        wrong = sum((item.guess == "fake") != fake for item in of_kind)
        low, high = clopper_pearson(wrong, len(of_kind))
        tallies[fake] = Tally(reached=wrong, of=len(of_kind), low=low, high=high)
    return Guesses(real=tallies[False], fake=tallies[True], unsure=len(first) - len(sure))


def _with_material(item: Noted) -> Iterator[tuple[NotedAnswer, str]]:
    for answer in item.answers:
        if answer.unit == "sound":
            yield answer, MATERIALS["sound"]
        elif item.kind == "image":
            yield answer, MATERIALS["stills"]
        else:
            yield answer, MATERIALS[item.mode]


def _line(material: str, own: list[tuple[bool, NotedAnswer]]) -> Line:
    last = own[-1][1]
    digest = hashlib.sha256(json.dumps(last.provenance.weights, sort_keys=True).encode()).hexdigest()
    return Line(
        detector=last.id,
        title=last.title,
        version=last.provenance.version,
        weights=digest[:8] if last.provenance.weights else "",
        material=material,
        real=_side([answer for fake, answer in own if not fake], fake=False),
        fake=_side([answer for fake, answer in own if fake], fake=True),
    )


def _side(answers: list[NotedAnswer], *, fake: bool) -> Side:
    judged = [answer for answer in answers if answer.counted and answer.fake_score is not None]
    wrong = sum(((answer.fake_score or 0.0) >= answer.threshold) != fake for answer in judged)
    low, high = clopper_pearson(wrong, len(judged))
    away: Points = "points_to_real" if fake else "points_to_fake"
    return Side(
        noted=len(answers),
        wrong=Tally(reached=wrong, of=len(judged), low=low, high=high),
        inconclusive=sum(answer.points == "inconclusive" for answer in judged),
        misled=sum(answer.points == away for answer in judged),
    )
