"""``truth``: what a submission turned out to be is kept with its scores, counted honestly, and may become a reference set."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from click.testing import Result as Said

from backend.dispatch.retention import expire
from backend.scores.references import References
from base_detector import CONTRACT_VERSION
from deepfake_o_meter import main
from shared import durable
from shared.records import JobId, Status, Submission, new_id
from shared.results import Finding, Provenance, Result
from shared.settings import Settings
from shared.store import Store
from shared.truths import site_record
from tests.conftest import FIXTURES
from tests.frontend.stories import a_result
from tests.scores.sets import CARDS, LIKE

NOW = datetime(2026, 3, 1, tzinfo=UTC)
OURS = CARDS["selfblend"]
#: What makes the scores of the detector that needs no weights, here and now.
RAN = Provenance(
    version=OURS.version,
    contract=CONTRACT_VERSION,
    weights={},
    parameters=OURS.parameters,
    runner="process",
    image=None,
)


class Site:
    """The shared folders of a portal, and its operator."""

    def __init__(self, data: Path) -> None:
        self.settings = Settings(data=data)
        self.store = Store(self.settings.submissions, self.settings.results).prepare(self.settings.backend_state)

    def says(self, *words: str) -> Said:
        """``deepfake-o-meter truth WORDS``."""
        environment = {"DFOM_DATA": str(self.settings.data), "DFOM_RUNNER": "process"}
        return CliRunner().invoke(main, ["truth", *words], env=environment)

    def listed(self) -> dict[str, Any]:
        """``truth --list --json``."""
        said = self.says("--list", "--json")
        assert said.exit_code == 0, said.output
        return dict(json.loads(said.stdout))

    def judged(self, score: float = 0.3, *, content: str | None = None, kind: str = "video", **changes: Any) -> JobId:
        """A finished submission to which ``selfblend`` gave ``score``; ``changes``: of its answer."""
        job = new_id()
        result = a_result(job, NOW, kind=kind)
        first = result.detectors[0]
        facts: dict[str, Any] = {
            "id": "selfblend", "title": OURS.title, "threshold": OURS.threshold, "strategy": OURS.aggregation, "fake_score": score,
            "provenance": RAN, "hard_label": "fake" if score >= OURS.threshold else "real",
            "finding": Finding(points="inconclusive", code="ratio_holds_one", sentence="."),
        }  # fmt: skip
        media = hashlib.sha256((content or job).encode()).hexdigest()
        result = result.model_copy(
            update={
                "media": type(result.media)(**{**vars(result.media), "sha256": media}),
                "conditions": LIKE.model_copy(update={"kind": kind}),
                "detectors": (first.model_copy(update=facts | changes), *result.detectors[2:]),
            }
        )
        self.publish(result)
        return job

    def publish(self, result: Result) -> None:
        job = JobId(result.id)
        self.status(job, "done")
        report = self.store.report(job)
        report.mkdir(parents=True)
        (report / "result.json").write_text(result.model_dump_json())

    def status(self, job: JobId, state: str, code: str | None = None) -> None:
        facts = {"state": state, "step": state, "updated": NOW, "finished": NOW, "code": code}
        self.store.write_status(Status(id=job, **facts))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "var")


def test_scores_and_conditions_outlive_the_result_and_nothing_else_is_kept(site: Site) -> None:
    job = site.judged(0.42)
    said = site.says(job, "fake", "--note", "admitted by its maker")
    assert (said.exit_code, said.stderr) == (0, "Noted as fake: scores of 1 of 2 detectors are kept.\n")
    site.status(job, "done")
    expire(site.store, site.settings, cache=None, now=NOW + timedelta(days=31))
    assert not site.store.report(job).exists()
    [kept] = site.store.noted()[0]
    assert (kept.fake, kept.answers[0].fake_score, kept.answers[0].provenance) == (True, 0.42, RAN)
    assert (kept.like, kept.mode, kept.judged, kept.answers[0].unit) == (LIKE, "standard", NOW, "face")
    text = (site.settings.results / "record" / f"{job}.json").read_text()
    for private in ("press_statement_final", "@", "pin", "box", "keyframe", "source_url"):
        assert private not in text.lower()
    assert site.listed()["items"][0] == {
        "id": job, "truth": "fake", "noted": str(kept.noted), "note": "admitted by its maker", "mode": "standard",
        "guess": None, "scores": {"selfblend": 0.42, "va": None},
    }  # fmt: skip
    expire(site.store, site.settings, cache=None, now=NOW + timedelta(days=400))
    assert len(site.listed()["items"]) == 1


def test_the_address_of_the_page_is_as_good_as_the_id(site: Site) -> None:
    job = site.judged()
    assert site.says(f"https://dfom.example.org/r/{job}/", "real").exit_code == 0
    assert site.listed()["record"]["real"] == 1


@pytest.mark.parametrize(
    ("state", "code", "words"),
    [
        (None, None, "There is no submission"),
        ("queued", None, "is not finished (queued)"),
        ("working", None, "is not finished (working)"),
        ("failed", "media_unreadable", "has no result: The file could not be decoded"),
        ("expired", "expired", "its retention time is over. Its scores are gone"),
        ("expired", "deleted", "at its owner's request. Its scores are gone"),
        ("done", None, "was deleted, so its truth can no longer be noted"),
    ],
)
def test_what_has_no_scores_is_refused_with_the_reason(
    site: Site, state: str | None, code: str | None, words: str
) -> None:
    job = new_id()
    if state:
        site.status(job, state, code)
    said = site.says(job, "real")
    assert said.exit_code == 2
    assert words in said.stderr
    assert site.store.noted() == ([], [])


def test_what_is_no_id_or_half_a_command_is_said_plainly(site: Site, tmp_path: Path) -> None:
    assert "26 letters and digits" in site.says("../../etc/passwd", "real").stderr
    assert "Say what the submission turned out to be" in site.says(new_id()).stderr
    assert site.says(new_id(), "perhaps").exit_code == 2
    assert "at most 200 characters" in site.says(new_id(), "real", "--note", "x" * 201).stderr
    assert "Check DFOM_DATA" in CliRunner().invoke(main, ["truth"], env={"DFOM_DATA": str(tmp_path / "no")}).stderr


def test_a_truth_is_changed_only_on_purpose(site: Site) -> None:
    job = site.judged()
    assert site.says(job, "real").exit_code == 0
    assert "Noted as real already" in site.says(job, "real").stderr
    other = site.says(job, "fake")
    assert other.exit_code == 2
    assert "was noted as real on" in other.stderr
    assert f"truth {job} --undo" in other.stderr
    assert "Removed" in site.says(job, "--undo").stderr
    assert site.says(job, "--undo").exit_code == 2
    assert site.says(job, "fake").exit_code == 0
    assert site.listed()["record"]["fake"] == 1


def test_one_file_has_one_truth_and_counts_once_however_often_it_is_sent(site: Site) -> None:
    first, second = site.judged(0.95, content="viral"), site.judged(0.95, content="viral")
    assert site.says(first, "real").exit_code == 0
    refused = site.says(second, "fake")
    assert refused.exit_code == 2
    assert f"The same file was sent as submission {first}, which was noted as real" in refused.stderr
    assert site.says(second, "real").exit_code == 0
    line = site.listed()["record"]["lines"][0]
    assert (line["real"]["noted"], line["real"]["judged"], line["real"]["wrong"]["reached"]) == (1, 1, 1)


def test_false_alarms_and_misses_are_counted_with_their_intervals(site: Site) -> None:
    for score in [0.95, 0.99, *[0.2] * 8]:
        site.says(site.judged(score), "real")
    for score in [0.95, *[0.4] * 4]:
        site.says(site.judged(score), "fake")
    alone = {"finding": Finding(points="points_to_real", code="unmeasured", sentence=".")}
    site.says(site.judged(0.1, **alone), "fake")
    few = {"finding": Finding(points="inconclusive", code="few_units", sentence=".")}
    site.says(site.judged(0.99, **few), "real")
    site.says(site.judged(0.99, provenance=RAN.model_copy(update={"version": "0.9"})), "real")
    record = site.listed()["record"]
    assert (record["real"], record["fake"], record["damaged"]) == (12, 6, 0)
    line = next(one for one in record["lines"] if (one["detector"], one["version"]) == ("selfblend", OURS.version))
    real, fake = line["real"], line["fake"]
    assert (real["noted"], real["judged"], real["inconclusive"], real["misled"]) == (11, 10, 10, 0)
    assert (real["wrong"]["reached"], real["wrong"]["of"]) == (2, 10)
    # Clopper and Pearson's interval of 2 of 10, from their tables
    assert (real["wrong"]["low"], real["wrong"]["high"]) == pytest.approx((0.02521, 0.55610), abs=1e-5)
    assert (fake["wrong"]["reached"], fake["wrong"]["of"], fake["inconclusive"], fake["misled"]) == (5, 6, 5, 1)
    old = next(one for one in record["lines"] if one["version"] == "0.9")
    assert old["real"]["judged"] == 1, "another version is counted apart"
    text = site.says().stdout
    assert "2 of 10 (2.5 to 56 %)" in text
    assert "not a fair sample" in text
    unheard = next(one for one in record["lines"] if one["detector"] == "va")
    assert (unheard["real"]["judged"], unheard["real"]["noted"]) == (0, 12)


def test_with_nothing_noted_the_list_says_so(site: Site) -> None:
    assert (
        site.says().stdout
        == "Nothing is noted yet: nobody has recorded whether a file that was checked here is real or manipulated.\n"
    )
    assert site_record([]).lines == ()


def test_a_changed_item_is_noticed_counts_nowhere_and_can_be_removed(site: Site) -> None:
    job, whole = site.judged(0.2), site.judged(0.2)
    for one in (job, whole):
        site.says(one, "real")
    path = site.settings.results / "record" / f"{job}.json"
    path.write_text(path.read_text().replace('"fake_score": 0.2', '"fake_score": 0.9'))
    found = site.listed()
    assert (found["damaged"], [one["id"] for one in found["items"]]) == ([job], [whole])
    assert f"{job}: damaged, in no count." in site.says().stdout
    assert "is damaged" in site.says(job, "real").stderr
    assert site.says(job, "--undo").exit_code == 0
    assert site.says(job, "real").exit_code == 0
    assert site.listed()["damaged"] == []


def test_a_crash_while_noting_leaves_the_old_item_or_none(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    job = site.judged()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(durable.os, "replace", full)
        said = site.says(job, "real")
    assert said.exit_code == 2
    assert "disk" in said.stderr
    assert list((site.settings.results / "record").iterdir()) == []
    # what kill -9 leaves: retention sweeps it after a day
    left = site.settings.results / "record" / f".{job}.json.{'ab' * 6}"
    left.write_text("{")
    assert site.listed()["items"] == []
    expire(site.store, site.settings, cache=None, now=datetime.now(UTC))
    assert left.exists()
    durable.os.utime(left, (1, 1))
    expire(site.store, site.settings, cache=None, now=datetime.now(UTC))
    assert not left.exists()


def test_an_owner_who_deletes_while_it_is_noted_is_first(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    job, note = site.judged(), Store.note_truth

    def deleted_first(store: Store, noted: Any) -> None:
        site.status(job, "expired", "deleted")
        note(store, noted)

    monkeypatch.setattr(Store, "note_truth", deleted_first)
    said = site.says(job, "real")
    assert said.exit_code == 2
    assert "deleted at its owner's request" in said.stderr
    assert site.store.noted() == ([], [])


# --------------------------------------------------------------------------- a reference set of it


def noted(site: Site, *, real: int, fake: int, kind: str = "image", **changes: Any) -> None:
    for number in range(real):
        site.says(site.judged(0.1 + number / 100, kind=kind, **changes), "real")
    for number in range(fake):
        site.says(site.judged(0.8 + number / 100, kind=kind, **changes), "fake")


def test_a_record_too_small_makes_no_set_and_says_what_is_missing(site: Site) -> None:
    noted(site, real=5, fake=4)
    noted(site, real=0, fake=3, provenance=RAN.model_copy(update={"version": "0.9"}))
    said = site.says("--reference", "ours")
    assert said.exit_code == 2
    words = " ".join(said.stderr.split())
    assert (
        "selfblend: 5 real, 4 fake of the version that is installed, standard mode. A set needs at least 5 of each"
        in words
    )
    assert not site.settings.references.exists()
    assert "small letters" in site.says("--reference", "../ours").stderr


def test_a_result_is_weighed_by_the_set_that_was_made_of_the_record(site: Site, tmp_path: Path) -> None:
    noted(site, real=6, fake=5)
    noted(site, real=9, fake=9, provenance=RAN.model_copy(update={"version": "0.9"}))
    noted(site, real=1, fake=1, kind="video", mode="quick")
    said = site.says("--reference", "ours", "--about", "photographs sent to our desk")
    assert said.exit_code == 0, said.output
    assert "It is small" in said.stderr
    found = References(site.settings.references).best(OURS, RAN, mode="standard", kind="image")
    assert found is not None
    assert (found.own, found.set.name, int(found.measured.fake.sum()), len(found.measured.fake)) == (
        True,
        "ours",
        5,
        11,
    )
    text = (site.settings.references / "selfblend/ours.json").read_text()
    assert not any(item.id in text for item in site.store.noted()[0]), "no submission is named"
    changed = RAN.model_copy(update={"parameters": {}})
    assert found.set.void_for(OURS, changed) == "parameters"
    environment = {"DFOM_DATA": str(site.settings.data), "DFOM_RUNNER": "process"}
    command = [
        "analyze",
        str(FIXTURES / "astronaut.jpg"),
        "--detectors",
        "selfblend",
        "--no-video",
        "--out",
        str(tmp_path / "out"),
    ]
    said = CliRunner().invoke(main, command, env=environment)
    assert said.exit_code == 0, said.output
    [path] = (tmp_path / "out").rglob("result.json")
    worth = Result.model_validate_json(path.read_bytes()).detectors[0].worth
    assert worth is not None
    assert (worth.reference, worth.about, worth.own, worth.real.of, worth.fake.of) == (
        "ours", "photographs sent to our desk", True, 6, 5,
    )  # fmt: skip


def test_the_guess_that_came_with_the_file_is_noted_with_its_truth(site: Site) -> None:
    job = site.judged()
    digest = hashlib.sha256(job.encode()).hexdigest()
    site.store.open_submission(job)
    site.store.submit(
        Submission(
            id=job, received=NOW, email=None, pin_hash=None, detectors=("selfblend",), original_name="x", sha256=digest, bytes=1,
            guess="real",
        )
    )  # fmt: skip
    site.store.move(job, "new", "done")
    assert site.says(job, "fake").exit_code == 0
    listed = site.listed()
    assert listed["items"][0]["guess"] == "real"
    assert listed["record"]["guesses"]["fake"] == {"reached": 1, "of": 1, "low": pytest.approx(0.025), "high": 1.0}
    assert "own guesses, wrong: none guessed real, 1 of 1 (2.5 to 100 %) manipulated." in " ".join(
        site.says().stdout.split()
    )
