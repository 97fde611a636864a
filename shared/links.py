"""Pages of which the back-end fetches the clip: which sites there are, and which of them a web address belongs to.

Owns the table of sites. The portal asks it without yt-dlp; the worker of links turns a site into the extractors that yt-dlp may use.
Knows nothing of other modules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Site:
    """A site: ``name`` in settings, ``title`` as people know it, its host names, and yt-dlp's names of the extractors it needs."""

    name: str
    title: str
    hosts: tuple[str, ...]
    extractors: tuple[str, ...]


SITES: Final = {
    site.name: site
    for site in (
        Site("bluesky", "Bluesky", ("bsky.app",), ("Bluesky",)),
        Site("dailymotion", "Dailymotion", ("dailymotion.com", "dai.ly"), ("dailymotion",)),
        Site(
            "facebook", "Facebook", ("facebook.com", "fb.watch"), ("facebook", "facebook:reel", "FacebookRedirectURL")
        ),
        Site("instagram", "Instagram", ("instagram.com",), ("Instagram",)),
        Site("reddit", "Reddit", ("reddit.com", "redd.it"), ("Reddit",)),
        Site("rumble", "Rumble", ("rumble.com",), ("Rumble", "RumbleEmbed")),
        Site("streamable", "Streamable", ("streamable.com",), ("Streamable",)),
        Site("telegram", "Telegram", ("t.me",), ("telegram:embed",)),
        Site("tiktok", "TikTok", ("tiktok.com",), ("TikTok", "vm.tiktok")),
        Site("vimeo", "Vimeo", ("vimeo.com",), ("vimeo",)),
        Site("x", "X (Twitter)", ("x.com", "twitter.com", "t.co"), ("twitter", "twitter:shortener")),
        Site("youtube", "YouTube", ("youtube.com", "youtu.be"), ("youtube", "YoutubeYtBe")),
    )
}


def site_of(untrusted_url: str, offered: tuple[str, ...]) -> Site | None:
    """The site of ``offered`` (names) whose page an address is; None for every other address, and for the file of a site's own server.

    A page is told by its host alone: the name of the site, or ``www.``, ``m.`` and the like before it.
    """
    text = untrusted_url.strip()
    try:
        host = (urlsplit(text if "://" in text else f"https://{text}").hostname or "").rstrip(".").lower()
    except ValueError:
        return None
    before = ("", "www.", "m.", "mobile.", "old.", "new.", "vm.", "vt.", "v.", "player.", "web.", "music.", "clips.")
    for name in offered:
        site = SITES.get(name)
        if site and any(host == prefix + end for end in site.hosts for prefix in before):
            return site
    return None
