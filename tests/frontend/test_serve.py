"""The site as an operator starts it: a process of its own, settings from the environment, a web server on a socket."""

from __future__ import annotations

import resource
from pathlib import Path

import httpx

from tests.frontend.serving import Served
from tests.frontend.stories import JPEG


def forwarded(site: Served, *, source: str, last: int) -> list[int]:
    """Statuses of ``last`` empty forms from ``source``, each said to be of another visitor."""
    with site.client(source=source) as client:
        site.upload(client)
        token = (
            client.get("/", headers={"Accept": "text/html"}).text.partition('csrf_token" value="')[2].partition('"')[0]
        )
        return [
            client.post(
                "/submit", data={"csrf_token": token}, headers={"X-Forwarded-For": f"198.51.100.{number}"}
            ).status_code
            for number in range(last)
        ]


def test_visitors_behind_a_proxy_have_limits_of_their_own_and_nobody_else_can_choose_an_address(tmp_path: Path) -> None:
    with Served(tmp_path, trusted_proxies=1, proxy_addresses=["127.0.0.9"]) as site:
        assert set(forwarded(site, source="127.0.0.9", last=70)) == {422}
        assert forwarded(site, source="127.0.0.1", last=70).count(429) == 11
        assert "forwarded_address_ignored" in site.log.read_text()


def test_upload_that_meets_a_full_disk_gets_an_answer(tmp_path: Path) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))

    with Served(tmp_path, prepare=small_files) as site, site.client() as client:
        answer = site.upload(client, JPEG + bytes(5_000_000))
        assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")
        page = httpx.get(site.url, timeout=5)
        assert page.status_code == 200
