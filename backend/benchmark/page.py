"""``benchmark.html``: the report for people, one file that reads offline: plots inside, no script, no outside address.

Owns the page's content; its look is ``benchmark.html.j2``. Promises: coverage beside every figure; every untrusted word is escaped.
Imported by ``output``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from backend.benchmark import plots, words
from backend.benchmark.records import Benchmark, Change, Coverage, Figure, Share, Table, Together
from backend.benchmark.tables import FIGURES
from backend.scores.references import UNTOUCHED
from shared.errors import sentence_for
from shared.words import UNIT_NOUNS, counted, date_and_time

#: Figures of the tables by condition and by subset.
_SHORT = ("roc_auc", "eer", "balanced_accuracy", "min_cllr")
#: Rank correlation from which the page warns that two detectors are no two witnesses, whatever their thresholds.
ALIKE = 0.5
#: Fewer groups of a kind than this, and the page warns.
_FEW = 20


def page(benchmark: Benchmark) -> str:
    """The page as HTML."""
    titles = {detector.id: detector.title for detector in benchmark.detectors}
    whole = [t for t in benchmark.tables if t.condition == UNTOUCHED and t.level == "file" and t.subset is None]
    changes = [change for change in benchmark.changes if not change.condition.startswith("pgd_")]
    attacks = [change for change in benchmark.changes if change.condition.startswith("pgd_")]
    return _environment().get_template("benchmark.html.j2").render(
        benchmark=benchmark,
        created=date_and_time(benchmark.created),
        headings=[heading for heading, _ in FIGURES.values()],
        short=[FIGURES[name][0] for name in _SHORT],
        rows=[_row(table, titles, tuple(FIGURES)) for table in whole],
        counts=[_counts(table, titles) for table in whole],
        reasons=[(titles[t.detector], number, sentence_for(code)) for t in whole for code, number in t.coverage.why.items()],
        subsets=[_row(t, titles, _SHORT) | {"what": t.subset} for t in benchmark.tables if t.subset is not None],
        units=[_unit_row(t, titles, benchmark) for t in benchmark.tables if t.level == "unit"],
        together=_matrices(benchmark, titles),
        comparisons=[_comparison(one, titles) for one in benchmark.comparisons],
        changes=[_change(one, titles) for one in changes],
        attacks=[_change(one, titles) for one in attacks],
        refused=[(titles[one.detector], one.sentence) for one in benchmark.attacks if one.refused],
        attacked=next((one for one in benchmark.attacks if not one.refused), None),
        cautions=list(_cautions(benchmark, whole)),
        roc=plots.roc(whole, titles),
        det=plots.det(whole, titles),
        reliability=plots.reliability(whole, titles),
        robustness=_curves(changes, titles, untouched="untouched"),
        pgd=_curves(attacks, titles, untouched="the same units, untouched"),
    )  # fmt: skip


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def figure_words(figure: Figure) -> str:
    """``0.912 [0.87, 0.95]``, or a dash."""
    return " ".join(part for part in _value_and_span(figure) if part)


def _value_and_span(figure: Figure) -> tuple[str, str]:
    value = "–" if figure.value is None else f"{figure.value:.3f}"
    return value, "" if figure.low is None else f"[{figure.low:.2f}, {figure.high:.2f}]"


def _share(share: Share) -> str:
    return f"{share.judged} of {share.of}"


def _row(table: Table, titles: dict[str, str], names: Sequence[str]) -> dict[str, Any]:
    return {
        "detector": titles[table.detector],
        "judged": _share(table.coverage.all),
        "part": table.coverage.all.judged < table.coverage.all.of,
        "figures": [_value_and_span(table.figures[name]) for name in names],
    }


def _unit_row(table: Table, titles: dict[str, str], benchmark: Benchmark) -> dict[str, Any]:
    unit = next(detector.unit for detector in benchmark.detectors if detector.id == table.detector)
    return _row(table, titles, _SHORT) | {"what": counted(table.items, UNIT_NOUNS[unit])}


def _counts(table: Table, titles: dict[str, str]) -> dict[str, Any]:
    counts, part = table.at_threshold, table.coverage
    return {
        "detector": titles[table.detector],
        "fakes": f"{counts.fakes_found} of {counts.fakes_found + counts.fakes_missed}",
        "reals": f"{counts.reals_flagged} of {counts.reals_flagged + counts.reals_passed}",
        "without": _without(part),
    }


def _without(part: Coverage) -> str:
    reals, fakes = part.real.of - part.real.judged, part.fake.of - part.fake.judged
    return f"{reals} real, {fakes} fake"


def _comparison(one: Any, titles: dict[str, str]) -> dict[str, str]:
    p = "–" if one.p is None else "< 0.001" if one.p < 0.001 else f"{one.p:.3f}"
    return {
        "first": titles[one.first],
        "second": titles[one.second],
        "common": str(one.common),
        "aucs": f"{one.roc_auc_first:.3f} and {one.roc_auc_second:.3f}",
        "difference": figure_words(one.difference),
        "p": p,
    }


def _matrices(benchmark: Benchmark, titles: dict[str, str]) -> list[dict[str, Any]]:
    """A square table of real files, and one of manipulated ones: a cell for each two detectors, tinted by their rank correlation."""
    names = [one.id for one in benchmark.detectors]
    found = {frozenset((one.first, one.second)): one for one in benchmark.together if one.truth == "real"}
    fakes = {frozenset((one.first, one.second)): one for one in benchmark.together if one.truth == "fake"}
    return [
        {
            "heading": heading,
            "titles": [titles[name] for name in names],
            "rows": [
                (
                    titles[row],
                    [_cell(pairs.get(frozenset((row, column)))) if row != column else None for column in names],
                )
                for row in names
            ],
        }
        for heading, pairs in (("Real files", found), ("Manipulated files", fakes))
        if pairs
    ]


def _cell(one: Together | None) -> dict[str, str] | None:
    if one is None:
        return None
    rank = one.rank.value or 0.0
    # orange for alike, blue for opposite, pale enough for dark text
    colour = f"rgba(213, 94, 0, {0.45 * rank:.2f})" if rank > 0 else f"rgba(0, 114, 178, {-0.45 * rank:.2f})"
    return {
        "colour": colour,
        "rank": figure_words(one.rank),
        "phi": figure_words(one.phi),
        "kappa": figure_words(one.kappa),
        "both": f"{one.both_wrong} of {one.items} wrong by both, {one.by_chance:.1f} by chance",
    }


def _alike(benchmark: Benchmark, titles: dict[str, str]) -> Iterator[str]:
    """Two detectors whose errors go together, with more than chance behind it, are no two witnesses."""
    for one in benchmark.together:
        ranked = (one.rank.value or 0.0) >= ALIKE and (one.rank.low or 0.0) > 0
        if ranked or (one.phi.low or 0.0) > 0:
            kind = "real" if one.truth == "real" else "manipulated"
            yield (
                f"{titles[one.first]} and {titles[one.second]} err together on {kind} files ({one.both_wrong} wrong by both, "
                f"{one.by_chance:.1f} by chance; correlation of ranks {figure_words(one.rank)}): do not take them for two witnesses."
            )


def _change(one: Change, titles: dict[str, str]) -> dict[str, str]:
    def number(value: float | None, sign: str = "") -> str:
        return "–" if value is None else f"{value:{sign}.3f}"

    return {
        "detector": titles[one.detector],
        "condition": words.condition(one.condition),
        "common": str(one.common),
        "auc": f"{number(one.roc_auc_untouched)} → {number(one.roc_auc)}",
        "difference": figure_words(one.difference),
        "crossed": f"{one.crossed} of {one.common}",
        "shifts": f"{number(one.shift_real, '+')} / {number(one.shift_fake, '+')}",
    }


def _curves(changes: Sequence[Change], titles: dict[str, str], *, untouched: str) -> str | None:
    if not any(change.roc_auc is not None for change in changes):
        return None
    names = list(dict.fromkeys(change.condition for change in changes))
    return plots.robustness([(name, words.condition(name)) for name in names], changes, titles, untouched=untouched)


def _cautions(benchmark: Benchmark, whole: Sequence[Table]) -> Any:
    data = benchmark.data
    if data.missing_count:
        yield f"Files that the data set lists and that are not here: {data.missing_count}. They are counted nowhere."
    if data.unlabelled:
        yield f"Left out because their label is none of the words we know, or there is none: {data.unlabelled}."
    for table in whole:
        part = table.coverage.all
        if part.judged < part.of:
            title = next(detector.title for detector in benchmark.detectors if detector.id == table.detector)
            yield f"{title} gave no score for {part.of - part.judged} of {part.of} files: its figures are about the others only."
    fewest = min((table.groups for table in whole), default=0)
    if fewest < 2 * _FEW:
        yield f"Intervals draw from as few as {fewest} identities or videos: they are rough, and other data may well lie outside of them."
    if any(table.figures["roc_auc"].value in (0.0, 1.0) for table in whole):
        yield (
            "Where the scores of the two kinds do not overlap at all, drawing again cannot tell how sure that is. The interval is then the "
            "exact bound for so few independent cases, or left out."
        )
    yield from _alike(benchmark, {detector.id: detector.title for detector in benchmark.detectors})
    yield "Brier, ECE and AP depend on the share of fakes in this set. Cllr reads a fake score as a probability at even odds."
    yield "Figures hold for data like these. A detector that was trained on this set, or on its sources, looks better here than it is."
