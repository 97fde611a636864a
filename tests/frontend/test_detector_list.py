"""/detectors: a line for each detector, in groups; a query narrows the list or unfolds one, and needs no script."""

from __future__ import annotations

import re

import pytest
from flask import Flask

from frontend.portal import portal
from shared.records import Counted
from tests.frontend.stories import START, Uploader, Visitor, catalog, finish


@pytest.fixture(autouse=True)
def _all_kinds(app: Flask) -> None:
    """Detectors of faces, pictures and sound; one of them was measured."""
    known = catalog(START, all_kinds=True)
    counted = Counted(reference="clips", own=False, real=139, real_flagged=22, fake=115, fake_flagged=28)
    first = known.detectors[0].model_copy(update={"family": "synthesis", "looks_for": ("swap",), "counted": counted})
    portal(app).store.write_catalog(known.model_copy(update={"detectors": (first, *known.detectors[1:])}))


def shown(visitor: Visitor, query: str = "") -> list[str]:
    return re.findall(r'<div id="(\w+)" class="about">', visitor.get(f"/detectors{query}").text)


def opened(page: str) -> list[str]:
    return re.findall(r'(?s)<details class="detector" open>.*?<div id="(\w+)"', page)


def test_detectors_are_in_groups_those_that_are_ready_first(visitor: Visitor) -> None:
    assert shown(visitor) == ["mesonet", "classnseg", "va", "xception", "ferretnet", "aasist"]
    page = visitor.get("/detectors").text
    assert re.findall(r'<h2 id="g-\d">([\w ,]+) <', page) == ["Faces, one by one", "Whole pictures", "Sound"]
    assert opened(page) == [], "all are folded"


def test_a_line_says_what_a_detector_is_and_what_it_is_worth(visitor: Visitor) -> None:
    lines = re.findall(r"(?s)<summary>(.*?)</summary>", visitor.get("/detectors").text)
    words = [" ".join(re.sub(r"<[^>]*>", " ", line).split()) for line in lines]
    assert words[0] == (
        "MesoInception4 2018 ready Looks for: face swap. Evidence: traces of a face that a network made or altered. "
        "Measured here: it flags 28 of 115 manipulated and 22 of 139 real files."
    )
    assert words[3] == "Xception 2019 weights not installed Not measured here."


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("?input=sound", ["aasist"]),
        ("?kind=swap", ["mesonet"]),
        ("?ready=1&input=face", ["mesonet", "classnseg", "va"]),
        ("?q=TEETH+eyes", ["va"]),
        ("?q=network+made", ["mesonet"]),
        ("?q=nothing+like+it", []),
        ("?q=nothing+like+it&open=va", ["va"]),
        ("?input=smell&kind=%00&ready=yes&open=..", ["mesonet", "classnseg", "va", "xception", "ferretnet", "aasist"]),
    ],
)
def test_a_query_narrows_the_list(visitor: Visitor, query: str, ids: list[str]) -> None:
    assert shown(visitor, query) == ids


def test_the_form_shows_what_was_asked_and_text_of_a_visitor_stays_text(visitor: Visitor) -> None:
    page = visitor.get('/detectors?q="><b>x&input=sound&ready=1').text
    assert 'value="&#34;&gt;&lt;b&gt;x"' in page
    assert '<option value="sound" selected>' in page
    assert 'name="ready" value="1" checked' in page
    assert "No detector fits" in page


def test_a_result_leads_to_the_very_detector_unfolded(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit()
    finish(app, job)
    uploader.enter_pin(job)
    links = re.findall(r'href="(/detectors\?open=(\w+)#\w+)"', uploader.get(f"/r/{job}").text)
    assert "mesonet" in [name for _, name in links]
    for link, name in links:
        assert link.endswith(f"#{name}")
        assert opened(uploader.get(link.split("#")[0]).text) == [name]
