"""Model cards in the portal: tables are tables, and a stranger's card can bring no script."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask

from frontend.portal import portal

CARD = """# MesoNet

| gate | measured |
| --- | --- |
| AUC | 0.9 |

<script>alert(1)</script> <b onclick="x()">bold</b>
[good](https://example.org) [`toml`](detector.toml) [bad](javascript:alert(1)) ![picture](https://tracker.example/x.png)
"""


@pytest.fixture
def page(app: Flask) -> str:
    portal(app).store.write_model_card("mesonet", CARD)
    answer = app.test_client().get("/detectors/mesonet")
    assert answer.status_code == 200
    return answer.text


def test_the_card_is_shown_with_its_table(page: str):
    assert "<h1>MesoNet</h1>" in page
    assert "<td>0.9</td>" in page
    assert 'href="https://example.org"' in page


def test_html_scripts_and_pictures_of_a_stranger_stay_text(page: str):
    card = page[page.index('<article class="card prose"') :]
    for evil in ("<script>alert", "<b onclick", 'href="javascript', "<img"):
        assert evil not in card
    assert "&lt;script&gt;" in card


def test_links_into_the_checkout_are_plain_words(page: str):
    assert "<code>toml</code>" in page
    assert "detector.toml" not in page


def test_the_list_of_detectors_leads_to_each_card(app: Flask):
    assert 'href="/detectors/mesonet"' in app.test_client().get("/detectors").text


@pytest.mark.parametrize("name", ["nonsense", "va", "..%2f..%2fcatalog", "MESONET"])
def test_there_is_no_page_for_what_has_no_card(app: Flask, name: str):
    assert app.test_client().get(f"/detectors/{name}").status_code == 404


def test_a_card_is_written_once(app: Flask, tmp_path: Path):
    store = portal(app).store
    store.write_model_card("mesonet", "one")
    path = next(tmp_path.rglob("mesonet.md"))
    before = path.stat().st_ino
    store.write_model_card("mesonet", "one")
    assert path.stat().st_ino == before
    store.write_model_card("mesonet", "two")
    assert store.read_model_card("mesonet") == "two"
    assert store.read_model_card("../catalog") is None
