"""The pages that a detector's author works from say what the code does: verbs, members, codes, files, the card, the promises."""

from __future__ import annotations

import io
import json
import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import base_detector
from backend.catalog.cards import RESOURCES, RULES, card_of_label
from backend.harvest.schema import SCHEMA_FILE, schema_text
from backend.harvest.scores import (
    MAX_MASK_SIDE,
    SCORES_BYTES,
    SCORES_BYTES_A_UNIT,
    HarvestedScores,
    harvest_scores,
)
from backend.workers.container_flags import NOBODY
from backend.workers.endings import ASK_S, TERMINATE_S
from backend.workers.exchange import MAX_ENTRIES
from backend.workers.logbook import KEPT_LINES
from backend.workers.logbook import MAX_LINE as MAX_LOG_LINE
from backend.workers.spec import DETECTOR_OUTPUT_MB
from backend.workers.worker import ADOPT_S, MAX_LINE, START_S
from base_detector import FACE_DTYPE, BaseDetector, Card, WeightsFile, detector_verbs
from shared.errors import MEDIA_CODES, REASONS, SENTENCES, WORKER_CODES
from tests.workers.conftest import write_pack

ROOT = Path(__file__).resolve().parents[2]
PROTOCOL, DETECTOR, PACK, ADMISSION = (
    (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    for name in ("worker_protocol", "detector", "face_pack", "admission")
)
CARD = """
id = "mydetector"
version = "1.0"
title = "T"
summary = "S"
paper = "none"
year = 2026
input = "face"
sampling = "fps:5"
margin = 1.0
threshold = 0.5
aggregation = "mean"
"""


def rows(page: str, mark: str) -> list[list[str]]:
    """Cells of the table behind the comment ``mark``, without its head."""
    table = page[page.index(f"<!-- {mark}") :].split("\n\n")[0].splitlines()[1:]
    cells = [re.split(r"(?<!\\)\|", line.strip("| \n")) for line in table]
    return [[cell.strip() for cell in line] for line in cells[2:]]


def code(cell: str) -> str:
    """``x`` of `x`."""
    found = re.fullmatch(r"`([^`]+)`", cell)
    assert found, cell
    return found[1]


@pytest.fixture
def detector(tmp_path: Path) -> BaseDetector:
    (tmp_path / "detector.toml").write_text(CARD)

    class Mine(BaseDetector):
        card = Card.read(tmp_path)

        def load(self, weights, device):
            pass

        def get_softlabel(self, batch):
            return np.full(len(batch), 0.25)

    return Mine()


# --------------------------------------------------------------------------- requests and answers


def answered(detector: BaseDetector, request: Any) -> list[dict[str, Any]]:
    """Every line the contract's worker answers to one request."""
    stream = io.BytesIO()
    verbs = detector_verbs(detector, Path("nowhere"), "cpu")
    line = request if isinstance(request, bytes) else json.dumps(request).encode()
    base_detector._answer_line(verbs, line, stream)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def documented() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """verb -> (request, answer) of the page."""
    found = {}
    for line in re.findall(r'^\| `\{"verb".*$', PROTOCOL, re.MULTILINE):
        request, answer = (
            json.loads(text.replace("{...}", "{}")) for text in re.findall(r"`(\{.*?\})`(?= \||,)", line)
        )
        found[request["verb"]] = (request, answer)
    return found


def test_the_page_has_every_verb_with_the_members_of_its_answer(
    detector: BaseDetector, tmp_path: Path, monkeypatch: Any
):
    monkeypatch.chdir(tmp_path)
    write_pack(tmp_path / "job" / "pack")
    (tmp_path / "job" / "out").mkdir()
    page = documented()
    assert set(page) == {"health", "stop", *detector_verbs(detector, Path(), "cpu")}
    for request, answer in page.values():
        *events, final = answered(detector, request)
        assert set(final) == set(answer), request
        assert {name: type(value) for name, value in final.items()} == {
            name: type(value) for name, value in answer.items()
        }
        assert final["status"] == answer["status"] == "ok"
        assert all(set(event) == {"event", "done", "total"} for event in events)
    assert page["health"][1]["protocol"] == base_detector.PROTOCOL_VERSION
    assert page["health"][1]["verbs"] == answered(detector, {"verb": "health"})[0]["verbs"]
    assert '{"event": "progress", "done": 3, "total": 20}' in PROTOCOL


@pytest.mark.parametrize(
    ("request_", "code_"),
    [
        ({"verb": "dance"}, "unknown_verb"),
        ({}, "bad_request"),
        ([], "bad_request"),
        (b"nonsense", "bad_request"),
        (b"\xff\xfe", "bad_request"),
        (b"[" * 5000, "bad_request"),
        ({"verb": ["health"]}, "bad_request"),
        ({"verb": "predict"}, "bad_request"),
        ({"verb": "predict", "pack": 3, "out": "out"}, "bad_request"),
        ({"verb": "predict", "pack": "nowhere", "out": "out"}, "detector_failed"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_the_contract_answers_a_wrong_request_with_the_code_of_the_page(
    detector: BaseDetector, request_: Any, code_: str
):
    assert answered(detector, request_) == [{"status": "error", "code": code_, "retryable": False}]
    assert code_ in {code(row[0]) for row in rows(PROTOCOL, "codes:")}


# --------------------------------------------------------------------------- codes


def test_the_page_has_the_reasons_a_worker_may_give():
    listed = [code(row[0]) for row in rows(PROTOCOL, "reasons:")]
    assert sorted(listed) == sorted(REASONS)
    assert listed[0] == "not_judgeable", "what counts where none fits"


def test_the_page_has_the_codes_a_worker_may_give():
    listed = [code(row[0]) for row in rows(PROTOCOL, "codes:")]
    assert sorted(listed) == sorted(WORKER_CODES)
    assert listed[0] == "detector_failed", "what counts where none fits"
    (sentence,) = re.findall(r"^The media worker may also name (.*?)\.$", PROTOCOL, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`(\w+)`", sentence)) == MEDIA_CODES


def test_every_code_a_worker_may_give_has_a_sentence():
    assert set(SENTENCES) >= REASONS | WORKER_CODES | MEDIA_CODES
    assert not REASONS & (WORKER_CODES | MEDIA_CODES)


def test_what_our_detectors_give_is_in_the_lists():
    """Found in their sources: names of codes and reasons that are raised."""
    raised: dict[str, set[str]] = {"WorkerFailure": set(), "Skip": set(), "NotApplicable": set()}
    for path in [
        ROOT / "base_detector.py",
        *(ROOT / "detectors").rglob("*.py"),
        *(ROOT / "backend/media").rglob("*.py"),
    ]:
        for kind, name in re.findall(
            r'(WorkerFailure|Skip|NotApplicable)\(\s*"(\w+)"', path.read_text(encoding="utf-8")
        ):
            raised[kind].add(name)
    assert raised["NotApplicable"] <= REASONS
    assert "face_too_small" in raised["Skip"]
    assert raised["Skip"] <= REASONS
    assert {"weights_missing", "media_unreadable"} <= raised["WorkerFailure"] <= WORKER_CODES | MEDIA_CODES


# --------------------------------------------------------------------------- files


def test_the_page_has_the_members_of_scores_json():
    names = {item.validation_alias.choices[0] if name == "schema_version" else name: item  # type: ignore[union-attr]
             for name, item in HarvestedScores.model_fields.items()}  # fmt: skip
    listed = {code(row[0]): row[1] for row in rows(PROTOCOL, "members:")}
    assert list(listed) == list(names)
    assert {name for name, needed in listed.items() if needed == "yes"} == {
        name for name, item in names.items() if item.is_required()
    }


def test_the_example_of_scores_json_is_taken_and_fits_its_schema(tmp_path: Path):
    (text,) = re.findall(r"## scores.json\n\n```json\n(.*?)```", PROTOCOL, re.DOTALL)
    out = tmp_path / "exchange" / "job" / "out"
    out.mkdir(parents=True)
    (out / "scores.json").write_text(text)
    taken = harvest_scores(out, card_id="mydetector", units=4)
    assert set(json.loads(text)) == {"schema", *HarvestedScores.model_fields} - {"schema_version"}, "all members"
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    jsonschema.validate(json.loads(text), schema)
    for change in ({"schema": 1}, {"fake_score": [2]}, {"more": 1}, {"masks": [{"index": 0, "file": "../x"}]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(json.loads(text) | change, schema)
    threshold = 0.5
    assert all((item.hard_label == "fake") == (item.fake_score >= threshold) for item in taken.persons)


def test_the_schema_in_the_docs_is_that_of_the_code():
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(), "run: python -m backend.harvest.schema"


def test_the_page_has_the_rows_of_faces_npy():
    shapes = {"": (), "x 4": (4,), "x 2": (2,), "x 5 x 2": (5, 2)}
    listed = []
    for name, kind, offset, _ in rows(PACK, "rows:"):
        found = re.fullmatch(r"`([^`]+)`(?: (.*))?", kind)
        assert found
        listed.append((code(name), np.dtype((found[1].replace("\\", ""), shapes[found[2] or ""])), int(offset)))
    assert FACE_DTYPE.fields is not None
    assert listed == [(name, *FACE_DTYPE.fields[name][:2]) for name in FACE_DTYPE.names or ()]
    assert f"A row has {FACE_DTYPE.itemsize} bytes" in PACK


def test_the_numbers_on_the_page_are_those_of_the_code():
    for words in (
        f"you have {START_S:.0f} seconds",
        f"An answer has at most {MAX_LINE:,} bytes",
        f"The file has at most {SCORES_BYTES:,} bytes and {SCORES_BYTES_A_UNIT} more for each face",
        f"at most {MAX_MASK_SIDE} pixels a side",
        f"row `index` and `file`, at most {base_detector.MOST_MASKS}",
        f"{DETECTOR_OUTPUT_MB} MB for one file and for all you write together",
        f"{MAX_ENTRIES:,} files",
        f"You have {ASK_S:.0f} seconds, then comes SIGTERM, and {TERMINATE_S:.0f} seconds later SIGKILL",
        f"the last {KEPT_LINES} lines, {MAX_LOG_LINE} bytes of each",
        f"if you answer `health` and `describe` within {ADOPT_S:.0f} s",
        f"`nobody` ({NOBODY})",
        f"`protocol` is {base_detector.PROTOCOL_VERSION}, the [face pack](face_pack.md)'s `schema` is {base_detector.PACK_SCHEMA}",
        f'is `"{base_detector.CONTRACT_VERSION}"`, the `schema` of `scores.json` is {base_detector.SCORES_SCHEMA}',
    ):
        assert words in PROTOCOL, words


# --------------------------------------------------------------------------- the card, the checks, the promises


@pytest.mark.parametrize(("record", "mark"), [(Card, "card:"), (WeightsFile, "weights:")], ids=["card", "weights"])
def test_the_page_has_every_key_of_the_card_with_its_words_and_default(record: Any, mark: str):
    defaults = {}
    for item in fields(record):
        if item.name == "folder":
            continue
        value = item.default if item.default_factory is MISSING else item.default_factory()
        defaults[item.name] = "" if value is MISSING else f"`{json.dumps(value)}`"
    listed = {code(row[0]): (row[1], row[2]) for row in rows(DETECTOR, mark)}
    assert listed == {name: (words, defaults[name]) for name, (words, _) in RULES[record].items()}
    assert "`memory_mb`, `seconds_per_face` and `batch` are in the table `[resources]`" in DETECTOR
    assert RESOURCES == ("memory_mb", "seconds_per_face", "batch")


def test_the_card_of_the_page_for_images_is_one(tmp_path: Path):
    (label,) = re.findall(r"LABEL org.deepfake-o-meter.card='(.*?)'\n", PROTOCOL, re.DOTALL)
    card = card_of_label(json.loads(label.replace("\\\n", "")), folder=tmp_path)
    assert set(json.loads(label.replace("\\\n", ""))) == {*RULES[Card], "contract"}
    assert card.id == "mydetector"


def test_the_page_has_every_method_of_the_class_with_its_arguments():
    listed = {found[1]: found[2] for found in re.finditer(r"^\| `(\w+)\(([\w, ]*)\)` \|", DETECTOR, re.MULTILINE)}
    for name, arguments in listed.items():
        code_ = getattr(BaseDetector, name).__code__
        assert ", ".join(code_.co_varnames[1 : code_.co_argcount]) == arguments
    own = {name for name, value in vars(BaseDetector).items() if callable(value) and not name.startswith("_")}
    assert set(listed) == own - {"run", "run_pack"}


@pytest.mark.parametrize("page", [PROTOCOL, DETECTOR, PACK], ids=["worker_protocol", "detector", "face_pack"])
def test_every_promise_names_a_test_that_is_there(page: str):
    named = set(re.findall(r"`(test_\w+)`", page))
    assert named
    there = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        there |= set(re.findall(r"^def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert named <= there


def test_the_page_of_admission_has_every_check():
    source = (ROOT / "backend/admission/check.py").read_text(encoding="utf-8")
    names = re.findall(r'^            \(f?"([a-z_. {}\[\]A-Z]+)", (?:needed|wanted), self', source, re.MULTILINE)
    words = {
        "no {self.card.unit}": "no face (no picture, no sound)",
        "time per {PER[self.card.unit]}": "time per face (picture, window)",
    }
    names = [words.get(name, name) for name in names]
    assert len(names) == 12
    table = ADMISSION[ADMISSION.index("| check | passes when |") :].split("\n\n")[0].splitlines()[2:]
    assert [line.split("|")[1].strip() for line in table] == names
