"""The tables as CSV and LaTeX, and the scores as CSV. Owns their columns; docs/benchmark.md lists them. Imported by ``output``."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from backend.benchmark import words
from backend.benchmark.records import Benchmark, Figure, Row, Table
from backend.benchmark.tables import FIGURES
from backend.scores.references import UNTOUCHED

#: Columns of the LaTeX table: a page is narrow.
_IN_LATEX = ("roc_auc", "eer", "average_precision", "balanced_accuracy", "found_at_5", "min_cllr")


def tables_csv(benchmark: Benchmark) -> str:
    """One line for each detector, condition, level and subset; an interval is two columns beside its figure, empty where there is none."""
    head = [
        "detector",
        "condition",
        "level",
        "subset",
        "items",
        "groups",
        "judged",
        "of",
        "judged_real",
        "of_real",
        "judged_fake",
        "of_fake",
    ]
    head += [column for name in FIGURES for column in (name, f"{name}_low", f"{name}_high")]
    head += ["threshold_fakes_found", "threshold_fakes_missed", "threshold_reals_passed", "threshold_reals_flagged"]
    return _csv(head, (_line(table) for table in benchmark.tables))


def _line(table: Table) -> list[object]:
    part, counts = table.coverage, table.at_threshold
    line: list[object] = [table.detector, table.condition, table.level, table.subset or "", table.items, table.groups]
    line += [number for share in (part.all, part.real, part.fake) for number in (share.judged, share.of)]
    for name in FIGURES:
        figure = table.figures[name]
        line += [_cell(value) for value in (figure.value, figure.low, figure.high)]
    return [*line, counts.fakes_found, counts.fakes_missed, counts.reals_passed, counts.reals_flagged]


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def together_csv(benchmark: Benchmark) -> str:
    """One line for each two detectors and kind of file: how alike they rank, and how often they are wrong together."""
    head = ["first", "second", "truth", "items", "groups", "first_wrong", "second_wrong", "both_wrong", "by_chance"]
    names = ("rank", "phi", "kappa")
    lines = [
        [getattr(one, name) for name in head[:-1]]
        + [_cell(one.by_chance)]
        + [_cell(value) for name in names for value in vars(getattr(one, name)).values()]
        for one in benchmark.together
    ]
    return _csv([*head, *(column for name in names for column in (name, f"{name}_low", f"{name}_high"))], lines)


def scores_csv(rows: Iterable[Row]) -> str:
    """One line for each file, condition and detector; the score is empty where there is none, and ``code`` says why."""
    head = [
        "file",
        "sha256",
        "label",
        "subset",
        "group",
        "condition",
        "detector",
        "status",
        "code",
        "fake_score",
        "units",
    ]
    head += ["face_px", "sharpness", "bits_per_pixel", "codec"]
    return _csv(head, (_score_line(row) for row in rows))


def _score_line(row: Row) -> list[object]:
    like = row.like
    facts = (like.face_px, like.sharpness, like.bits_per_pixel) if like else (None, None, None)
    line: list[object] = [
        row.item,
        row.sha256,
        "fake" if row.fake else "real",
        row.subset,
        row.group,
        row.condition,
        row.detector,
    ]
    return [
        *line,
        row.status,
        row.code or "",
        _cell(row.fake_score),
        len(row.units),
        *map(_cell, facts),
        like.codec if like else "",
    ]


def _csv(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(lines)
    return text.getvalue()


# --------------------------------------------------------------------------- LaTeX


def tables_latex(benchmark: Benchmark) -> str:
    """Tables for a paper (package booktabs): all files, then subsets, then conditions; figures with their 95 % intervals."""
    titles = {detector.id: detector.title for detector in benchmark.detectors}
    groups = [
        ("all files", [t for t in benchmark.tables if t.level == "file" and t.subset is None and t.condition == UNTOUCHED]),
        ("by subset", [t for t in benchmark.tables if t.subset is not None]),
        ("by condition", [t for t in benchmark.tables if t.level == "file" and t.condition != UNTOUCHED]),
    ]  # fmt: skip
    parts = [_tabular(name, tables, titles, benchmark) for name, tables in groups if tables]
    return "% \\usepackage{booktabs}\n" + "\n".join(parts)


def _tabular(name: str, tables: Sequence[Table], titles: dict[str, str], benchmark: Benchmark) -> str:
    data = benchmark.data
    lines = [
        "\\begin{table}",
        "\\centering\\small",
        f"\\caption{{{_plain(data.name)}, {name}: {data.real} real, {data.fake} fake files. 95\\,\\% intervals over identities or videos. "
        "Files without a score are in no figure.}",
        f"\\begin{{tabular}}{{ll{'r' * (1 + len(_IN_LATEX))}}}",
        "\\toprule",
        " & ".join(["detector", "", "judged", *(_plain(FIGURES[key][0]) for key in _IN_LATEX)]) + " \\\\",
        "\\midrule",
    ]
    for table in tables:
        what = table.subset or ("" if table.condition == UNTOUCHED else words.condition(table.condition))
        judged = f"{table.coverage.all.judged}/{table.coverage.all.of}"
        cells = [_plain(titles[table.detector]), _plain(what), judged, *(_tex(table.figures[key]) for key in _IN_LATEX)]
        lines.append(" & ".join(cells) + " \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", "\\end{table}", ""])


def _tex(figure: Figure) -> str:
    if figure.value is None:
        return "--"
    span = "" if figure.low is None else f" [{figure.low:.2f}, {figure.high:.2f}]"
    return f"{figure.value:.3f}{span}"


def _plain(text: str) -> str:
    """Text that LaTeX prints as it is."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(sign, f"\\{sign}" if sign in "&%$#_{}" else sign) for sign in text if sign.isprintable())
