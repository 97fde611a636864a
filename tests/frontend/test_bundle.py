"""The bundle is made while it is sent: complete, the same each time, in any part, with a flat memory, never before the video is there."""

from __future__ import annotations

import hashlib
import io
import json
import tracemalloc
import zipfile

from flask import Flask

from frontend.portal import portal
from frontend.reading import read_report
from shared.records import JobId
from tests.frontend.stories import Uploader, add_video, finish


def test_bundle_holds_every_listed_file_and_no_other_as_plain_files(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit()
    result = finish(app, job)
    folder = portal(app).store.report(job)
    (folder / "stray.txt").write_text("not of the report")
    uploader.enter_pin(job)
    answer = uploader.get(f"/r/{job}/files/bundle.zip")
    assert int(answer.headers["Content-Length"]) == len(answer.data)
    assert answer.mimetype == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.data)) as bundle:
        assert bundle.testzip() is None
        entries = bundle.infolist()
        assert [entry.filename for entry in entries] == sorted([*result.files, "result.json"])
        for entry in entries:
            content = bundle.read(entry)
            assert content == (folder / entry.filename).read_bytes()
            assert entry.external_attr >> 16 == 0o100644  # a regular file, no link
            if entry.filename != "result.json":
                assert hashlib.sha256(content).hexdigest() == result.files[entry.filename]
        assert bundle.getinfo("video/side_by_side.mp4").compress_type == zipfile.ZIP_STORED
        assert bundle.getinfo("result.json").compress_size < bundle.getinfo("result.json").file_size / 2
    assert uploader.get(f"/r/{job}/files/bundle.zip").data == answer.data
    assert not list(folder.rglob("*.zip")), "the video is on the disk once"


def test_any_part_of_a_bundle_can_be_fetched(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit()
    finish(app, job)
    uploader.enter_pin(job)
    path = f"/r/{job}/files/bundle.zip"
    whole = uploader.get(path)
    size = len(whole.data)
    middle = whole.data.index(bytes(4000))  # in the video
    for start, stop in ((0, 0), (0, 99), (middle - 50, middle + 5100), (size - 30, size - 1)):
        part = uploader.get(path, headers={"Range": f"bytes={start}-{stop}"})
        assert (part.status_code, part.data) == (206, whole.data[start : stop + 1])
        assert part.headers["Content-Range"] == f"bytes {start}-{stop}/{size}"
    end = uploader.get(path, headers={"Range": "bytes=-200", "If-Range": whole.headers["ETag"]})
    assert (end.status_code, end.data) == (206, whole.data[-200:])
    assert uploader.get(path, headers={"Range": f"bytes={size}-"}).status_code == 416
    assert uploader.get(path, headers={"If-None-Match": whole.headers["ETag"]}).status_code == 304


def test_bundle_of_a_long_video_needs_little_memory(app: Flask, uploader: Uploader, tmp_path) -> None:
    from frontend.bundle import bundle_of

    video = tmp_path / "long.mp4"
    with video.open("wb") as stream:
        stream.truncate(60_000_000)
    job = uploader.submit()
    finish(app, job, video=video)
    reading = read_report(portal(app).store.report(job))
    tracemalloc.start()
    archive = bundle_of(reading)
    count = 0
    with archive.open() as stream:
        while block := stream.read(65_536):
            count += len(block)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == archive.length > 120_000_000
    assert peak < 10_000_000


def test_before_the_video_is_there_everything_else_is_and_the_download_of_everything_says_so(
    app: Flask, uploader: Uploader
) -> None:
    job = uploader.submit()
    finish(app, job, state="pending")
    assert uploader.get(f"/r/{job}/status.json").get_json()["video"] == "pending"
    uploader.enter_pin(job)
    page = uploader.get(f"/r/{job}").get_data(as_text=True)
    assert "The video with marked faces is being prepared" in page
    assert "Reload this page in a moment" in page
    assert "/original" in page, "the submitted clip plays at once"
    assert "video/side_by_side" not in page
    assert "bundle.zip" not in page
    assert "0.62" in page or "0.6" in page
    refused = uploader.get(f"/r/{job}/files/bundle.zip", headers={"Accept": "application/json"})
    assert (refused.status_code, refused.get_json()["code"]) == (409, "video_pending")
    assert uploader.get(f"/r/{job}/files/scores.csv").status_code == 200
    add_video(app, job)
    page = uploader.get(f"/r/{job}").get_data(as_text=True)
    assert "being prepared" not in page
    assert "video/side_by_side.mp4" in page
    assert page.count("bundle.zip") == 1
    with zipfile.ZipFile(io.BytesIO(uploader.get(f"/r/{job}/files/bundle.zip").data)) as bundle:
        assert bundle.testzip() is None
        assert json.loads(bundle.read("result.json"))["video"] == "ready"
        assert "video/side_by_side.mp4" in bundle.namelist()
    assert uploader.get(f"/r/{job}/status.json").get_json()["video"] is None


def test_video_that_failed_after_the_numbers_leaves_them_with_a_sentence(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit()
    finish(app, job, state="pending")
    add_video(app, job, state="failed")
    uploader.enter_pin(job)
    page = uploader.get(f"/r/{job}").get_data(as_text=True)
    assert "could not be drawn with its scores; all numbers are complete." in page
    assert "video/side_by_side" not in page
    assert "One detector at a time" not in page, "the note that says why is no video of a detector"
    assert uploader.get(f"/r/{job}/files/bundle.zip").status_code == 200


def test_result_without_a_video_says_that_none_was_asked_for_and_plays_the_clip(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit()
    finish(app, job, state="not_asked")
    uploader.enter_pin(job)
    page = uploader.get(f"/r/{job}").get_data(as_text=True)
    assert "No result video was asked for." in page
    assert "video/side_by_side" not in page
    assert "could not be drawn" not in page
    portal(app).store.remove_media("done", JobId(job))
    assert "<video" not in uploader.get(f"/r/{job}").get_data(as_text=True), "and its retention time is over: no player"


def test_result_whose_video_is_pending_is_deleted_at_once(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit()
    finish(app, job, state="pending")
    uploader.enter_pin(job)
    uploader.post(f"/r/{job}/delete")
    store = portal(app).store
    assert store.stage_of(job) is None
    assert not store.report(job).exists()
    assert uploader.get(f"/r/{job}").status_code == 410
