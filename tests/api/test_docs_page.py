"""The documentation as a reader sees it in Chromium: every request is listed, and nothing is asked of another site."""

from __future__ import annotations

import os
from typing import Any

import pytest
from flask import Flask

from frontend.api.document import as_version_3_0, document

OPERATIONS = [
    f"{method} {path}"
    for path, item in document()["paths"].items()
    for method in item
    if method in ("get", "post", "delete")
]


@pytest.mark.browser
def test_the_page_lists_every_request_and_asks_no_other_site(site: tuple[Flask, str], watched: Any):
    _, url = site
    reader = watched(width=1440)
    asked: list[str] = []
    reader.page.on("request", lambda request: asked.append(request.url))
    reader.page.goto(f"{url}/api/v1/docs")
    reader.page.wait_for_selector(".opblock", timeout=30_000)
    listed = reader.page.evaluate(
        """[...document.querySelectorAll('.opblock')].map(e => e.querySelector('.opblock-summary-method').innerText.toLowerCase()
        + ' ' + e.querySelector('.opblock-summary-path').innerText.replaceAll('\\u200b', '').trim())"""
    )
    assert sorted(listed) == sorted(OPERATIONS)
    reader.page.click(".opblock-post .opblock-summary")
    reader.page.wait_for_selector(".opblock-post .responses-table", timeout=30_000)
    assert [one for one in asked if not one.startswith((url, "data:", "blob:"))] == []
    assert reader.trouble == []
    if folder := os.environ.get("SCREENSHOTS"):
        reader.page.screenshot(path=f"{folder}/api-docs.png", full_page=True)


def test_what_the_page_shows_is_the_document_in_older_words():
    older, newer = as_version_3_0(), document()
    assert older["openapi"].startswith("3.0")
    assert list(older["paths"]) == list(newer["paths"])
    assert set(older["components"]["schemas"]) == set(newer["components"]["schemas"])
    assert '"null"' not in str(older).replace("'", '"')
