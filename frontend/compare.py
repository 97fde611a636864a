"""Two results of one file side by side: what each detector said then and now, what differs, and why it may.

Promises: only results of the same content (sha256) are compared; nothing is averaged or joined; a reason is named only where the records
differ in it. Both results must be open in this browser. For the front-end only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from flask import Blueprint, Response, make_response, redirect, render_template, session, url_for

from frontend.access import held
from frontend.faults import answer
from frontend.portal import Portal, portal
from frontend.reading import Reading, read_report
from frontend.viewer import pin_page
from frontend.wording import MODES
from shared import rounding
from shared.errors import PermanentError, sentence_for
from shared.languages import _, digits, marked
from shared.records import JobId
from shared.results import DetectorResult, Result
from shared.statement import statement_of
from shared.store import checked_id
from shared.words import detector_sentence

#: Members of what produced a score, in words.
MADE_BY: Final[dict[str, str]] = marked(
    {
        "version": "It is another version of the detector.",
        "contract": "The interface to detectors is another version.",
        "weights": "Its weights are others.",
        "parameters": "Its parameters are others.",
    }
)

blueprint = Blueprint("compare", __name__)


@dataclass(frozen=True)
class Row:
    """One detector in both results; None where it was not asked. ``why``: what the records differ in; () where nothing does."""

    title: str
    first: DetectorResult | None
    second: DetectorResult | None
    change: str
    why: tuple[str, ...]


@dataclass(frozen=True)
class Other:
    """Another result of the same file that is open in this browser."""

    job: JobId
    created: datetime


@blueprint.get("/compare/<untrusted_id>/<untrusted_other>")
def page(untrusted_id: str, untrusted_other: str) -> Response:
    """Both results side by side; asks for the PIN of one that is closed."""
    site = portal()
    jobs = checked_id(untrusted_id), checked_id(untrusted_other)
    for job, other in (jobs, jobs[::-1]):
        if not site.access.is_open(session, job):
            return pin_page(job, compare=other)
        status = site.store.owners_status(job, now=site.clock())
        if status is None or status.state != "done":  # its page says how far it is, or why there is no result
            return make_response(redirect(url_for("viewer.result", untrusted_id=job), 303))
    first, second = (read_report(site.store.report(job)) for job in jobs)
    if first.result.media.sha256 != second.result.media.sha256 or jobs[0] == jobs[1]:
        return answer(422, code="not_comparable", title="Not comparable", detail=sentence_for("not_comparable"))
    return make_response(
        render_template(
            "compare.html",
            jobs=jobs,
            readings=(first, second),
            said=tuple(statement_of(reading.result) for reading in (first, second)),
            rows=rows(first.result, second.result),
            apart=whole(first.result, second.result),
        )
    )


def others_of(job: JobId, result: Result) -> list[Other]:
    """Results of the same file that are open in this browser, newest first."""
    site = portal()
    found = []
    for other in held(session):
        reading = _open_report(site, other) if other != job else None
        if reading is not None and reading.result.media.sha256 == result.media.sha256:
            found.append(Other(other, reading.result.created))
    return sorted(found, key=lambda item: item.created, reverse=True)


def _open_report(site: Portal, job: JobId) -> Reading | None:
    try:
        return read_report(site.store.report(job)) if site.access.is_open(session, job) else None
    except PermanentError:  # deleted, or not finished
        return None


def whole(first: Result, second: Result) -> tuple[str, ...]:
    """What the two runs differ in as a whole, as sentences."""
    said = []
    if first.mode != second.mode:
        said.append(_("The modes differ ({one}, then {two}).", one=_mode(first), two=_mode(second)))
    if first.sampled_frames != second.sampled_frames:
        frames = {"one": digits(first.sampled_frames, ","), "two": digits(second.sampled_frames, ",")}
        said.append(_("Other frames were looked at ({one}, then {two}).", **frames))
    if first.platform_version != second.platform_version:
        versions = {"one": first.platform_version, "two": second.platform_version}
        said.append(_("The platform's versions differ ({one}, then {two}).", **versions))
    if len(first.faces) != len(second.faces) or len(first.persons) != len(second.persons):
        said.append(
            _(
                "Other faces were found: {faces} of {persons} persons, then {more_faces} of {more_persons}.",
                faces=digits(len(first.faces), ","),
                persons=len(first.persons),
                more_faces=digits(len(second.faces), ","),
                more_persons=len(second.persons),
            )
        )
    return tuple(said)


def rows(first: Result, second: Result) -> list[Row]:
    """Each detector of either result, those of both first, in the order of the first result."""
    before = {item.id: item for item in first.detectors}
    after = {item.id: item for item in second.detectors}
    both = [name for name in before if name in after]
    names = [*both, *(name for name in before if name not in after), *(name for name in after if name not in before)]
    return [_row(before.get(name), after.get(name), first, second) for name in names]


def _row(one: DetectorResult | None, two: DetectorResult | None, first: Result, second: Result) -> Row:
    title = (two or one).title  # type: ignore[union-attr]  # one of them is there
    if one is None or two is None:
        only = _("Asked in the second result only.") if one is None else _("Asked in the first result only.")
        return Row(title, one, two, only, ())
    return Row(title, one, two, _change(one, two), _why(one, two, first, second))


def _mode(result: Result) -> str:
    return _(MODES[result.mode][0])


def _change(one: DetectorResult, two: DetectorResult) -> str:
    if one.fake_score is None and two.fake_score is None:
        return _("No score in either result.")
    if one.fake_score is None:
        return _("No score in the first result: {why}", why=detector_sentence(one))
    if two.fake_score is None:
        return _("No score in the second result: {why}", why=detector_sentence(two))
    apart = rounding.score(abs(two.fake_score - one.fake_score))
    if one.hard_label == two.hard_label:
        if one.fake_score == two.fake_score:
            return _("The same score, on the same side of its threshold.")
        if two.fake_score > one.fake_score:
            return _("{apart} higher, on the same side of its threshold.", apart=apart)
        return _("{apart} lower, on the same side of its threshold.", apart=apart)
    if one.fake_score == two.fake_score:  # the threshold moved
        return _("The same score, on the other side of its threshold.")
    if two.hard_label == "fake":
        return (
            _("{apart} higher, now at or above its threshold.", apart=apart)
            if two.fake_score > one.fake_score
            else _("{apart} lower, and yet at or above its threshold now.", apart=apart)
        )
    return (
        _("{apart} lower, now below its threshold.", apart=apart)
        if two.fake_score < one.fake_score
        else _("{apart} higher, and yet below its threshold now.", apart=apart)
    )


def _why(one: DetectorResult, two: DetectorResult, first: Result, second: Result) -> tuple[str, ...]:
    """What the records of two answers differ in."""
    then, now = one.provenance.comparable, two.provenance.comparable
    made_by = [_(words) for name, words in MADE_BY.items() if then[name] != now[name]]
    why = [_("The two scores are not comparable."), *made_by] if made_by else []
    if (one.threshold, one.strategy) != (two.threshold, two.strategy):
        why.append(_("Its threshold, or the rule for the file's score, was changed."))
    if first.mode != second.mode and first.media.kind != "image":  # a still has one picture in every mode
        why.append(_("Other mode ({one}, then {two}).", one=_mode(first), two=_mode(second)))
    if one.units_scored != two.units_scored:
        units = {"one": digits(one.units_scored, ","), "two": digits(two.units_scored, ",")}
        why.append(_("It judged {one}, then {two}.", **units))
    if (one.provenance.runner, one.provenance.image) != (two.provenance.runner, two.provenance.image):
        why.append(_("It ran in another way (container or process, or another image)."))
    if two.cached and one.fake_score == two.fake_score:
        why.append(_("The scores of the earlier run were used again."))
    both = one.fake_score is not None and two.fake_score is not None
    if not why and both and one.fake_score != two.fake_score:
        why.append(_("Nothing in the records explains it."))
    return tuple(why)
