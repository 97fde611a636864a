"""Pages without a submission: detectors, help, how sure findings are, the record of this site, health checks, the words of our scripts.

Front-end only.
"""

from __future__ import annotations

import contextlib
from typing import Final

from flask import Blueprint, Response, abort, jsonify, make_response, render_template, request
from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore

from frontend import detector_list, languages
from frontend.portal import portal
from frontend.wording import catalog_is_fresh
from shared import how_sure, truths
from shared.errors import StoreTrouble
from shared.evidence import KINDS
from shared.languages import OFFERED
from shared.records import Catalog

#: Below this much free space the portal says it is not ready, bytes.
LOW_WATER: Final = 500_000_000

#: Words of scripts change with their address only.
A_YEAR_S: Final = 31_536_000

#: A third party's card is untrusted text: HTML in it is shown as text, and addresses of scripts are refused.
_MARKDOWN: Final = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


def _without_paths(state: StateCore) -> None:
    """Remove links into the checkout, which lead nowhere in the portal, and keep their words. Tables can be reached by keyboard."""
    for token in state.tokens:
        if token.type == "table_open":
            token.attrSet("tabindex", "0")  # it scrolls on a narrow screen
        depth: list[bool] = []
        kept = []
        for child in token.children or []:
            if child.type == "link_open":
                depth.append(str(child.attrs.get("href", "")).startswith(("https://", "http://")))
                if not depth[-1]:
                    continue
            elif child.type == "link_close" and not depth.pop():
                continue
            kept.append(child)
        if token.children is not None:
            token.children = kept


_MARKDOWN.core.ruler.push("without_paths", _without_paths)

blueprint = Blueprint("pages", __name__)


@blueprint.get("/detectors")
def detectors() -> Response:
    """A line for each detector, in groups, that unfolds; a query narrows the list or unfolds one."""
    catalog = portal().store.read_catalog()
    entries, wish = catalog.detectors if catalog else (), detector_list.Wish.parse(request.args)
    return make_response(
        render_template(
            "detectors.html",
            entries=entries,
            groups=detector_list.groups(entries, wish),
            wish=wish,
            inputs=detector_list.INPUTS,
            kinds=KINDS,
            evidence=detector_list.evidence,
            looks_for=detector_list.looks_for,
            measured=detector_list.measured,
        )
    )


@blueprint.get("/detectors/<untrusted_id>")
def detector_card(untrusted_id: str) -> Response:
    """The model card of one detector."""
    site = portal()
    catalog = site.store.read_catalog()
    entry = next((entry for entry in catalog.detectors if entry.id == untrusted_id), None) if catalog else None
    text = site.store.read_model_card(untrusted_id) if entry else None
    if entry is None or text is None:
        abort(404)
    return make_response(render_template("model_card.html", entry=entry, card=_MARKDOWN.render(text)))


@blueprint.get("/help")
def help_page() -> Response:
    """How to read a result, limits, privacy and retention."""
    return make_response(render_template("help.html", settings=portal().settings))


@blueprint.get("/help/publish")
def help_publish() -> Response:
    """What to do before a result is published."""
    return make_response(render_template("help_publish.html"))


@blueprint.get("/help/privacy")
def help_privacy() -> Response:
    """What is kept of a submission, how long, and who sees it."""
    return make_response(render_template("help_privacy.html", settings=portal().settings))


@blueprint.get("/help/programs")
def programs() -> Response:
    """How programs use this site."""
    settings = portal().settings
    return make_response(render_template("help_programs.html", settings=settings, site=settings.public_url))


@blueprint.get("/how-sure")
def how_sure_page() -> Response:
    """What a finding is worth: reasons, thresholds and levels, from the constants of the rules."""
    shows = portal().settings.show_record
    return make_response(render_template("how_sure.html", explained=how_sure, shows_record=shows))


@blueprint.get("/record")
def record_page() -> Response:
    """How often detectors were wrong on files of this site whose truth became known; 404 where the operator does not show it."""
    site = portal()
    if not site.settings.show_record:
        abort(404)
    items, damaged = site.store.noted()
    record = truths.site_record(items, damaged=len(damaged))
    return make_response(render_template("record.html", record=record, no_sample=truths.NO_SAMPLE))


@blueprint.get("/live", endpoint="live")
@blueprint.get("/healthz")
def healthz() -> Response:
    """Whether the portal answers."""
    return jsonify({"status": "ok"})


@blueprint.get("/ready")
def ready() -> Response:
    """Whether an upload would be stored and analysed now: 200, or 503 with what is missing."""
    site = portal()
    catalog: Catalog | None = None
    free = 0
    with contextlib.suppress(StoreTrouble):
        catalog = site.store.read_catalog()
        free = site.store.free_bytes()
    checks = {
        "store": free > 0,
        "backend": catalog_is_fresh(catalog, site.clock()),
        "detectors": catalog is not None and any(entry.unavailable is None for entry in catalog.detectors),
        "space": free > max(LOW_WATER, 2 * site.upload_limit),
    }
    response = jsonify(
        {
            "status": "ready" if all(checks.values()) else "not ready",
            "checks": checks,
            "queued": catalog.queued if catalog else None,
            "working": catalog.working if catalog else None,
            "evicted": catalog.evicted if catalog else None,
        }
    )
    response.status_code = 200 if all(checks.values()) else 503
    return response


@blueprint.get("/robots.txt")
def robots() -> Response:
    """Keep search engines away from results."""
    return Response("User-agent: *\nDisallow: /r/\nDisallow: /unlock/\n", mimetype="text/plain")


@blueprint.get("/words/<code>/<version>.js")
def script_words(code: str, version: str) -> Response:
    """The texts of our scripts in a language; the address carries their version."""
    if code not in OFFERED:
        abort(404)
    response = Response(languages.script_words(code), mimetype="text/javascript")
    if version == languages.script_version(code):
        response.headers["Cache-Control"] = f"public, max-age={A_YEAR_S}, immutable"
    return response
