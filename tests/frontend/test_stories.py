"""The journey of a submission through the portal, as its people see it."""

from __future__ import annotations

import io
import json
import re
import zipfile

import pytest
from flask import Flask

from frontend.portal import portal
from shared.records import JobId
from tests.frontend.stories import EMAIL, PIN, FrozenClock, Uploader, Visitor, finish, status, working
from tests.units import as_sound_file


def test_front_page_offers_ready_detectors_and_the_page_of_detectors_names_why_others_are_not(
    visitor: Visitor,
) -> None:
    page = visitor.get("/").get_data(as_text=True)
    assert 'value="mesonet" checked' in page
    assert "Xception" not in page
    assert "weights not installed" in visitor.get("/detectors").get_data(as_text=True)
    assert "about 7.4 s here" in page
    assert "not measured here yet" in page


def test_upload_becomes_one_durable_submission_with_its_digest(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit()
    store = portal(app).store
    submission = store.read_submission("new", JobId(job))
    media = store.job("new", job) / "media"
    assert media.stat().st_size == submission.bytes
    assert submission.detectors == ("mesonet", "classnseg")
    assert submission.email == EMAIL
    assert submission.original_name == "portrait.jpg"
    assert not list(store.submissions.joinpath("tmp").iterdir())


def test_plain_form_without_scripts_leads_to_the_progress_page(uploader: Uploader) -> None:
    answer = uploader.send(as_json=False)
    assert answer.status_code == 303
    page = uploader.get(answer.headers["Location"]).get_data(as_text=True)
    assert "Received" in page
    assert 'http-equiv="refresh"' in page


def test_progress_tells_place_wait_and_with_the_pin_each_detector(
    app: Flask, clock: FrozenClock, uploader: Uploader
) -> None:
    job = uploader.submit()
    store = portal(app).store
    wait = {"estimated_wait_s": 95.0, "longest_wait_s": 95.0}
    store.write_status(status(job, clock(), state="queued", attempt=0, queue_position=3, **wait))
    queued = uploader.get(f"/r/{job}/status.json").json
    assert queued["headline"] == "Number 3 in the queue"
    assert "95 s" in queued["detail"]
    store.write_status(working(job, clock()))
    view = uploader.get(f"/r/{job}/status.json").json
    assert (view["percent"], view["stage"], view["detectors"]) == (46, "detectors", None)
    uploader.enter_pin(job)
    view = uploader.get(f"/r/{job}/status.json").json
    assert [item["words"] for item in view["detectors"]] == ["done", "running", "waiting"]
    assert view["detectors"][1]["share"] == 0.31
    page = uploader.get(f"/r/{job}").get_data(as_text=True)
    assert "31 of 100 faces" in page


def test_the_link_alone_says_nothing_about_the_file(
    app: Flask, clock: FrozenClock, uploader: Uploader, visitor: Visitor
) -> None:
    job = uploader.submit(mode="thorough")
    portal(app).store.write_status(working(job, clock()))
    submission = portal(app).store.read_submission("new", JobId(job))
    facts = [submission.sha256, submission.original_name, "Thorough", "MesoInception4", "mesonet", "31 of 100"]
    for address in (f"/r/{job}", f"/r/{job}/status.json", f"/r/{job}/events"):
        said = visitor.client.get(address)
        assert said.status_code == 200
        text = next(iter(said.response)).decode() if "events" in address else said.get_data(as_text=True)
        said.close()
        assert [fact for fact in facts if fact in text] == [], address
    uploader.enter_pin(job)
    page = uploader.get(f"/r/{job}").get_data(as_text=True)
    assert [fact for fact in facts if fact not in page and fact != "mesonet"] == []


def test_failed_submission_says_what_happened_and_what_to_do(
    app: Flask, clock: FrozenClock, uploader: Uploader
) -> None:
    job = uploader.submit()
    portal(app).store.write_status(status(job, clock(), state="failed", step="failed", code="media_unreadable"))
    page = uploader.get(f"/r/{job}").get_data(as_text=True)
    assert "could not be decoded" in page
    assert "Copy or export it again" in page


def test_right_pin_opens_result_with_scores_labels_limits_and_caution(
    app: Flask, uploader: Uploader, visitor: Visitor
) -> None:
    job = uploader.submit()
    result = finish(app, job)
    assert "Enter the PIN" in visitor.get(f"/r/{job}").get_data(as_text=True)
    opened = visitor.enter_pin(job)
    assert opened.status_code == 303
    page = visitor.get(f"/r/{job}").get_data(as_text=True)
    assert f"{result.detectors[0].fake_score:.2f}" in page
    assert "1 of 2 detectors is at or above its threshold: MesoInception4" in page
    assert "no opinion" in page
    assert "both eyes open; none was found" in page
    assert "1 other detector gave no score; the reason is listed below." in page
    assert "A score is not proof." in page
    assert "Strong compression" in page
    assert "They disagree" not in page
    assert "person_1.jpg" in page
    assert "<h3>Person 2 " in page
    assert 'video/mesonet.mp4">MesoInception4</a>' in page


def test_still_image_shows_its_marked_picture_and_no_curves(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit()
    finish(app, job, kind="image")
    uploader.enter_pin(job)
    page = uploader.get(f"/r/{job}").get_data(as_text=True)
    assert "video/side_by_side.png" in page
    assert 'id="curve' not in page
    assert "<video" not in page


def test_curves_break_at_cuts_and_gaps_and_follow_the_result(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit()
    result = finish(app, job)
    uploader.enter_pin(job)
    data = json.loads(uploader.get(f"/r/{job}/files/curves.json").data)
    assert data["cuts"] == [6.0]
    by_key = {(line["detector"], line["person"]): line for line in data["lines"]}
    assert set(by_key) == {(name, person) for name in ("mesonet", "classnseg") for person in (None, 0, 1)}
    person = by_key["mesonet", 0]
    rows = [row for row in zip(result.faces, result.detectors[0].scores, strict=True) if row[0].person == 0]
    assert [y for y in person["y"] if y is not None] == [round(score, 4) for _, score in rows]
    assert person["y"].count(None) == 1  # the cut
    assert by_key["classnseg", 0]["y"].count(None) == 2  # the cut and the second without scores


def test_a_result_from_before_curves_json_shows_its_pictures_and_says_why(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit()
    finish(app, job, curves=False)
    uploader.enter_pin(job)
    page = uploader.get(f"/r/{job}").get_data(as_text=True)
    assert "from an earlier version of this site, so its curves are pictures" in page
    assert 'id="curve' not in page
    assert page.count("files/curves/all.png") == 1


def test_files_come_with_ranges_types_and_as_downloads(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit()
    finish(app, job)
    uploader.enter_pin(job)
    part = uploader.get(f"/r/{job}/files/video/side_by_side.mp4", headers={"Range": "bytes=100-199"})
    assert part.status_code == 206
    assert len(part.data) == 100
    assert part.headers["Content-Range"] == "bytes 100-199/5000"
    assert part.mimetype == "video/mp4"
    bundle = uploader.get(f"/r/{job}/files/bundle.zip")
    assert "attachment" in bundle.headers["Content-Disposition"]
    assert {"scores.csv", "report.pdf"} <= set(zipfile.ZipFile(io.BytesIO(bundle.data)).namelist())
    document = uploader.get(f"/r/{job}/files/report.pdf")
    assert document.mimetype == "application/pdf"
    assert "attachment" in document.headers["Content-Disposition"]
    assert json.loads(uploader.get(f"/r/{job}/files/result.json").data)["id"] == job


def test_page_of_the_report_is_a_download_and_never_runs_here(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit()
    finish(app, job)
    uploader.enter_pin(job)
    answer = uploader.get(f"/r/{job}/files/summary.html")
    assert answer.mimetype == "application/octet-stream"
    assert "attachment" in answer.headers["Content-Disposition"]
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"


@pytest.mark.parametrize(
    "name", ["../status.json", "..%2fstatus.json", "/etc/passwd", "missing.png", "video", "link.png"]
)
def test_only_listed_regular_files_are_handed_out(app: Flask, uploader: Uploader, name: str) -> None:
    job = uploader.submit()
    finish(app, job)
    (portal(app).store.report(job) / "link.png").symlink_to("/etc/passwd")
    uploader.enter_pin(job)
    assert uploader.get(f"/r/{job}/files/{name}", follow_redirects=True).status_code == 404


def test_listed_name_that_became_a_link_is_not_followed(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit()
    finish(app, job)
    scores = portal(app).store.report(job) / "scores.csv"
    scores.unlink()
    scores.symlink_to("/etc/passwd")
    uploader.enter_pin(job)
    assert uploader.get(f"/r/{job}/files/scores.csv").status_code == 404


def test_a_sound_has_a_player_of_its_own_behind_the_pin_and_without_scripts(
    app: Flask, uploader: Uploader, visitor: Visitor
) -> None:
    job = uploader.submit()
    finish(app, job, change=as_sound_file)
    assert "<audio" not in visitor.get(f"/r/{job}").get_data(as_text=True)
    assert uploader.enter_pin(job).status_code == 303
    page = uploader.get(f"/r/{job}").get_data(as_text=True)
    audio = page[page.index('<audio id="listen" aria-labelledby="listen-name" controls') : page.index("</audio>")]
    (address,) = re.findall(r'<source src="([^"]+)" type="video/mp4">', audio)
    part = uploader.get(address, headers={"Range": "bytes=0-99"})
    assert (part.status_code, part.mimetype) == (206, "video/mp4")
    assert visitor.get(address).status_code == 403


def test_a_clip_has_no_player_of_its_sound_alone(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit()
    finish(app, job)
    uploader.enter_pin(job)
    assert "<audio" not in uploader.get(f"/r/{job}").get_data(as_text=True)


@pytest.mark.parametrize("path", ["", "/files/curves.json", "/files/bundle.zip", "/files/video/side_by_side.mp4"])
def test_session_opens_its_own_result_only(app: Flask, uploader: Uploader, path: str) -> None:
    mine, other = uploader.submit(), uploader.submit(pin="739164")
    finish(app, mine)
    finish(app, other)
    uploader.enter_pin(mine)
    assert uploader.get(f"/r/{mine}{path}").status_code == 200
    answer = uploader.get(f"/r/{other}{path}")
    if path:
        assert answer.status_code == 403
    else:
        assert "Enter the PIN" in answer.get_data(as_text=True)


def test_session_ends_after_its_time_and_when_closed(app: Flask, clock: FrozenClock, uploader: Uploader) -> None:
    job = uploader.submit()
    finish(app, job)
    uploader.enter_pin(job)
    clock.forward(minutes=29)
    assert uploader.get(f"/r/{job}/files/bundle.zip").status_code == 200
    clock.forward(minutes=2)
    assert uploader.get(f"/r/{job}/files/bundle.zip").status_code == 403
    uploader.enter_pin(job)
    assert uploader.get(f"/r/{job}/files/bundle.zip").status_code == 200
    uploader.post(f"/r/{job}/close")
    assert uploader.get(f"/r/{job}/files/bundle.zip").status_code == 403


def test_closed_result_stays_closed_to_a_copied_cookie(app: Flask, uploader: Uploader, visitor: Visitor) -> None:
    job = uploader.submit()
    finish(app, job)
    uploader.enter_pin(job)
    cookie = uploader.client.get_cookie("dfom")
    assert cookie
    uploader.post(f"/r/{job}/close")
    visitor.client.set_cookie("dfom", cookie.value)
    assert visitor.get(f"/r/{job}/files/bundle.zip").status_code == 403
    uploader.enter_pin(job)
    assert uploader.get(f"/r/{job}/files/bundle.zip").status_code == 200
    assert visitor.get(f"/r/{job}/files/bundle.zip").status_code == 403


def test_only_who_has_it_open_can_close_a_result_for_others(app: Flask, uploader: Uploader, visitor: Visitor) -> None:
    job = uploader.submit()
    finish(app, job)
    uploader.enter_pin(job)
    visitor.post(f"/r/{job}/close")
    assert uploader.get(f"/r/{job}/files/bundle.zip").status_code == 200


def test_damaged_record_of_sessions_closes_the_result(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit()
    finish(app, job)
    uploader.enter_pin(job)
    (portal(app).settings.frontend_state / "access" / f"{job}.json").write_text("{")
    assert uploader.get(f"/r/{job}/files/bundle.zip").status_code == 403


def test_opening_a_result_leaves_the_upload_form_of_another_tab_valid(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit()
    finish(app, job)
    token = uploader.token()
    uploader.enter_pin(job)
    fields = uploader.fields() | {"csrf_token": token}
    assert uploader.client.post("/submit", data=fields, headers={"Accept": "application/json"}).status_code == 201


@pytest.mark.parametrize("untrusted_id", ["a" * 26, "..", "A" * 26, "a" * 25, "%2e%2e", "a" * 26 + "/status.json"])
def test_unknown_ids_lead_nowhere(visitor: Visitor, untrusted_id: str) -> None:
    assert visitor.get(f"/r/{untrusted_id}").status_code in (404, 308)


def test_delete_now_removes_media_report_and_address(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit()
    finish(app, job)
    uploader.enter_pin(job)
    uploader.post(f"/r/{job}/delete")
    store = portal(app).store
    assert store.stage_of(JobId(job)) is None
    assert not store.report(job).exists()
    gone = uploader.get(f"/r/{job}")
    assert gone.status_code == 410
    assert "at its owner&#39;s request" in gone.get_data(as_text=True)
    assert not [
        path for path in portal(app).settings.data.rglob("*") if path.is_file() and EMAIL.encode() in path.read_bytes()
    ]


def test_second_click_on_delete_says_that_it_is_deleted(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit()
    finish(app, job)
    uploader.enter_pin(job)
    token = uploader.token(f"/r/{job}")
    for _ in range(2):
        answer = uploader.client.post(f"/r/{job}/delete", data={"csrf_token": token}, follow_redirects=True)
        assert answer.status_code == 410


def test_deleting_takes_every_mail_along(app: Flask, uploader: Uploader) -> None:
    kept, gone = uploader.submit(), uploader.submit(key="other")
    site = portal(app)
    site.postman.tick()
    finish(app, gone)
    site.postman.tick()
    uploader.post(f"/r/{gone}/delete", {"pin": PIN})
    files = [path for path in site.settings.data.rglob("*") if path.is_file() and "scratch" not in path.parts]
    assert [path.name for path in files if path.suffix == ".eml" and kept[:13] in path.name]
    left = [path for path in files if gone.encode() in path.read_bytes().replace(b"=\n", b"") or gone[:13] in path.name]
    assert [path.relative_to(site.settings.data).as_posix() for path in left] == [f"results/{gone}/status.json"]


def test_waiting_submission_is_deleted_with_the_pin_only(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit()
    refused = uploader.post(f"/r/{job}/delete", {"pin": "111111"})
    assert refused.status_code == 403
    page = refused.get_data(as_text=True)
    assert "That PIN is wrong. Nothing was deleted. You have 5 more tries without waiting." in page
    assert f'action="/r/{job}/delete"' in page, "the form deletes: it does not lead to the result"
    assert "Open the result" not in page
    assert portal(app).store.stage_of(JobId(job)) == "new"
    uploader.post(f"/r/{job}/delete", {"pin": PIN})
    assert portal(app).store.stage_of(JobId(job)) is None


def test_wrong_pins_of_a_deletion_count_like_all_others(app: Flask, clock: FrozenClock, uploader: Uploader) -> None:
    job = uploader.submit()
    for number in range(6):
        address = "delete" if number % 2 else "pin"
        assert uploader.post(f"/r/{job}/{address}", {"pin": "111111"}).status_code == 403
    refused = uploader.post(f"/r/{job}/delete", {"pin": PIN})
    assert refused.status_code == 429
    assert "before the next try. Nothing was deleted." in refused.get_data(as_text=True)


@pytest.mark.parametrize(("address", "words"), [("pin", "Enter your PIN."), ("delete", "Nothing was deleted yet.")])
def test_no_pin_is_no_wrong_pin(app: Flask, uploader: Uploader, address: str, words: str) -> None:
    """The page of an open result deletes without asking for the PIN; its session may be over by then."""
    job = uploader.submit()
    finish(app, job)
    for _ in range(8):
        assert words in uploader.post(f"/r/{job}/{address}", {"pin": " "}).get_data(as_text=True)
    assert uploader.enter_pin(job, f" {PIN[:3]} {PIN[3:]} ").status_code == 303


def test_submission_in_work_is_deleted_when_the_work_ends(app: Flask, clock: FrozenClock, uploader: Uploader) -> None:
    job = uploader.submit()
    site = portal(app)
    site.store.move(JobId(job), "new", "active")
    site.store.write_status(working(job, clock()))
    uploader.post(f"/r/{job}/delete", {"pin": PIN})
    site.postman.tick()
    assert site.store.stage_of(JobId(job)) == "active"
    assert site.store.is_withdrawn(JobId(job)), "the back-end ends the work now"
    assert "will be deleted" in uploader.get(f"/r/{job}").get_data(as_text=True)
    site.store.write_status(status(job, clock(), state="done", step="done"))
    site.store.move(JobId(job), "active", "done")
    site.postman.tick()
    assert site.store.stage_of(JobId(job)) is None
    assert uploader.get(f"/r/{job}").status_code == 410


def test_submission_in_work_is_deleted_at_once_when_the_back_end_is_dead(
    app: Flask, clock: FrozenClock, uploader: Uploader
) -> None:
    job = uploader.submit()
    site = portal(app)
    site.store.move(JobId(job), "new", "active")
    site.store.write_status(working(job, clock()))
    uploader.post(f"/r/{job}/delete", {"pin": PIN})
    clock.forward(seconds=60)
    site.postman.tick()
    assert site.store.stage_of(JobId(job)) is None
    assert uploader.get(f"/r/{job}").status_code == 410


def test_expired_result_says_so(app: Flask, clock: FrozenClock, uploader: Uploader) -> None:
    job = uploader.submit()
    portal(app).store.write_status(status(job, clock(), state="expired", step="expired", code="expired"))
    answer = uploader.get(f"/r/{job}")
    assert answer.status_code == 410
    assert "retention time" in answer.get_data(as_text=True)


def test_ready_follows_the_back_ends_heartbeat(app: Flask, clock: FrozenClock, visitor: Visitor) -> None:
    assert visitor.get("/healthz").status_code == 200
    assert visitor.get("/ready").json["checks"]["backend"] is True
    clock.forward(seconds=31)
    answer = visitor.get("/ready")
    assert answer.status_code == 503
    assert answer.json["checks"]["backend"] is False
    assert "not running at the moment" in visitor.get("/").get_data(as_text=True)


def test_detector_cards_name_what_each_cannot_see(visitor: Visitor) -> None:
    page = visitor.get("/detectors").get_data(as_text=True)
    assert page.count("What it cannot see") == 4
    assert "not measured here yet" in page


def test_detector_cards_and_the_result_say_what_runs_in_a_container(
    app: Flask, uploader: Uploader, visitor: Visitor
) -> None:
    page = visitor.get("/detectors").get_data(as_text=True)
    assert page.count("in a container without network") == 1
    assert page.count("in a plain process of this site") == 2
    job = uploader.submit()
    finish(app, job)
    uploader.enter_pin(job)
    result = uploader.get(f"/r/{job}").get_data(as_text=True)
    assert "in a plain process of this site" in result
    assert "the file was opened in a container without network" in result


def test_help_names_the_retention_times_that_are_set(build) -> None:
    page = (
        Visitor(build(keep_media_days=3, keep_results_days=12).test_client())
        .get("/help/privacy")
        .get_data(as_text=True)
    )
    assert "3 days after it arrived" in page
    assert "12 days after it was finished" in page


def test_a_deletion_that_broke_off_is_ended_by_the_postman(
    app: Flask, uploader: Uploader, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = uploader.submit()
    finish(app, job)
    site = portal(app)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(site.store, "write_status", full)
        uploader.post(f"/r/{job}/delete", {"pin": PIN})
    assert site.store.stage_of(job) is None
    assert not site.store.report(job).exists()
    site.postman.tick()
    assert site.store.read_status(job).code == "deleted"
    assert site.receipts.get(job) is None
