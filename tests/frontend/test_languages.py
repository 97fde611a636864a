"""Which language a visitor reads: the choice in the footer, the browser's wish, English; and nothing of it is left for the next request."""

from __future__ import annotations

import re
from typing import Any

import pytest

from frontend.portal import portal
from shared.languages import OFFERED, language
from tests.frontend.stories import Uploader, Visitor


@pytest.mark.parametrize(
    ("wish", "spoken"),
    [
        (None, "en"),
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.5", "de"),
        ("fr,de;q=0.5", "de"),
        ("fr", "en"),
        ("en-US,de;q=0.9", "en"),
        ("*;q=x,;;", "en"),
    ],
)
def test_without_a_choice_the_browser_s_wish_decides(visitor: Visitor, wish: str | None, spoken: str) -> None:
    headers = {"Accept-Language": wish} if wish else {}
    page = visitor.get("/help", headers=headers)
    assert f'<html lang="{spoken}" dir="ltr">' in page.text
    assert language().code == "en"  # the next request begins anew


def test_the_choice_of_the_footer_is_kept_and_leads_to_the_same_page(visitor: Visitor) -> None:
    page = visitor.get("/how-sure?x=1")
    assert 'href="?x=1&amp;language=de" lang="de" hreflang="de"' in page.text
    chosen = visitor.get("/how-sure?x=1&language=de")
    assert (chosen.status_code, chosen.location) == (303, "/how-sure?x=1")
    cookie = chosen.headers["Set-Cookie"]
    assert cookie.startswith("language=de;")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert '<html lang="de"' in visitor.get("/help", headers={"Accept-Language": "en"}).text
    visitor.get("/help?language=en")
    assert '<html lang="en"' in visitor.get("/help", headers={"Accept-Language": "de"}).text


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example/help",
        "/\\evil.example",
        "/%09/evil.example",
        "/%09%5Cevil.example",
        "/%0a/evil.example",
        "/%0d%0aX: y",
        "/.//evil.example",
        "/%2509/evil.example",
    ],
)
def test_the_choice_never_leads_to_another_site(visitor: Visitor, path: str) -> None:
    answer = visitor.get(f"{path}?language=de")
    assert answer.status_code == 303
    # as a browser reads it (WHATWG, URL): tabs and line breaks are left out, a backslash is a slash
    read = re.sub(r"[\t\r\n]", "", answer.headers["Location"]).replace("\\", "/")
    assert re.match(r"/[^/]", read)


def test_the_choice_leads_to_the_very_path(visitor: Visitor) -> None:
    assert visitor.get("/nowhere/%C3%A4%20%25?language=de").location == "/nowhere/%C3%A4%20%25"


def test_an_unknown_language_is_no_choice(visitor: Visitor) -> None:
    answer = visitor.get("/help?language=../de")
    assert answer.status_code == 200
    assert "Set-Cookie" not in answer.headers or "language=" not in answer.headers["Set-Cookie"]
    visitor.client.set_cookie("language", "klingon")
    assert '<html lang="en"' in visitor.get("/help").text


def test_a_submission_remembers_the_language_of_its_mails(app: Any, uploader: Uploader) -> None:
    uploader.client.set_cookie("language", "de")
    job = uploader.submit()
    store = portal(app).store
    assert store.read_submission(store.stage_of(job), job).language == "de"


def test_scripts_get_their_texts_from_a_versioned_address(visitor: Visitor) -> None:
    page = visitor.get("/").text
    address = page.split('src="/words/')[1].split('"')[0]
    answer = visitor.get(f"/words/{address}")
    assert "immutable" in answer.headers["Cache-Control"]
    assert "function ngettext(" in answer.text
    assert "/words/" not in visitor.get("/help").text  # a page without scripts needs none
    assert visitor.get("/words/xx/1.js").status_code == 404
    assert "immutable" not in visitor.get("/words/de/old.js").headers["Cache-Control"]
    assert set(OFFERED) == {"en", "de"}
