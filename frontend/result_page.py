"""The page of a finished result: what its templates (``templates/result/``) are given.

Promises: everything on it comes from the report and from the submission's record; media are never opened. For the front-end only.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from flask import render_template, session, url_for

from frontend import wording
from frontend.detector_rows import detector_rows, same_evidence
from frontend.faces_shown import gallery, marks_of
from frontend.original import original_of
from frontend.portal import Portal
from frontend.reading import read_report
from shared.coverage import coverage_rows
from shared.origin_words import provenance_of
from shared.person_words import NAMES, WORDS, persons_sentence, standings
from shared.records import JobId, Submission
from shared.statement import statement_of


def page(site: Portal, job: JobId, *, submission: Submission | None, finished: datetime | None) -> str:
    """The result page of ``job`` as HTML. ``submission``: None when its record is gone; ``finished``: when the analysis ended.

    PermanentError when the report is missing or cannot be read, StoreTrouble when the folder does not answer.
    """
    reading = read_report(site.store.report(job))
    result = reading.result
    catalog = site.store.read_catalog()
    original = original_of(site.store, job, result.media)
    persons = standings(result)
    return render_template(
        "result.html",
        job=job,
        reading=reading,
        result=result,
        said=statement_of(result),
        coverage=coverage_rows(result),
        original=original,
        original_url=url_for("result_files.original", untrusted_id=job) if original else None,
        standings=persons,
        about_persons=persons_sentence(persons),
        person_names=NAMES,
        person_meanings=WORDS,
        marks=marks_of(result) if result.media.kind == "image" else (),
        gallery=gallery(reading),
        rows=detector_rows(result),
        same_evidence=same_evidence(result),
        provenance=provenance_of(result),
        seen=site.seen.find(job, result, is_open=lambda other: site.access.is_open(session, other))
        if site.seen
        else None,
        cards={entry.id: entry for entry in catalog.detectors} if catalog else {},
        result_deleted=(finished or result.created) + timedelta(days=site.settings.keep_results_days),
        file_deleted=submission.received + timedelta(days=site.settings.keep_media_days) if submission else None,
        source=submission.source_url if submission else None,
        open_minutes=site.settings.session_minutes,
        backend=wording.catalog_is_fresh(catalog, site.clock()),
    )
