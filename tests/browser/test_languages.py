"""Languages in Chromium: texts that are half as long again, and a script that runs from right to left, do not break any page; the choice in
the footer works without scripts; axe finds nothing on the pages of the help."""

from __future__ import annotations

import re
from collections.abc import Iterator
from gettext import NullTranslations
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from shared import languages
from shared.languages import Language
from tests.browser.test_result_page import submitted
from tests.frontend.stories import PIN

pytestmark = pytest.mark.browser

_ACCENTED = str.maketrans("aceinouyACEINOUY", "áçéíñóúýÁÇÉÍÑÓÚÝ")
#: What is no text: values, tags and entities.
_KEPT = re.compile(r"(%\(\w+\)s|%%|\{[^}]*\}|<[^>]+>|&\w+;)")


class Pseudo(NullTranslations):
    """Each text with accents and 40 % longer, in brackets that show where it ends; in Hebrew letters' direction where ``rtl``."""

    def gettext(self, message: str) -> str:
        parts = _KEPT.split(message)
        parts[::2] = [part.translate(_ACCENTED) for part in parts[::2]]
        words = len("".join(parts[::2]))
        return f"[{''.join(parts)}{' ' + 'xø' * max(1, words // 5) if words < 12 else ' xøxøx' * max(1, words // 15)}]"

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return self.gettext(msgid1 if n == 1 else msgid2)

    def pgettext(self, context: str, message: str) -> str:
        return self.gettext(message)


@pytest.fixture(params=["ltr", "rtl"])
def pseudo(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A language that is none, offered to visitors: its code."""
    code = "xa" if request.param == "ltr" else "xb"
    monkeypatch.setitem(languages.OFFERED, code, Language(code, "Pseudo", "en_GB" if request.param == "ltr" else "ar"))
    real = languages.catalogue
    monkeypatch.setattr(languages, "catalogue", lambda wanted: Pseudo() if wanted == code else real(wanted))
    yield code
    languages.signs_of.cache_clear()


#: Elements that reach over the edge of the page, and texts that are cut off or lie over one another.
OVER_THE_EDGE = """() => {
    const wide = document.documentElement.clientWidth;
    const scrolls = e => { for (let p = e.parentElement; p; p = p.parentElement) {
        if (['auto', 'scroll', 'hidden', 'clip'].includes(getComputedStyle(p).overflowX)) return true; } return false; };
    return [...document.querySelectorAll('main *, header *, footer *')].filter(e => {
        const box = e.getBoundingClientRect();
        return box.width && box.height && !e.closest('svg, .skip, .hidden') && !scrolls(e) && (box.right > wide + 1 || box.left < -1);
    }).map(e => e.outerHTML.slice(0, 100));
}"""
OVERLAPS = """() => {
    const shown = [...document.querySelectorAll('h1, h2, h3, p, li, dt, dd, button, label, summary, legend, nav a')].filter(e => {
        const box = e.getBoundingClientRect();
        return box.width && box.height && e.checkVisibility({ opacityProperty: true, visibilityProperty: true })
            && !e.closest('.skip, .hidden, svg, .stage, .timeline, .plot');
    });
    const found = [];
    for (const [at, one] of shown.entries()) for (const other of shown.slice(at + 1)) {
        if (one.contains(other) || other.contains(one)) continue;
        const a = one.getBoundingClientRect(), b = other.getBoundingClientRect();
        const x = Math.min(a.right, b.right) - Math.max(a.left, b.left), y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (x > 3 && y > 3) found.push(`${one.outerHTML.slice(0, 80)} | ${other.outerHTML.slice(0, 80)}`);
    }
    return found;
}"""


@pytest.mark.parametrize("width", [390, 1440])
def test_long_texts_and_right_to_left_break_no_page(site: Any, watched: Any, pseudo: str, width: int) -> None:
    app, url = site
    job = submitted(app)
    seen = watched(width=width)
    page = seen.page
    page.goto(f"{url}/r/{job}?language={pseudo}")
    page.fill("#pin", PIN)
    page.click("button[type=submit] >> nth=0")
    page.wait_for_selector("#h-summary")
    for path in (
        f"/r/{job}",
        "/",
        "/help",
        "/how-sure",
        "/help/publish",
        "/help/privacy",
        "/record",
        "/detectors",
        "/nothing",
    ):
        page.goto(f"{url}{path}")
        assert page.evaluate("[document.documentElement.lang, getComputedStyle(document.body).direction]") == [
            pseudo,
            "rtl" if pseudo == "xb" else "ltr",
        ]
        assert "xø" in page.inner_text("main h1") or path == f"/r/{job}"
        page.evaluate("document.querySelectorAll('main details').forEach(part => { part.open = true; })")
        sideways = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert (path, sideways, page.evaluate(OVER_THE_EDGE), page.evaluate(OVERLAPS)) == (path, 0, [], [])


def test_the_language_is_chosen_without_scripts(site: Any, watched: Any) -> None:
    _app, url = site
    page = watched(java_script_enabled=False).page
    page.goto(f"{url}/help/privacy")
    page.get_by_role("link", name="Deutsch").click()
    assert page.url == f"{url}/help/privacy"
    assert page.inner_text("h1") == "Datenschutz"
    page.get_by_role("link", name="English").click()
    assert page.inner_text("h1") == "Privacy"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_axe_finds_nothing_on_the_pages_around_the_help(site: Any, watched: Any, width: int, scheme: str) -> None:
    _app, url = site
    page = watched(width=width, color_scheme=scheme, bypass_csp=True, locale="de-DE").page
    for path in (
        "/help",
        "/how-sure",
        "/help/publish",
        "/help/privacy",
        "/help/programs",
        "/record",
        "/detectors",
        "/nothing",
    ):
        page.goto(f"{url}{path}")
        found = Axe().run(page).response["violations"]
        assert [(path, item["id"], [node["html"][:120] for node in item["nodes"]]) for item in found] == []
