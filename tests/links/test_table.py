"""Which pages belong to which site, and what yt-dlp may do there."""

from __future__ import annotations

import re

import pytest

from backend.links.options import PICTURES, SOUND, options
from backend.links.worker import code_of
from shared.errors import LINK_CODES, SENTENCES
from shared.links import SITES, site_of

ALL = tuple(SITES)


@pytest.mark.parametrize(
    ("url", "site"),
    [
        ("https://www.youtube.com/watch?v=abc", "youtube"),
        ("youtu.be/abc", "youtube"),
        ("HTTPS://X.COM/a/status/1", "x"),
        ("https://mobile.twitter.com/a/status/1", "x"),
        ("https://vm.tiktok.com/x/", "tiktok"),
        ("https://cdn.streamable.com/video.mp4", None),
        ("https://youtube.com.example.org/", None),
        ("https://notx.com/", None),
        ("https://example.org/x.com", None),
        ("https://x.com@example.org/", None),
        ("http://[::1", None),
        ("", None),
    ],
)
def test_a_page_is_told_by_its_host(url: str, site: str | None) -> None:
    found = site_of(url, ALL)
    assert (found and found.name) == site


def test_a_site_that_is_not_offered_is_none() -> None:
    assert site_of("https://x.com/a", ("youtube",)) is None


def test_every_extractor_of_the_table_is_one_of_yt_dlp() -> None:
    extractor = pytest.importorskip("yt_dlp.extractor")
    known = {each.IE_NAME.lower() for each in extractor.gen_extractor_classes()}
    wanted = {name.lower() for site in SITES.values() for name in site.extractors}
    assert wanted <= known


def test_each_page_of_the_table_is_one_of_its_extractors() -> None:
    """yt-dlp itself, with exactly the extractors that are allowed, takes the address of such a page, and no other."""
    yt_dlp = pytest.importorskip("yt_dlp")
    pages = {
        "bluesky": "https://bsky.app/profile/blu3blue.bsky.social/post/3l4omssdl632g",
        "dailymotion": "https://www.dailymotion.com/video/x5kesuj",
        "facebook": "https://www.facebook.com/video.php?v=637842556329505",
        "instagram": "https://www.instagram.com/reel/Chunk8-jurw/",
        "reddit": "https://www.reddit.com/r/videos/comments/6rrwyj/that_small_heart_attack/",
        "rumble": "https://rumble.com/vdmum1-moose-the-dog-helps-girls-dig-a-snow-fort.html",
        "streamable": "https://streamable.com/dnd1",
        "telegram": "https://t.me/europa_press/613",
        "tiktok": "https://www.tiktok.com/@leenabhushan/video/6748451240264420610",
        "vimeo": "https://vimeo.com/56015672",
        "x": "https://x.com/freethenipple/status/643211948184596480",
        "youtube": "https://www.youtube.com/watch?v=BaW_jenozKc",
    }
    assert pages.keys() == SITES.keys()
    for name, page in pages.items():
        wish = options(extractors=SITES[name].extractors, target="clip", limit=1, what=PICTURES)
        with yt_dlp.YoutubeDL(wish | {"logger": _Quiet()}) as loader:
            fitting = [ie for ie in loader._ies.values() if ie.suitable(page)]
            assert fitting, name
            assert not [ie for ie in loader._ies.values() if ie.suitable("https://example.org/clip.mp4")], name
            assert "Generic" not in loader._ies, name


class _Quiet:
    def debug(self, words: str) -> None:
        """Nothing."""

    info = warning = error = debug


def test_what_yt_dlp_may_do_is_exactly_this() -> None:
    assert options(extractors=("vimeo",), target="/exchange/job/out/clip", limit=500, what=SOUND) == {
        "allowed_extractors": ["vimeo"],
        "cachedir": False,
        "color": {"stdout": "never", "stderr": "never"},
        "compat_opts": {"no-certifi"},
        "concurrent_fragment_downloads": 1,
        "continuedl": False,
        "cookiefile": None,
        "cookiesfrombrowser": None,
        "enable_file_urls": False,
        "external_downloader": {"default": "native"},
        "extractor_retries": 1,
        "ffmpeg_location": "/nowhere",
        "file_access_retries": 0,
        "fixup": "never",
        "format": "ba",
        "fragment_retries": 2,
        "geo_bypass": False,
        "hls_use_mpegts": True,
        "js_runtimes": {},
        "max_filesize": 500,
        "nopart": True,
        "noplaylist": True,
        "noprogress": True,
        "outtmpl": {"default": "/exchange/job/out/clip.%(ext)s"},
        "overwrites": True,
        "playlist_items": "1",
        "postprocessors": [],
        "proxy": "",
        "quiet": True,
        "remote_components": [],
        "retries": 2,
        "socket_timeout": 15,
        "updatetime": False,
        "usenetrc": False,
        "writeinfojson": False,
        "writesubtitles": False,
        "writethumbnail": False,
    }


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("ERROR: No suitable extractor found for URL https://x.com/home", "link_unsupported"),
        ("ERROR: [youtube] x: Sign in to confirm your age", "link_needs_login"),
        ("ERROR: [Instagram] x: Requested content is not available, login required", "link_needs_login"),
        ("ERROR: [youtube] x: This video is DRM protected", "link_protected"),
        ("ERROR: [twitter] 1: No video could be found in this tweet", "link_without_clip"),
        ("ERROR: <urlopen error timed out>", "link_failed"),
    ],
)
def test_words_become_codes_that_a_visitor_understands(words: str, code: str) -> None:
    assert code_of(words) == code
    assert re.search(r"[.]$", SENTENCES[code])


def test_every_code_of_the_worker_has_a_sentence() -> None:
    assert SENTENCES.keys() >= LINK_CODES
