"""Each page is light: what is our own, before the medium, comes in few requests and under 120 kB."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from frontend.portal import portal
from shared.clock import utc_now
from tests.frontend.stories import JPEG, PIN, Uploader, finish, working
from tests.operator.weight import Weight, weigh

pytestmark = pytest.mark.browser

MOST_BYTES = 120_000
MOST_REQUESTS = 12


def light(weight: Weight) -> None:
    print(weight)  # pytest -s shows the table
    assert 3 <= weight.requests <= MOST_REQUESTS, weight
    assert 2_000 < weight.bytes < MOST_BYTES, weight


def test_every_page_is_light(site: Any, watched: Any, astronaut_clip: Path) -> None:
    app, url = site
    page = watched().page
    with app.test_client() as client:
        job = Uploader(client).submit(media=(io.BytesIO(JPEG), "portrait.jpg"))
    for path in ("/", "/help", "/detectors", "/how-sure"):
        light(weigh(page, url + path))
    portal(app).store.write_status(working(job, utc_now()))
    light(weigh(page, f"{url}/r/{job}"))
    finish(app, job, video=astronaut_clip)
    pin_page = weigh(page, f"{url}/r/{job}")
    assert page.locator("#pin").count() == 1
    light(pin_page)
    page.fill("#pin", PIN)
    page.get_by_role("button", name="Open the result").click()
    page.wait_for_load_state("load")
    light(weigh(page, f"{url}/r/{job}"))
