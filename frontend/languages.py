"""The language of a visitor: a choice in the footer, else what the browser asks for, else English.

Owns the cookie ``language`` and the link ``?language=de``, which works on every page without a script. Templates mark their texts with
``{% trans %}`` and ``_()`` (Flask-Babel); modules use ``shared.languages``. For the front-end only.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from gettext import NullTranslations
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode

from flask import Flask, Response, redirect, request, url_for
from flask_babel import Babel, Domain
from markupsafe import Markup

from shared import languages
from shared.languages import ENGLISH, OFFERED
from shared.settings import Settings

COOKIE: Final = "language"
#: A choice is kept for a year, seconds.
KEPT_S: Final = 31_536_000
#: Where pages have no language: files, and what programs ask for.
_WITHOUT: Final = ("/static/", "/api/", "/metrics")

_SCRIPTS: Final = Path(__file__).parent / "static"


class _Catalogues(Domain):  # type: ignore[misc]
    """Gives templates the catalogues that the modules use, in the language that words are made in now: a mail's, too."""

    def get_translations(self) -> NullTranslations:
        return _ForTemplates(languages.catalogue(languages.language().code))


class _ForTemplates(NullTranslations):
    """A catalogue by the names that Flask-Babel calls."""

    def __init__(self, catalogue: NullTranslations) -> None:
        super().__init__()
        self.ugettext, self.ungettext = catalogue.gettext, catalogue.ngettext
        self.upgettext, self.unpgettext = catalogue.pgettext, catalogue.npgettext


def init_languages(app: Flask, settings: Settings) -> None:
    """Choose a language for each request, and give it to templates. Before all that may refuse a request: refusals have words, too."""
    babel = Babel(app, default_locale="en_GB", locale_selector=lambda: languages.language().locale)
    babel.domain_instance = _Catalogues()
    app.jinja_env.policies["ext.i18n.trimmed"] = True
    app.jinja_env.globals.update(
        language=languages.language,
        languages=lambda: tuple(OFFERED.values()),
        language_link=language_link,
        script_version=script_version,
        say=say,
        digits=languages.digits,
        days=days,
        picture=picture,
    )

    @app.before_request
    def choose() -> Response | None:
        languages.use(_wanted())
        chosen = request.args.get("language")
        if request.method not in ("GET", "HEAD") or chosen not in OFFERED or request.path.startswith(_WITHOUT):
            return None
        rest = [(name, value) for name, value in request.args.items(multi=True) if name != "language"]
        # two slashes would be another site's, and browsers leave out tabs and line breaks: written as in an address, nothing is left out
        target = quote("/" + request.path.lstrip("/\\"))
        response = redirect(f"{target}?{urlencode(rest)}" if rest else target, 303)
        response.set_cookie(
            COOKIE, chosen, max_age=KEPT_S, secure=settings.secure_cookies, httponly=True, samesite="Lax"
        )
        return response  # type: ignore[return-value]  # werkzeug's class, which Flask takes

    @app.teardown_request
    def forget(_: BaseException | None) -> None:
        languages.use(ENGLISH)


def _wanted() -> str:
    chosen = request.cookies.get(COOKIE, "")
    if chosen in OFFERED:
        return chosen
    # best first; werkzeug's best_match would give German to somebody who wants en-US before de
    asked = (tag.partition("-")[0].lower() for tag, quality in request.accept_languages if quality > 0)
    return next((code for code in asked if code in OFFERED), ENGLISH)


def language_link(code: str) -> str:
    """The page that is shown, in another language."""
    kept = [(name, value) for name, value in request.args.items(multi=True) if name != "language"]
    return "?" + urlencode([*kept, ("language", code)])


def say(text: str) -> str:
    """A text that a module marked, in the visitor's language."""
    return languages._(text)


def days(number: float) -> str:
    """'30 days', '0.5 days'."""
    if number == int(number):
        return languages.ngettext("{n} day", "{n} days", int(number))
    return languages._("{number} days", number=languages.digits(number, "g"))


def picture(name: str, caption: str) -> Markup:
    """A picture of the help with its caption, in the visitor's language where there is one; nothing where it was not made."""
    code = languages.language().code
    found = next((file for file in (f"{name}.{code}.webp", f"{name}.en.webp") if file in sizes()), None)
    if found is None:
        return Markup("")
    width, height = sizes()[found]
    address = url_for("static", filename=f"help/{found}")
    return Markup(
        '<figure class="shown"><img src="{}" width="{}" height="{}" alt="" loading="lazy"><figcaption>{}</figcaption></figure>'
    ).format(address, width, height, caption)


@lru_cache(maxsize=1)
def sizes() -> dict[str, tuple[int, int]]:
    """Width and height of each picture of the help, pixels as shown (tests.browser.pictures writes the list)."""
    path = _SCRIPTS / "help" / "sizes.json"
    listed = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {name: (width, height) for name, (width, height) in listed.items()}


@lru_cache(maxsize=16)
def script_words(code: str) -> str:
    """The script with the texts of our scripts in a language, and the functions that look them up (static/words.js)."""
    from shared.translations import script_texts

    catalogue, forms = languages.catalogue(code), languages.plural_samples(code)
    table: dict[str, str | dict[str, str]] = {}
    for text in script_texts():
        if isinstance(text, tuple):
            table[text[0]] = {name: catalogue.ngettext(*text, number) for name, number in forms.items()}
        elif code != ENGLISH:
            table[text] = catalogue.gettext(text)
    words = {"texts": table, "signs": {sign: languages.signs_of(code)[ord(sign)] for sign in ".,"}}
    return (
        f"const WORDS = {json.dumps(words, ensure_ascii=False)};\n{(_SCRIPTS / 'words.js').read_text(encoding='utf-8')}"
    )


@lru_cache(maxsize=16)
def script_version(code: str) -> str:
    """Part of the script's address, which changes with its content."""
    return hashlib.sha256(script_words(code).encode()).hexdigest()[:12]
