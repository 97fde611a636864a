"""What a page costs its visitor: bytes as they were sent, with their headers, and requests; as Chromium counts them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: What the report shows of the medium itself; everything else is ours.
MEDIA = ("video/", "audio/", "image/jpeg", "image/png", "image/webp", "image/avif")


@dataclass(frozen=True)
class Weight:
    """``sizes``: bytes of each answer that is not media, by address, in the order of the requests."""

    sizes: dict[str, int]

    @property
    def bytes(self) -> int:
        """Of our own, before media."""
        return sum(self.sizes.values())

    @property
    def requests(self) -> int:
        """How many answers that is."""
        return len(self.sizes)

    def __str__(self) -> str:
        rows = "\n".join(f"{size:9} {address}" for address, size in self.sizes.items())
        return f"{self.bytes} bytes in {self.requests} requests\n{rows}"


def weigh(page: Any, url: str) -> Weight:
    """Open ``url`` with an empty cache and wait until nothing more comes. ``page``: of Playwright, in Chromium."""
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    asked: dict[str, str] = {}
    kinds: dict[str, str] = {}
    sizes: dict[str, int] = {}

    def answered(event: dict[str, Any]) -> None:
        asked[event["requestId"]] = event["response"]["url"]
        kinds[event["requestId"]] = event["response"]["mimeType"]

    def ended(event: dict[str, Any]) -> None:
        sizes[event["requestId"]] = round(event["encodedDataLength"])

    session.on("Network.responseReceived", answered)
    session.on("Network.loadingFinished", ended)
    page.goto(url, wait_until="load")
    page.wait_for_timeout(300)  # an event of the network may come after the page's own
    session.detach()
    ours = {key for key, kind in kinds.items() if not kind.startswith(MEDIA) and not asked[key].startswith("data:")}
    return Weight({asked[key]: sizes[key] for key in asked if key in sizes and key in ours})
