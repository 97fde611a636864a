"""Judging a file again with other detectors, without an upload, and comparing two results of one file."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from frontend import compare, intake
from frontend.portal import portal
from shared.records import JobId, new_id
from shared.results import Result
from tests.frontend.stories import EMAIL, JPEG, START, FrozenClock, Uploader, Visitor, a_result, finish

CHOICE = {"detectors": ["mesonet", "va"], "mode": "quick", "key": "k"}


def again(who: Visitor, job: str, **changed: Any) -> Any:
    fields = CHOICE | changed
    return who.post(f"/r/{job}/again", fields, form_on=f"/r/{job}/again", headers={"Accept": "application/json"})


@pytest.fixture
def judged(app: Flask, uploader: Uploader) -> str:
    """A finished submission, open in the uploader's browser."""
    job = uploader.submit()
    finish(app, job)
    uploader.enter_pin(job)
    return job


def test_the_same_file_is_judged_again_under_a_new_id_with_pin_and_address(
    app: Flask, clock: FrozenClock, uploader: Uploader, visitor: Visitor, judged: str
) -> None:
    site = portal(app)
    clock.forward(minutes=5)
    answer = again(uploader, judged)
    assert answer.status_code == 201, answer.get_data(as_text=True)
    new, old = JobId(answer.json["id"]), JobId(judged)
    first, second = site.store.read_submission("done", old), site.store.read_submission("new", new)
    assert (second.detectors, second.mode, second.again_of) == (("mesonet", "va"), "quick", old)
    same = ("email", "pin_hash", "original_name", "sha256", "bytes", "visitor")
    assert [getattr(second, name) for name in same] == [getattr(first, name) for name in same]
    assert second.received == clock()
    assert (site.store.job("new", new) / "media").read_bytes() == JPEG
    receipt = site.receipts.get(new)
    assert receipt is not None
    assert (receipt.open, receipt.welcome) == (True, True)
    assert uploader.get(f"/r/{new}/status.json").json["detectors"] is not None, "it is open as well"
    finish(app, new)
    assert visitor.enter_pin(new).status_code == 303
    # each of the two is deleted in its own time
    assert site.store.remove_media("done", old)
    assert (site.store.job("done", new) / "media").read_bytes() == JPEG


def test_deleting_one_leaves_the_other_and_is_said_where_it_is_deleted(
    app: Flask, uploader: Uploader, judged: str
) -> None:
    new = again(uploader, judged).json["id"]
    for page in (judged, new):
        assert "What was judged again is a submission of its own" in uploader.get(f"/r/{page}").get_data(as_text=True)
    assert uploader.post(f"/r/{judged}/delete", {}, form_on=f"/r/{judged}").status_code == 303
    assert uploader.get(f"/r/{judged}").status_code == 410
    assert (portal(app).store.job("new", JobId(new)) / "media").read_bytes() == JPEG


def test_the_same_form_sent_twice_is_one_submission(uploader: Uploader, judged: str) -> None:
    assert again(uploader, judged).json["id"] == again(uploader, judged).json["id"]
    assert again(uploader, judged, mode="thorough").json["id"] != again(uploader, judged).json["id"]


def test_the_page_offers_what_fits_the_file_and_marks_what_has_judged_it(uploader: Uploader, judged: str) -> None:
    page = uploader.get(f"/r/{judged}/again").get_data(as_text=True)
    assert page.count("has judged it") == 2
    assert 'value="xception"' not in page
    refused = uploader.post(f"/r/{judged}/again", {"mode": "quick"}, form_on=f"/r/{judged}/again")
    assert refused.status_code == 422
    assert "Choose at least one detector." in refused.get_data(as_text=True)


def test_only_who_has_the_result_open_judges_it_again(uploader: Uploader, visitor: Visitor, judged: str) -> None:
    assert visitor.get(f"/r/{judged}/again").status_code == 303
    refused = visitor.post(f"/r/{judged}/again", CHOICE, headers={"Accept": "application/json"})
    assert (refused.status_code, refused.json["code"]) == (403, "pin_needed")


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
def test_a_file_that_is_gone_is_said_clearly(app: Flask, uploader: Uploader, judged: str, accept: str) -> None:
    token = uploader.token(f"/r/{judged}/again")
    portal(app).store.remove_media("done", JobId(judged))
    headers = {"Accept": accept}
    for answer in (
        uploader.client.post(f"/r/{judged}/again", data=CHOICE | {"csrf_token": token}, headers=headers),
        uploader.get(f"/r/{judged}/again", headers=headers),
    ):
        assert answer.status_code == 410
        assert "The file is no longer here" in answer.get_data(as_text=True)
    assert list((portal(app).store.submissions / "tmp").iterdir()) == []


def test_it_counts_like_an_upload(app: Flask, uploader: Uploader, judged: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MOST_OPEN", 1)
    refused = again(uploader, judged)
    assert (refused.status_code, refused.json["code"]) == (429, "too_many_open")
    assert EMAIL not in refused.get_data(as_text=True)
    assert portal(app).store.ids("new") == []
    assert list((portal(app).store.submissions / "tmp").iterdir()) == []


# --------------------------------------------------------------------------- compare


def test_two_results_of_one_file_are_shown_side_by_side_once_both_are_open(
    app: Flask, uploader: Uploader, visitor: Visitor, judged: str
) -> None:
    new = again(uploader, judged).json["id"]
    finish(app, new, change=lambda result: result.model_copy(update={"mode": "quick"}))
    assert f"/compare/{judged}/{new}" in uploader.get(f"/r/{new}").get_data(as_text=True)
    page = uploader.get(f"/compare/{judged}/{new}").get_data(as_text=True)
    for words in ("First result", "Second result", "MesoInception4", "Other mode (Standard, then Quick)."):
        assert words in page
    # another browser is asked for the PIN of each that is closed, and comes back
    address = f"/compare/{judged}/{new}"
    for job, other in ((judged, new), (new, judged)):
        asked = visitor.get(address).get_data(as_text=True)
        assert f"begins with <code>{job[:8]}</code>" in asked
        wrong = visitor.post(f"/r/{job}/pin", {"pin": "000000", "compare": other})
        assert f'name="compare" value="{other}"' in wrong.get_data(as_text=True)
        right = visitor.post(f"/r/{job}/pin", {"pin": "482913", "compare": other})
        assert right.headers["Location"] == f"/compare/{job}/{other}"
    assert "Detector by detector" in visitor.get(address).get_data(as_text=True)


def test_results_of_different_files_are_not_compared(app: Flask, uploader: Uploader, judged: str) -> None:
    other = new_id()
    assert "Enter your PIN" in uploader.get(f"/compare/{judged}/{other}").get_data(as_text=True), "no such result"
    assert uploader.get(f"/compare/{judged}/{judged}").status_code == 422
    new = again(uploader, judged).json["id"]
    assert uploader.get(f"/compare/{judged}/{new}").headers["Location"] == f"/r/{new}", "not finished yet"

    def another_file(result: Result) -> Result:
        facts = result.media
        return result.model_copy(update={"media": type(facts)(**(vars(facts) | {"sha256": "cd" * 32}))})

    finish(app, new, change=another_file)
    refused = uploader.get(f"/compare/{judged}/{new}")
    assert refused.status_code == 422
    assert "of the same file" in refused.get_data(as_text=True)


def changed(**members: Any) -> tuple[Result, Result]:
    """A result, and the same with members of its first detector changed."""
    first = a_result("a" * 26, START)
    detector = first.detectors[0].model_copy(update=members)
    return first, first.model_copy(update={"detectors": (detector, *first.detectors[1:])})


@pytest.mark.parametrize(
    ("members", "change", "why"),
    [
        ({}, "The same score, on the same side of its threshold.", ()),
        ({"cached": True}, "The same score, on the same side", ("The scores of the earlier run were used again.",)),
        ({"fake_score": 0.2, "hard_label": "real"}, "lower, now below its threshold.", ("Nothing in the records explains it.",)),
        ({"fake_score": None, "status": "failed", "code": "out_of_memory"}, "No score in the second result: The worker ran out", ()),
        ({"threshold": 0.7}, "The same score", ("Its threshold, or the rule for the file's score, was changed.",)),
        ({"units_scored": 3}, "The same score", ("It judged 100, then 3.",)),
    ],
)  # fmt: skip
def test_a_change_is_said_with_what_the_records_differ_in(members: Any, change: str, why: tuple[str, ...]) -> None:
    row = compare.rows(*changed(**members))[0]
    assert change in row.change
    assert row.why == why


def test_scores_of_another_version_are_called_not_comparable() -> None:
    first, _ = changed()
    newer = first.detectors[0].provenance.model_copy(update={"version": "2.0", "weights": {"w": "1"}})
    rows = compare.rows(*changed(provenance=newer))
    assert rows[0].why == (
        "The two scores are not comparable.",
        "It is another version of the detector.",
        "Its weights are others.",
    )
    assert [row.why for row in rows[1:]] == [(), ()]


def test_a_detector_of_one_result_only_is_named_and_comes_last() -> None:
    first, second = changed()
    fewer = second.model_copy(update={"detectors": second.detectors[1:]})
    assert compare.rows(first, fewer)[-1].change == "Asked in the first result only."
    assert compare.rows(fewer, first)[-1].change == "Asked in the second result only."


def test_a_mode_that_makes_no_difference_for_a_still_is_no_reason() -> None:
    first = a_result("a" * 26, START, kind="image")
    second = first.model_copy(update={"mode": "quick"})
    assert compare.whole(first, second) == ("The modes differ (Standard, then Quick).",)
    assert [row.why for row in compare.rows(first, second)] == [(), (), ()]
