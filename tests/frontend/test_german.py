"""The German catalogue: nothing is missing, every value of an original is in its translation, and the command would change nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from string import Formatter
from typing import Any, get_args

import pytest
from babel.messages.pofile import read_po

from shared import how_sure, origin_words, words
from shared.coverage import coverage_rows
from shared.languages import ENGLISH, OFFERED, _, digits, ngettext, speaking
from shared.notes import SENTENCES, Note, note_sentence
from shared.origin import Action, Claim, Credentials, Ingredient, Origin, State, Trace
from shared.person_words import standings
from shared.rounding import score
from shared.statement import finding_words, stability_words, statement_of
from shared.translations import ROOT, missing, path_of, script_texts, template, updated
from shared.truths import site_record
from tests.frontend.stories import Visitor
from tests.report.conftest import make_result
from tests.scores.sets import LIKE
from tests.scores.test_findings import worth
from tests.shared.test_statement import STRONG, WEAK, band, judged

CODES = [code for code in OFFERED if code != ENGLISH]


def messages(code: str) -> list[tuple[str, str]]:
    """Each original with its translation; plural forms each with the plural original."""
    with path_of(code).open("rb") as file:
        known = read_po(file, locale=code)
    pairs = []
    for item in known:
        if not item.id:
            continue
        if isinstance(item.id, tuple):
            pairs += [(item.id[1], form) for form in item.string]
        else:
            pairs.append((item.id, item.string))
    return pairs


@pytest.mark.parametrize("code", CODES)
def test_nothing_is_missing_and_the_command_changes_nothing(code: str) -> None:
    texts = template()
    assert len(texts) > 600
    assert missing(code) == []
    assert updated(code, texts) == path_of(code).read_bytes(), "run: make translations"


def named(text: str) -> set[str]:
    """The values of a text: ``{name}`` of modules, ``%(name)s`` of templates, and tags with their attributes."""
    percents = set(re.findall(r"%\(\w+\)s", text))
    tags = {tag for tag in re.findall(r"</?\w+[^>]*>", text)}
    braces = set() if percents else {f"{name}:{form}" for _lead, name, form, _how in Formatter().parse(text) if name}
    return percents | tags | braces


@pytest.mark.parametrize("code", CODES)
def test_a_translation_has_the_values_and_tags_of_its_original(code: str) -> None:
    wrong = [
        (one, other)
        for one, other in messages(code)
        if named(other) - named(one) or named(one) - named(other) - {"n:", "%(count)s"}  # a singular may say "one"
    ]
    assert wrong == []


@pytest.mark.parametrize("code", CODES)
def test_a_translation_ends_and_counts_percents_as_its_original(code: str) -> None:
    ends = ".:!?)"
    wrong = [
        (one, other)
        for one, other in messages(code)
        if (one[-1] in ".:" and other[-1] not in ends) or one.count("%%") != other.count("%%")
    ]
    assert wrong == []


def test_numbers_days_and_lengths_of_time_are_written_as_germans_do() -> None:
    moment = datetime(2026, 12, 28, 21, 45, tzinfo=UTC)
    with speaking("de"):
        assert words.date_and_time(moment) == "28. Dezember 2026, 21:45 UTC"
        assert [words.duration(seconds) for seconds in (2.5, 40, 180)] == ["2,5 Sek.", "40 Sek.", "3 Min."]
        assert words.duration(8000) == "2 Std. 13 Min."
        assert words.clock_time(7.44) == "0:07,4"
        assert words.size(12_345_678) == "12,3 MB"
        assert digits(1234.5, ",.1f") == "1.234,5"
        assert [score(value) for value in (0.854, 0.9999, None)] == ["0,85", ">0,99", "–"]
        assert [words.counted(number, "face") for number in (0, 1, 2000)] == [
            "0 Gesichter",
            "1 Gesicht",
            "2.000 Gesichter",
        ]
        assert words.joined(["A", "B", "C"]) == "A, B und C"
        assert ngettext("{n} day", "{n} days", 1) == "1 Tag"
    assert words.date_and_time(moment) == "28 December 2026, 21:45 UTC"
    assert score(0.854) == "0.85"


def test_every_note_and_every_reason_is_german() -> None:
    note = {code: Note(code, start_s=1.0, end_s=2.0, value=0.5) for code in SENTENCES}
    with speaking("de"):
        said = {code: note_sentence(item) for code, item in note.items()}
        reasons = [text for item in how_sure.REASONS for text in (item.short, item.when, item.finding)]
        tables = [text for row in (*how_sure.levels(), *how_sure.thresholds()) for text in row]
    english = {code: note_sentence(item) for code, item in note.items()}
    assert [code for code in said if said[code] == english[code]] == []
    assert "{" not in "".join([*said.values(), *reasons, *tables])
    assert reasons[0] == "er hat zu wenig beurteilt"
    assert "2 bis 10" in tables
    assert "10.000 bis 1.000.000" in tables


#: English words that are no German ones and no names.
ENGLISH_WORDS = re.compile(
    r"\b(the|of|and|is|are|were|that|this|with|not|from|which|file|files|its|points|kinds)\b", re.IGNORECASE
)


MADE_UP = {
    "strong": lambda: [judged("mesonet", 0.9, worth=STRONG)],
    "weak": lambda: [judged("mesonet", 0.9, worth=WEAK)],
    "unmeasured": lambda: [judged("mesonet", 0.9), judged("selfblend", 0.2)],
    "files like it": lambda: [
        judged(
            "mesonet",
            0.9,
            worth=STRONG.model_copy(update={"like": "faces of 64 to 128 pixels, less than 0.05 bits a pixel"}),
        )
    ],
    "few scenes": lambda: [judged("mesonet", 0.9, worth=WEAK.model_copy(update={"rarer_groups": 3}))],
    "near its threshold": lambda: [judged("mesonet", 0.55)],
    "few faces": lambda: [judged("mesonet", 0.9, units=4)],
    "a band": lambda: [judged("mesonet", 0.52, worth=STRONG, stability=band(0.41, 0.55, jpeg_60=0.41, half_size=None))],
    "contradiction": lambda: [
        judged("mesonet", 0.9, worth=STRONG),
        judged("selfblend", 0.1, worth=worth(0.05, 0.01, 0.2)),
    ],
}


@pytest.mark.parametrize("name", MADE_UP)
def test_the_statement_of_a_made_up_result_is_german_throughout(name: str) -> None:
    answers = tuple(MADE_UP[name]())
    result = make_result().model_copy(update={"detectors": answers, "conditions": LIKE})
    with speaking("de"):
        said = statement_of(result)
        assert said is not None
        told = [*said.sentences, *(finding_words(one.finding) for one in answers if one.finding)]
        told += [words.detector_sentence(one) for one in answers] + [stability_words(one) for one in answers]
        told += [words.looked_at(result), words.likeness(words.units_of(result))]
        told += [text for standing in standings(result) for text in (standing.sentence, standing.name, standing.times)]
        told += [text for row in coverage_rows(result) for text in row]
    assert [sentence for sentence in told if ENGLISH_WORDS.findall(sentence)] == []


def test_the_record_of_a_site_without_guesses_of_a_kind_is_german() -> None:
    with speaking("de"):
        guesses = site_record([]).guesses
        assert (guesses.words("real"), guesses.words("fake")) == ("nichts geraten", "nichts geraten")


def test_a_german_statement_word_for_word() -> None:
    answers = tuple(MADE_UP["strong"]())
    with speaking("de"):
        said = statement_of(make_result().model_copy(update={"detectors": answers, "conditions": LIKE}))
        assert said is not None
        assert said.headline == (
            "Die einzige gezählte Indizienart deutet auf Manipulation hin: Spuren eines Gesichts, das ein Netz erzeugt oder verändert "
            "hat (MesoNet, mäßige Unterstützung)."
        )
        assert said.details[0] == (
            "MesoNet: Von den Dateien, an denen er gemessen wurde, erreichten 4 von 139 echten und 60 von 115 manipulierten mindestens "
            "diesen Score. Zu wenige dieser Dateien sind wie diese, um sie allein zu zählen, deshalb wurden alle gezählt. Das ist mäßige "
            "Unterstützung für manipuliertes Material (Likelihood-Quotient 60, 95-%-Intervall 15 bis 110)."
        )
        assert said.looked_for == "Gesucht wurde nach: Gesichtstausch (Face-Swap)."
    assert statement_of(make_result().model_copy(update={"detectors": answers, "conditions": LIKE})).looked_for == (
        "Looked for: face swap."
    )


#: A manifest and traces with everything that we have words for.
FULL = Claim(
    title="Titel", generator="Programm", signer="Muster", organisation="Amt", issuer="Wurzel", valid_from="2026-01-01T00:00:00+00:00",
    valid_until=None, signed="2026-02-31", actions=tuple(Action(code, "Stift", "2026-03-01") for code in origin_words._ACTIONS),
    ingredients=(Ingredient(None, None, False),), sources=tuple(origin_words.SOURCES), failures=(*origin_words._FAILURES, "neu"),
    named_actor=True,
)  # fmt: skip
TRACES = tuple(
    Trace(code, "trainedAlgorithmicMedia" if code == "source_type" else "Lavf60")
    for code in (*origin_words._LABELS, "place", "thumbnail_differs")
)
NOBODY = replace(FULL, signer=None, organisation=None, sources=())


@pytest.mark.parametrize("state", get_args(State))
@pytest.mark.parametrize("claims", [(FULL, FULL), (NOBODY, FULL), (NOBODY, NOBODY)])
def test_where_a_file_comes_from_is_german_throughout(state: State, claims: tuple[Claim, ...]) -> None:
    for code in (*origin_words._UNREADABLE, None) if state == "unreadable" else (None,):
        credentials = Credentials(state, code=code, claims=claims, left_out=2, host=code)
        origin = Origin(credentials=credentials, traces=TRACES)
        result = make_result(frames=2).model_copy(update={"origin": origin})
        english = origin_words.provenance_of(result)
        with speaking("de"):
            said = origin_words.provenance_of(result)
        assert said is not None
        assert english is not None
        rows = [*(row for claim in said.claims for row in claim.rows), *said.traces]
        told = [said.lead, *said.sentences, *said.hints, said.of_traces, *(claim.heading for claim in said.claims)]
        told += [row.label for row in rows] + [value for row in rows if not row.theirs for value in row.values]
        assert [text for text in told if ENGLISH_WORDS.search(text) or "{" in text] == []
        other = [english.lead, *english.sentences, *english.hints, *(claim.heading for claim in english.claims)]
        assert not set(told) & set(other)
        given = {row.label: row.values[0] for row in said.claims[0].rows}
        assert given["Zertifikat gültig"] == "1. Januar 2026 bis zu einem unbekannten Tag"
        assert given["Signiert laut Zeitstempel"] == "2026-02-31"
        assert given["Schritte"].startswith("erstellt (mit Stift, 1. März 2026); ")


def test_every_source_step_and_label_has_german_words() -> None:
    tables = (origin_words.SOURCES, origin_words._ACTIONS, origin_words._LABELS)
    with speaking("de"):
        same = [text for table in tables for text in table.values() if _(text) == text]
    assert same == ["Encoder", "Codec"]


def test_a_plural_of_a_template_is_chosen_by_its_number() -> None:
    """Jinja takes the first value where none is named: a page with another one first failed in German, and had no singular in English."""
    block = re.compile(r"(?s){%-?\s*trans\s+(?:trimmed\s+)?(\w+)((?:(?!endtrans).)*?){%-?\s*pluralize\s*(\w*)")
    found = [
        (path.name, first, named)
        for path in (ROOT / "frontend" / "templates").rglob("*.*")
        for first, _between, named in block.findall(path.read_text())
    ]
    assert len(found) > 10
    assert [item for item in found if (item[2] or item[1]) != "count"] == []


def unmarked_in_scripts() -> list[str]:
    """Sentences in our scripts that no ``_()`` and no ``ngettext()`` has."""
    known = {form for text in script_texts() for form in ([text] if isinstance(text, str) else text)}
    sentence = re.compile(r"""(["'`])([A-Z](?:(?!\1)[^\n])* (?:(?!\1)[^\n])*)\1""")
    found = []
    for path in sorted((ROOT / "frontend" / "static").glob("*.js")):
        code = re.sub(r"(?m)(^|\s)//.*$", "", path.read_text())
        found += [f"{path.name}: {text}" for _quote, text in sentence.findall(code) if text not in known]
    return found


def test_every_sentence_of_a_script_is_marked() -> None:
    assert unmarked_in_scripts() == []


PAGES = ("/help", "/how-sure", "/help/publish", "/help/privacy", "/help/programs", "/record", "/detectors", "/nothing")


@pytest.mark.parametrize("path", PAGES)
def test_a_german_page_has_no_english_sentence_left(visitor: Visitor, path: str) -> None:
    page = visitor.get(path, headers={"Accept-Language": "de"}).text
    assert '<html lang="de"' in page
    shown = re.sub(r"(?s)<(pre|code|script|style)\b.*?</\1>", " ", page)
    shown = re.sub(r'(?s)<(\w+)[^>]* lang="en"[^>]*>.*?</\1>', " ", shown)  # says itself that it is English
    texts: list[Any] = re.findall(r">([^<>]+)<", shown) + re.findall(
        r'(?:aria-label|alt|placeholder|title)="([^"]+)"', shown
    )
    assert [text for text in texts if len(ENGLISH_WORDS.findall(text)) > 1] == []
