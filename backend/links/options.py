"""What yt-dlp may do, in one table: a test holds it, member by member. Imported by the worker of links alone.

Promises: only the extractors of the allowed sites, never the generic one; one item; no configuration, plug-in, cookie, password, external
program or file address; names of files are ours.
"""

from __future__ import annotations

from typing import Any, Final

#: The best clip with sound in one file up to 1080 lines; where that has fewer than 480, pictures alone, to which the sound is added.
PICTURES: Final = "b[height>=480][height<=1080]/bv*[height<=1080]/b/bv*/ba"
SOUND: Final = "ba"

#: Seconds without an answer.
SILENCE_S: Final = 15


def options(*, extractors: tuple[str, ...], target: str, limit: int, what: str) -> dict[str, Any]:
    """Parameters of ``YoutubeDL``. ``target``: the file, without its suffix. ``limit``: bytes. ``what``: PICTURES or SOUND."""
    return {
        "allowed_extractors": list(extractors),
        "noplaylist": True,
        "playlist_items": "1",
        "format": what,
        "outtmpl": {"default": f"{target}.%(ext)s"},
        "max_filesize": limit,
        "overwrites": True,
        "continuedl": False,
        "nopart": True,
        "updatetime": False,
        "retries": 2,
        "fragment_retries": 2,
        "extractor_retries": 1,
        "file_access_retries": 0,
        "socket_timeout": SILENCE_S,
        "concurrent_fragment_downloads": 1,
        "hls_use_mpegts": True,
        "external_downloader": {"default": "native"},
        "ffmpeg_location": "/nowhere",
        "fixup": "never",
        "postprocessors": [],
        "enable_file_urls": False,
        "usenetrc": False,
        "cookiefile": None,
        "cookiesfrombrowser": None,
        "cachedir": False,
        "writesubtitles": False,
        "writethumbnail": False,
        "writeinfojson": False,
        "geo_bypass": False,
        "proxy": "",
        "compat_opts": {"no-certifi"},
        "js_runtimes": {},
        "remote_components": [],
        "color": {"stdout": "never", "stderr": "never"},
        "quiet": True,
        "noprogress": True,
    }
