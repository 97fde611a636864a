"""``truth``: notes what a submission turned out to be, shows how often detectors were wrong here, and makes reference sets of it.

Owns the steps and the words on the terminal; works while the portal runs. Imported by the composition root.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from backend.benchmark.from_record import KINDS_NEEDED, reference_of
from backend.benchmark.output import write_reference
from backend.commands.back_end import BackEnd
from backend.commands.console import say, stdout_console
from backend.scores.references import checked_name
from backend.workers.provenance import provenance
from shared.clock import utc_now
from shared.errors import DfomError, UserError, sentence_for
from shared.evidence import FEW_MEASURED
from shared.names import shown
from shared.reading import RecordInvalid, read_record
from shared.records import Guess, JobId, Mode
from shared.results import Result
from shared.settings import Settings
from shared.store import Store, checked_id
from shared.truths import LONGEST_NOTE, NO_SAMPLE, Line, Noted, SiteRecord, site_record
from shared.words import counted, date


@dataclass(frozen=True)
class Asked:
    """The arguments of the command."""

    job: str | None = None
    truth: str | None = None
    note: str = ""
    undo: bool = False
    listing: bool = False
    reference: str | None = None
    about: str = ""
    mode: Mode = "standard"
    as_json: bool = False


def run(asked: Asked, settings: Settings, *, build: Callable[[Settings], BackEnd], console: Console) -> None:
    """Do what was asked; UserError says what to do where it cannot be done."""
    store = Store(settings.submissions, settings.results)
    if not settings.results.is_dir():
        raise UserError("no_such_file", f"{shown(settings.data)} holds no submissions. Check DFOM_DATA.")
    if asked.reference is not None:
        _make_references(asked, store, settings, build=build, console=console)
    elif asked.job is None or asked.listing:
        _list(store, as_json=asked.as_json)
    elif asked.undo:
        _undo(_id_of(asked.job), store, console)
    elif asked.truth is None:
        raise UserError(
            "form_incomplete", "Say what the submission turned out to be: deepfake-o-meter truth ID real (or fake)."
        )
    else:
        _note(_id_of(asked.job), store, asked, console)


def _id_of(untrusted: str) -> JobId:
    """The id of a submission, from the id itself or from the address of its page."""
    name = untrusted.strip().rstrip("/").rsplit("/", 1)[-1]
    try:
        return checked_id(name)
    except DfomError:
        raise UserError(
            "not_found",
            f"{shown(untrusted)} is no ID of a submission: an ID is the last part of the address of its page, 26 letters and digits.",
        ) from None


# --------------------------------------------------------------------------- noting


def _note(job: JobId, store: Store, asked: Asked, console: Console) -> None:
    if len(asked.note) > LONGEST_NOTE:
        raise UserError(
            "form_incomplete", f"A note has at most {LONGEST_NOTE} characters; this one has {len(asked.note)}."
        )
    fake = asked.truth == "fake"
    before = _known(job, store)
    if before is not None and before.fake != fake:
        raise UserError(
            "form_incomplete",
            f"This submission was noted as {_word(before.fake)} on {date(before.noted)}. If that was wrong: deepfake-o-meter truth {job} "
            "--undo, then note it anew.",
        )
    if before is not None:
        if asked.note and asked.note != before.note:
            changed = before.model_copy(update={"note": asked.note})
            store.note_truth(changed.model_copy(update={"sha256": changed.digest()}))
        say(console, f"Noted as {_word(fake)} already, on {date(before.noted)}.")
        return
    noted = Noted.of(_result(job, store), fake=fake, note=asked.note, now=utc_now(), guess=_guess(job, store))
    _agrees(noted, store)
    store.note_truth(noted)
    status = store.owners_status(job, now=utc_now())
    if status is not None and status.code == "deleted":  # its owner deleted it while we read it
        store.forget_truth(job)
        raise UserError("deleted", sentence_for("deleted"))
    scored = sum(answer.fake_score is not None for answer in noted.answers)
    say(console, f"Noted as {_word(fake)}: scores of {scored} of {counted(len(noted.answers), 'detector')} are kept.")


def _guess(job: JobId, store: Store) -> Guess | None:
    """What the visitor had guessed; None when nothing was, or the submission's record is gone."""
    stage = store.stage_of(job)
    with contextlib.suppress(RecordInvalid, FileNotFoundError):
        return store.read_submission(stage, job).guess if stage else None
    return None


def _known(job: JobId, store: Store) -> Noted | None:
    try:
        return store.read_truth(job)
    except RecordInvalid:
        raise UserError(
            "record_invalid",
            f"What was noted of this submission is damaged. 'deepfake-o-meter truth {job} --undo' removes it; then note it anew.",
        ) from None


def _result(job: JobId, store: Store) -> Result:
    """The result of a submission that has one; else UserError says why not."""
    status, stage = store.owners_status(job, now=utc_now()), store.stage_of(job)
    if status is None and stage in (None, "tmp"):
        raise UserError("not_found", f"There is no submission {job} here. Check the ID, and DFOM_DATA.")
    state = status.state if status else "queued"
    if state in ("queued", "working"):
        raise UserError(
            "not_found", f"Submission {job} is not finished ({state}). Note its truth when it has a result."
        )
    if state == "failed":
        raise UserError(
            "not_found", f"Submission {job} has no result: {sentence_for((status and status.code) or 'internal')}"
        )
    if state == "expired":
        why = sentence_for((status and status.code) or "expired")
        raise UserError("expired", f"{why} Its scores are gone, so its truth can no longer be noted.")
    try:
        return read_record(store.report(job) / "result.json", Result)
    except FileNotFoundError:
        raise UserError(
            "expired", f"The result of submission {job} was deleted, so its truth can no longer be noted."
        ) from None
    except RecordInvalid:
        raise UserError(
            "record_invalid", f"The result of submission {job} is damaged, so its scores cannot be kept."
        ) from None


def _agrees(noted: Noted, store: Store) -> None:
    """UserError when another submission of the same file was noted as the other kind."""
    other = next(
        (one for one in store.noted()[0] if one.media_sha256 == noted.media_sha256 and one.fake != noted.fake), None
    )
    if other is not None:
        raise UserError(
            "form_incomplete",
            f"The same file was sent as submission {other.id}, which was noted as {_word(other.fake)} on {date(other.noted)}. Undo that "
            "first, if it was wrong.",
        )


def _undo(job: JobId, store: Store, console: Console) -> None:
    if not store.forget_truth(job):
        raise UserError(
            "not_found", f"Nothing is noted of a submission {job}. 'deepfake-o-meter truth --list' shows what is."
        )
    say(console, "Removed: the truth of this submission and its scores are no longer in the record.")


def _word(fake: bool) -> str:
    return "fake" if fake else "real"


# --------------------------------------------------------------------------- showing


def _list(store: Store, *, as_json: bool) -> None:
    items, damaged = store.noted()
    record = site_record(items, damaged=len(damaged))
    if as_json:
        facts = [_item(one) for one in items]
        click.echo(json.dumps({"items": facts, "damaged": damaged, "record": _plain(record)}, indent=1, default=str))
        return
    console = stdout_console()
    console.print(record.words, markup=False)
    for job in damaged:
        console.print(f"{job}: damaged, in no count. 'truth {job} --undo' removes it.", markup=False, style="red")
    if not items:
        return
    listed = Table("ID", "truth", "noted", "scores", "note", box=None, pad_edge=False)
    for one in items:
        scored = sum(answer.fake_score is not None for answer in one.answers)
        listed.add_row(one.id, _word(one.fake), f"{one.noted:%Y-%m-%d}", str(scored), Text(shown(one.note)))
    console.print(listed)
    counts = Table(
        "detector", "files", "false alarms [95 %]", "misses [95 %]", "judged of noted", "inconclusive", "finding misled",
        box=None, pad_edge=False,
    )  # fmt: skip
    for line in record.lines:
        real, fake = line.real, line.fake
        counts.add_row(
            Text(f"{line.title} {line.version}"), line.material, real.words, fake.words,
            f"{real.judged + fake.judged} of {real.noted + fake.noted}", str(real.inconclusive + fake.inconclusive),
            str(real.misled + fake.misled),
        )  # fmt: skip
    console.print(counts)
    guesses = record.guesses
    if guesses.made:
        console.print(
            f"Visitors' own guesses, wrong: {guesses.words('real')} real, {guesses.words('fake')} manipulated."
        )
    console.print(NO_SAMPLE, style="dim", markup=False)


def _item(one: Noted) -> dict[str, Any]:
    scores = {answer.id: answer.fake_score for answer in one.answers}
    return {
        "id": one.id,
        "truth": _word(one.fake),
        "noted": one.noted,
        "note": one.note,
        "mode": one.mode,
        "guess": one.guess,
        "scores": scores,
    }


def _plain(record: SiteRecord) -> dict[str, Any]:
    guesses = {
        "real": record.guesses.real.model_dump(),
        "fake": record.guesses.fake.model_dump(),
        "unsure": record.guesses.unsure,
    }
    return {**asdict(record), "lines": [_plain_line(line) for line in record.lines], "guesses": guesses}


def _plain_line(line: Line) -> dict[str, Any]:
    sides = {name: getattr(line, name) for name in ("real", "fake")}
    return {
        **{name: getattr(line, name) for name in ("detector", "title", "version", "weights", "material")},
        **{
            name: {**asdict(side), "wrong": side.wrong.model_dump(), "judged": side.judged}
            for name, side in sides.items()
        },
    }


# --------------------------------------------------------------------------- reference sets


def _make_references(
    asked: Asked, store: Store, settings: Settings, *, build: Callable[[Settings], BackEnd], console: Console
) -> None:
    """Write the record as a reference set of each detector that it holds enough of."""
    name = checked_name(asked.reference or "")
    items, damaged = store.noted()
    if damaged:
        say(console, f"Left out: {counted(len(damaged), 'damaged item')}.")
    backend, made = build(settings), 0
    with contextlib.closing(backend.pool):
        for detector in sorted({answer.id for item in items for answer in item.answers}):
            try:
                card = backend.catalog.card(detector)
            except UserError:
                say(console, f"{detector}: not a detector of this installation, so it gets no set.")
                continue
            ran = provenance(card, settings=settings, pool=backend.pool)
            found = reference_of(items, card=card, ran=ran, mode=asked.mode, name=name, about=asked.about)
            numbers = f"{found.data.real} real, {found.data.fake} fake"
            if min(found.data.real, found.data.fake) < KINDS_NEEDED:
                what = f"{numbers} of the version that is installed, {asked.mode} mode. A set needs at least {KINDS_NEEDED} of each"
                say(console, f"{detector}: {what}, so none is written.")
                continue
            path = write_reference(found, settings.references / detector)
            say(console, f"Reference set: {path} ({numbers})")
            if min(found.data.real, found.data.fake) < FEW_MEASURED:
                say(
                    console,
                    "It is small, so most of what it says will be inconclusive. It is used before a shipped one.",
                )
            made += 1
    if not made:
        raise UserError(
            "not_found", "No reference set was written: too little is noted of the detectors as they are installed."
        )
