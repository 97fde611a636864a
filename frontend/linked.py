"""The address of a page instead of a file: a submission without media, whose clip the back-end fetches (docs/links.md).

Promises: only pages of sites that the back-end offers at this moment; of the address's query nothing is kept but what names the clip.
For the front-end only.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from frontend.media import IncomingMedia, storage_trouble
from frontend.portal import Portal
from shared.download import read_address
from shared.links import SITES, Site, site_of
from shared.records import JobId, new_id
from shared.store import Store
from shared.words import joined

#: Parameters by which sites name a clip (watch?v=...). All others say who shared it, or hold a token.
NAMING: Final = frozenset({"v", "id", "story_fbid"})


class LinkedPage:
    """Takes the place of ``IncomingMedia`` where the media is fetched later: no bytes, no digest yet."""

    sha256: None = None
    bytes: None = None

    def __init__(self, store: Store, site: Site) -> None:
        self.id: JobId = new_id()
        self.link: str = site.name
        self.name: str = site.title
        self._store, self._kept = store, False
        store.open_submission(self.id)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._kept:
            self._store.discard(self.id)

    def close(self) -> None:
        """There is no file."""

    def check_kind(self) -> None:
        """What the page holds is seen when it is fetched."""

    def keep(self) -> None:
        """It was published."""
        self._kept = True


def pages_in_words(links: tuple[str, ...]) -> str:
    """The titles of sites, as a list in words; empty for none."""
    return joined([SITES[name].title for name in links if name in SITES])


def from_address(site: Portal, untrusted_url: str) -> tuple[IncomingMedia | LinkedPage, str]:
    """The file at a web address, fetched now, or the page that it is; and the address as it is recorded. UserError as ``Fetcher.fetch``."""
    catalog = site.store.read_catalog()
    page = site_of(untrusted_url, catalog.links if catalog else ())
    if page is None:
        return site.fetcher.fetch(untrusted_url)
    url = read_address(untrusted_url).url
    kept = [(name, value) for name, value in url.params.multi_items() if name in NAMING]
    with storage_trouble():
        return LinkedPage(site.store, page), str(url.copy_with(params=kept or None, fragment=None))
