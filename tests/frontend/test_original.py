"""The submitted file beside its result: who may have it, how it is sent, and what is not offered."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from frontend.original import original_of
from frontend.portal import portal
from shared.records import JobId
from shared.results import Result
from tests.frontend.stories import JPEG, Uploader, Visitor, finish
from tests.units import as_sound_file


def of_format(container: str, codec: str, kind: str = "video") -> Any:
    """A change to the usual result: of a file of this format."""

    def change(result: Result) -> Result:
        media = replace(result.media, container=container, codec=codec, kind=kind)
        return result.model_copy(update={"media": media})

    return change


def test_only_who_has_the_result_open_gets_the_file_and_in_parts_too(
    app: Flask, uploader: Uploader, visitor: Visitor
) -> None:
    job = uploader.submit()
    finish(app, job)
    assert visitor.get(f"/r/{job}/original").status_code == 403
    uploader.enter_pin(job)
    whole = uploader.get(f"/r/{job}/original")
    assert (whole.status_code, whole.data, whole.mimetype) == (200, JPEG, "video/mp4")
    part = uploader.get(f"/r/{job}/original", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.data) == (206, JPEG[10:20])
    for answer in (whole, part):
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
        assert answer.headers["Cache-Control"] == "private, no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_after_its_retention_time_the_rendered_video_takes_its_place(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit()
    finish(app, job)
    uploader.enter_pin(job)
    assert f'<source src="/r/{job}/original#t=0.01"' in uploader.get(f"/r/{job}").get_data(as_text=True)
    portal(app).store.remove_media("done", JobId(job))
    page = uploader.get(f"/r/{job}").get_data(as_text=True)
    assert "/original" not in page
    assert f'<source src="/r/{job}/files/video/side_by_side.mp4#t=0.01" type="video/mp4">' in page
    assert uploader.get(f"/r/{job}/original").status_code == 404


def test_a_file_that_became_a_link_or_a_folder_is_not_followed(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit()
    finish(app, job)
    uploader.enter_pin(job)
    media = portal(app).store.job("done", job) / "media"
    media.unlink()
    for make in (lambda: media.symlink_to("/etc/passwd"), lambda: (media.unlink(), media.mkdir())):
        make()
        assert uploader.get(f"/r/{job}/original").status_code == 404
        assert "/original" not in uploader.get(f"/r/{job}").get_data(as_text=True)


@pytest.mark.parametrize(
    ("change", "mimetype"),
    [
        (of_format("matroska,webm", "vp9"), "video/webm"),
        (of_format("matroska,webm", "h264"), None),
        (of_format("avi", "h264"), None),
        (of_format("mov,mp4,m4a,3gp,3g2,mj2", "prores"), None),
        (of_format("mp3", "mp3", "sound"), "audio/mpeg"),
        (of_format("mov,mp4,m4a,3gp,3g2,mj2", "alac", "sound"), None),
        (of_format("webp", "webp", "image"), "image/webp"),
        (of_format("heif", "hevc", "image"), None),
        (of_format("svg", "svg", "image"), None),
    ],
)
def test_only_formats_that_browsers_show_are_offered(
    app: Flask, uploader: Uploader, change: Any, mimetype: str | None
) -> None:
    job = uploader.submit()
    result = finish(app, job, change=change)
    found = original_of(portal(app).store, JobId(job), result.media)
    assert (found.mimetype if found else None) == mimetype


def test_the_result_video_follows_the_original_where_a_browser_may_not_play_it(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit()
    finish(app, job, change=of_format("mov,mp4,m4a,3gp,3g2,mj2", "hevc"))
    uploader.enter_pin(job)
    page = uploader.get(f"/r/{job}").get_data(as_text=True)
    hevc = page.index('type="video/mp4; codecs=&#34;hvc1')
    assert hevc < page.index("/files/video/side_by_side.mp4#t=0.01")


def test_a_sound_is_played_as_it_was_submitted(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit(media=(io.BytesIO(b"ID3\x04" + bytes(900)), "voice.mp3"))
    finish(app, job, change=lambda result: of_format("mp3", "mp3", "sound")(as_sound_file(result)))
    uploader.enter_pin(job)
    page = uploader.get(f"/r/{job}").get_data(as_text=True)
    assert f'<source src="/r/{job}/original" type="audio/mpeg">' in page
    assert uploader.get(f"/r/{job}/original").mimetype == "audio/mpeg"


def test_a_still_is_shown_as_submitted_with_its_boxes_drawn_by_the_page(
    app: Flask, uploader: Uploader, tmp_path: Path
) -> None:
    job = uploader.submit()
    result = finish(app, job, kind="image", change=lambda usual: of_format("jpeg", "jpeg", "image")(usual))
    uploader.enter_pin(job)
    page = uploader.get(f"/r/{job}").get_data(as_text=True)
    assert f'<img id="picture" src="/r/{job}/original" width="640" height="480"' in page
    assert page.count('<g class="level-') == len(result.faces) == 2
    assert ">1: 1 of 2</text>" in page
