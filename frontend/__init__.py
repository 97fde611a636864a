"""The portal: intake, access, mails and pages. Entry: ``create_app``. Knows ``shared`` only; never opens media."""

from __future__ import annotations

from importlib.metadata import version
from urllib.parse import urlsplit

from flask import Flask

from frontend import (
    again,
    api,
    compare,
    delivery,
    faults,
    intake,
    languages,
    pages,
    result_files,
    security,
    upload,
    viewer,
    wording,
)
from frontend.access import Access
from frontend.charts import views as charts
from frontend.charts.page import curve_view, timeline_view
from frontend.events import Streams
from frontend.keys import Keys
from frontend.media import IncomingMedia
from frontend.notify import Postman
from frontend.operator import office, views
from frontend.outbox import Outbox
from frontend.pins import Pins, read_secret
from frontend.portal import EXTENSION, Portal
from frontend.receipts import Receipts
from frontend.seen import SeenIndex
from frontend.webhooks import Courier
from shared import how_sure, rounding, statement, words
from shared.clock import Clock, utc_now
from shared.download import Fetcher, Poster
from shared.languages import digits
from shared.notes import note_sentences
from shared.settings import Settings
from shared.store import Store

__all__ = ["create_app"]


def create_app(settings: Settings, *, clock: Clock = utc_now, background: bool = True) -> Flask:
    """Build the portal. ``background`` starts the postman's thread; without it, call ``portal(app).postman.tick()``."""
    app = Flask(__name__)
    site = _build(app, settings, clock=clock)
    app.extensions[EXTENSION] = site
    app.secret_key = read_secret(settings.frontend_state / "session_key")
    app.url_map.strict_slashes = False  # people type /help/ as well
    languages.init_languages(app, settings)
    upload.init_upload(app)
    office.init_operator(app, site)
    delivery.init_delivery(app)
    for part in (intake, viewer, result_files, charts, again, compare, pages, views):
        app.register_blueprint(part.blueprint)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # troubles of a form are in the order of the page
    security.init_security(app, settings)
    faults.init_faults(app)
    api.init_api(app, settings)
    _init_templates(app)
    if background:
        site.postman.start()
        site.courier.start()
    return app


def _build(app: Flask, settings: Settings, *, clock: Clock) -> Portal:
    """Wire the parts of one portal."""
    state = settings.frontend_state
    state.mkdir(parents=True, exist_ok=True)
    state.chmod(0o700)
    store = Store(settings.submissions, settings.results).prepare(state)
    pins = Pins(state)
    access = Access(state, pins, now=lambda: clock().timestamp())
    receipts = Receipts(state, key=read_secret(state / "receipt_key"))
    domain = urlsplit(settings.public_url).hostname or "localhost"
    outbox = Outbox(state, letters=settings.data / "outbox", domain=domain)
    limit = settings.max_upload_mb * 1_000_000
    fetcher = Fetcher(
        lambda name: IncomingMedia(store, limit=limit, untrusted_name=name),
        limit=limit,
        timeout_s=settings.url_timeout_s,
        allow_private=settings.url_allow_private,
    )
    postman = Postman(app, settings, store=store, receipts=receipts, outbox=outbox, access=access, clock=clock)
    keys = Keys(state, secret=read_secret(state / "webhook_key"))
    poster = Poster(allow_private=settings.url_allow_private)
    courier = Courier(
        state, store=store, receipts=receipts, keys=keys, poster=poster, public_url=settings.public_url, clock=clock
    )
    return Portal(
        settings=settings,
        store=store,
        clock=clock,
        pins=pins,
        access=access,
        keys=keys,
        courier=courier,
        outbox=outbox,
        receipts=receipts,
        fetcher=fetcher,
        postman=postman,
        seen=SeenIndex(store) if settings.seen_before else None,
        streams=Streams(settings.portal_threads),
    )


def _init_templates(app: Flask) -> None:
    app.jinja_env.filters.update(
        duration=words.duration,
        size=words.size,
        score=rounding.score,
        clock_time=words.clock_time,
        date=words.date,
        date_and_time=words.date_and_time,
        unavailable=wording.unavailable,
        judges=wording.judges,
        recommended_first=wording.recommended_first,
        way=wording.way,
        sentence=words.detector_sentence,
        units_of=lambda unit: languages.say(words.UNITS_OF[unit]),
        unit_noun=words.UNIT_NOUNS.__getitem__,
        side=words.side_of_threshold,
        person_label=statement.person_label,
        finding=statement.finding_words,
        left_out=statement.left_out,
        stability=statement.stability_words,
        after_changes=statement.variant_rows,
        strategy=words.strategy,
        notes=note_sentences,
    )
    app.jinja_env.globals.update(
        modes=wording.MODES,
        format_name=words.format_name,
        reason=how_sure.reason,
        same_file=compare.others_of,
        summary_heading=wording.summary_heading,
        summary_rest=wording.summary_rest,
        of_other_kinds=words.of_other_kinds,
        looked_at=words.looked_at,
        kind_and_size=wording.kind_and_size,
        video_heading=wording.video_heading,
        video_words=wording.video_words,
        judged_units=words.units_of,
        likeness=words.likeness,
        misleads=wording.misleads,
        curve_view=curve_view,
        digits=digits,
        timeline_view=timeline_view,
        platform=version("deepfake-o-meter"),
    )
