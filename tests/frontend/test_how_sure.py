"""The page that explains findings: every reason, level and threshold of the rules is on it, with the rules' own numbers."""

from __future__ import annotations

import re
from html import unescape

import pytest
from flask import Flask

from shared import evidence, how_sure


@pytest.fixture
def page(app: Flask) -> str:
    return unescape(app.test_client().get("/how-sure").get_data(as_text=True))


def cells(page: str, label: str) -> list[list[str]]:
    """The rows of one table, as text."""
    table = page.split(f'aria-label="{label}"')[1].split("</table>")[0]
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", table.split("<tbody>")[1], flags=re.DOTALL)
    return [[re.sub(r"<[^>]*>", " ", cell).strip() for cell in re.findall(r"<td>(.*?)</td>", row)] for row in rows]


def test_every_code_is_explained_once_in_the_order_of_the_rules_and_can_be_linked(page: str) -> None:
    rows = cells(page, "Reasons of findings")
    assert [row[0].split()[-1] for row in rows] == list(evidence.CODES)
    for code in evidence.CODES:
        assert page.count(f'id="{code}"') == 1
    pointing = [row[0].split()[-1] for row in rows if row[2] != "inconclusive"]
    assert pointing == ["unmeasured", "measured"], "only these two point anywhere"


def test_levels_are_those_of_the_rules_for_both_sides(page: str) -> None:
    rows = cells(page, "Levels of support")
    assert [row[2] for row in rows] == [words for _, _, words in evidence.LEVELS]
    assert rows[0] == ["2 to 10", "1/2 to 1/10", "limited support"]
    assert rows[-1] == ["1,000,000 and more", "1/1,000,000 and less", "extremely strong support"]
    for (least, name, _), row in zip(evidence.LEVELS, rows, strict=True):
        begins = float(row[0].split()[0].replace(",", ""))
        assert (begins, evidence.level_of(begins)) == (least, name), "the page and the rule begin a level at one ratio"


def test_every_threshold_of_the_rules_is_on_the_page(page: str) -> None:
    told = " ".join(" ".join(row) for row in cells(page, "Numbers in these rules"))
    names = (
        "LEAST_UNITS",
        "NEAR",
        "LEAST_RATIO",
        "LEAST_IN_CELL",
        "LEAST_OF_A_KIND_IN_CELL",
        "LEAST_OF_A_KIND",
        "FEW_MEASURED",
        "RARE_A_MINUTE",
    )
    numbers = [getattr(evidence, name) for name in names] + [*evidence.FACE_PX_EDGES, *evidence.BITS_EDGES]
    for number in [*numbers, 100 * evidence.LEAST_SHARE]:
        assert re.search(rf"(?<![\d.]){re.escape(f'{number:g}')}(?![\d.])", told), number


def test_the_explanations_claim_nothing_about_a_file(page: str) -> None:
    text = " ".join((how_sure.RATIO, how_sure.INTERVAL, how_sure.LEVEL, *(item.when for item in how_sure.REASONS)))
    for claim in ("proves", "is fake", "is real", "certain that"):
        assert claim not in text
    assert "not the probability" in page
    assert all(item.when.endswith(".") for item in how_sure.REASONS)
    assert how_sure.reason("a_code_of_a_later_version") is None


def test_the_help_leads_there(app: Flask) -> None:
    page = app.test_client().get("/help").get_data(as_text=True)
    assert 'href="/how-sure"' in page
    assert "no mean of them is shown" in page


def test_the_page_says_what_a_stretch_of_time_is_and_is_not(page: str) -> None:
    assert 'id="stretches"' in page
    assert how_sure.STRETCHES in page
