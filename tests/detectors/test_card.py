"""The card: every mistake in it is one sentence that names the key and the remedy, and stops nobody but its own detector."""

from __future__ import annotations

import contextlib
import json
import os
import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.catalog.cards import AGGREGATIONS, RULES, card_of_label, read_card
from backend.catalog.detectors import DetectorCatalog, find_cards
from backend.catalog.states import DetectorStates
from backend.commands.detectors import detectors
from backend.commands.weights import weights
from backend.scores.aggregate import OWN, STRATEGIES
from backend.workers.spec import detector_spec
from base_detector import Card, ContractError, WeightsFile
from shared.errors import UserError
from shared.records import DETECTOR_PATTERN
from shared.settings import Settings

ROOT = Path(__file__).resolve().parents[2]

GOOD = """
id = "toy"
version = "1.0"
title = "Toy"
summary = "An example."
paper = "none"
year = 2026
licence = "MIT"
input = "face"
sampling = "fps:5"
margin = 1.3
threshold = 0.5
aggregation = "mean"
sees = ["swaps"]
limits = ["An example."]
parameters = { variant = "a", widths = [8, 16], deep = { slope = 0.5 } }

[resources]
memory_mb = 500
seconds_per_face = 0.01
batch = 16

[[weights]]
file = "net.safetensors"
url = "https://example.org/net.safetensors"
licence = "MIT"
sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
bytes = 1000
"""


WHOLE = json.loads(json.dumps(Card.of(tomllib.loads(GOOD), folder=Path("toy")).as_json()))


def write(folder: Path, text: str = GOOD) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "detector.toml").write_text(text, encoding="utf-8")
    return folder


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


def test_a_good_card_is_read_whole(tmp_path: Path):
    card = Card.read(write(tmp_path / "toy"))
    assert (card.id, card.threshold, card.memory_mb, card.batch, card.sees) == ("toy", 0.5, 500, 16, ("swaps",))
    assert card.parameters == {"variant": "a", "widths": [8, 16], "deep": {"slope": 0.5}}
    assert (card.weights[0].bytes, card.weights[0].optional) == (1000, False)
    assert read_card(card.folder) == card_of_label(json.loads(json.dumps(card.as_json())), folder=card.folder) == card


def test_what_a_card_leaves_out_has_a_default(tmp_path: Path):
    short = GOOD[: GOOD.index("sees")].replace('licence = "MIT"\n', "")
    card = Card.read(write(tmp_path / "toy", short))
    assert (card.licence, card.sees, card.weights, card.parameters) == ("", (), (), {})
    assert (card.memory_mb, card.seconds_per_face, card.batch) == (2048, 0.1, 8)
    assert card.state == "draft", "nobody is offered because something was left out"


def test_a_card_may_name_the_strategies_the_back_end_has():
    assert set(AGGREGATIONS) == {*STRATEGIES, OWN}


# (what stands in the good card, what a person wrote instead, what the sentence must say)
MISTAKES = [
    # texts
    ('id = "toy"', "id = 5", "id must be a name like my_detector.*not 5"),
    ('id = "toy"', 'id = ""', "id must be a name like my_detector"),
    ('id = "toy"', 'id = "../toy"', "id must be a name.*not '../toy'"),
    ('id = "toy"', 'id = "Toy"', "id must be a name"),
    ('id = "toy"', 'id = "toy\\n"', "id must be a name"),
    ('id = "toy"', "", "add 'id': a name like my_detector"),
    ('version = "1.0"', "version = 1.0", 'version must be a text like "1.0" of letters, digits and . [+] - _, not 1.0'),
    ('version = "1.0"', f'version = "{"1" * 61}"', "version must be"),
    ('version = "1.0"', 'version = "1 \\"beta\\""', "version must be"),
    ('title = "Toy"', 'title = ""', "title must be a text that is not empty"),
    ('title = "Toy"', 'title = "\\u001b[2J"', "title must be a text without control characters, not .*2J"),
    ('title = "Toy"', "title = true", "title must be a text that is not empty, not True"),
    ('paper = "none"', "", "add 'paper': a text"),
    ('sees = ["swaps"]', 'sees = "swaps"', r'sees must be a list of texts: \["one", "two"\], not \'swaps\''),
    ('limits = ["An example."]', "limits = [1]", "limits must be a list of texts"),
    ('limits = ["An example."]', "limits = { a = 1 }", "limits must be a list of texts"),
    # numbers
    ("year = 2026", 'year = "2026"', "year must be a whole number from 1,900 to 2,100, without quotes, not '2026'"),
    ("year = 2026", "year = 2026.5", "year must be a whole number"),
    ("year = 2026", "year = 2026-01-01", "year must be a whole number"),
    ("threshold = 0.5", 'threshold = "0.5"', "threshold must be a number from 0 to 1, without quotes"),
    ("threshold = 0.5", "threshold = nan", "threshold must be a number from 0 to 1"),
    ("threshold = 0.5", "threshold = true", "threshold must be a number"),
    ("threshold = 0.5", "threshold = 1.01", "threshold must be a number from 0 to 1, .*not 1.01"),
    ("threshold = 0.5", "treshold = 0.5", r"add 'threshold'.*remove or rename 'treshold' \(is it 'threshold'\?\)"),  # codespell:ignore
    ("margin = 1.3", "margin = 0.9", "margin must be a number from 1 to 100"),
    ("margin = 1.3", "margin = inf", "margin must be a number"),
    ("margin = 1.3", "margin = [1.3]", "margin must be a number"),
    ("memory_mb = 500", 'memory_mb = "1024"', "memory_mb must be a whole number from 1 to 10,000,000, without quotes"),
    ("memory_mb = 500", "memory_mb = 0", "memory_mb must be a whole number"),
    ("memory_mb = 500", "memory_mb = 1e3", "memory_mb must be a whole number"),
    ("batch = 16", "batch = 0", "batch must be a whole number from 1 to 65,536, without quotes, not 0"),
    ("batch = 16", 'batch = "8"', "batch must be a whole number"),
    ("batch = 16", "batch = true", "batch must be a whole number.*not True"),
    ("batch = 16", "batch = -1", "batch must be a whole number"),
    ("seconds_per_face = 0.01", "seconds_per_face = -1", "seconds_per_face must be a number from 0"),
    ("seconds_per_face = 0.01", "seconds_per_face = nan", "seconds_per_face must be a number"),
    ("seconds_per_face = 0.01", f"seconds_per_face = 1{'0' * 5000}", "toml is not valid TOML"),
    # choices
    ('input = "face"', 'input = "faces"', "input must be one of face, video, picture, sound, not 'faces'"),
    ('input = "face"', 'input = ["face"]', "input must be one of face, video, picture, sound"),
    ('sampling = "fps:5"', "sampling = 5", "sampling must be 'every_frame', 'fps:N' or 'frames:N', not 5"),
    ('sampling = "fps:5"', 'sampling = "fps:0"', "sampling must be"),
    ('sampling = "fps:5"', 'sampling = "fps:99999999"', "sampling must be"),
    ('sampling = "fps:5"', 'sampling = "frames:1.5"', "sampling must be"),
    ('sampling = "fps:5"', 'sampling = "fps:\u0663"', "sampling must be"),
    ('aggregation = "mean"', 'aggregation = "median"', "aggregation must be one of mean, .*own, not 'median'"),
    ('aggregation = "mean"', "aggregation = 1", "aggregation must be one of"),
    ('licence = "MIT"\ninput', 'state = "live"\ninput', "state must be one of draft, quarantine, shadow, enabled, disabled"),
    # tables
    ("[resources]\n", "[resources]\ngpu = true\n", r"\[resources\] remove or rename 'gpu'"),
    ("[resources]\n", "[resources]\nbach = 2\n", r"\[resources\] remove or rename 'bach' \(is it 'batch'\?\)"),
    ("margin = 1.3", "margin = 1.3\nbatch = 4", r"remove 'batch', it is in \[resources\] too"),
    (GOOD[GOOD.index("[resources]") : GOOD.index("[[weights]]")], "[[resources]]\nbatch = 1\n", r"\[resources\] must be a table"),
    ('{ variant = "a", widths', "{ variant = nan, widths", "parameters must be a table of texts, finite numbers and lists"),
    ('{ variant = "a", widths', "{ variant = 2026-01-01, widths", "parameters must be a table"),
    ('parameters = { variant = "a", widths = [8, 16], deep = { slope = 0.5 } }', "parameters = 3", "parameters must be a table"),
    ("[[weights]]", "[weights]", "weights must be tables, one .*for each file"),
    ("[[weights]]\n", '[[weights]]\nmirror = "x"\n', r"\[\[weights\]\] 1: remove or rename 'mirror'"),
    ('file = "net.safetensors"', "", r"\[\[weights\]\] 1: add 'file'"),
    ('file = "net.safetensors"', 'file = "../net.safetensors"', r"\[\[weights\]\] 1: file must be a file name"),
    ('file = "net.safetensors"', 'file = "/etc/passwd"', "file must be a file name"),
    ('file = "net.safetensors"', 'file = ".net.part"', "file must be a file name"),
    ('url = "https://example.org/net.safetensors"', "url = 1", "url must be an address that begins with https://"),
    ('url = "https://example.org/net.safetensors"', 'url = "file:///etc/passwd"', "url must be an address"),
    ('url = "https://example.org/net.safetensors"', 'url = "https:// example.org"', "url must be an address"),
    ('sha256 = "01', 'sha256 = "0g', "sha256 must be the 64 small hex digits that sha256sum prints"),
    ('sha256 = "01', 'sha256 = "1', "sha256 must be the 64"),
    ("bytes = 1000", "bytes = -1", "bytes must be a whole number from 0"),
    ("bytes = 1000", 'bytes = "1000"', "bytes must be a whole number"),
    ("bytes = 1000", "bytes = 1000\nmanual = 1", "manual must be true or false"),
    ("bytes = 1000", 'bytes = 1000\noptional = "yes"', "optional must be true or false, without quotes"),
    ("bytes = 1000", "bytes = 1000\nmember = 1", "member must be a path in the archive"),
    ("bytes = 1000", 'bytes = 1000\nalternatives = "https://example.org"', r"alternatives must be a list of addresses"),
    ("bytes = 1000", 'bytes = 1000\nalternatives = ["ftp://example.org"]', "alternatives must be a list of addresses"),
    ("bytes = 1000\n", GOOD[GOOD.index("bytes = 1000") :] + GOOD[GOOD.index("[[weights]]") :], "name each file once"),
    # not TOML at all
    ('id = "toy"', 'id = "toy', r"toy/detector.toml is not valid TOML \(.*line 2.*\): correct that line"),
    ('id = "toy"', "id = " + "[" * 5000, "is not valid TOML"),
    ("year = 2026", "year = 2026-13-01", "is not valid TOML"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "sentence"), MISTAKES, ids=[f"{new[:40]!a}" for _, new, _ in MISTAKES])
def test_a_mistake_in_a_card_is_one_sentence_with_the_key_and_the_remedy(
    tmp_path: Path, old: str, new: str, sentence: str
):
    folder = write(tmp_path / "toy", changed(old, new))
    with pytest.raises(ContractError, match=sentence) as caught:
        read_card(folder)
    assert "toy/detector.toml" in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(tmp_path))
    with contextlib.suppress(ContractError):  # the contract alone asks less, in sentences as well
        Card.read(folder)


def test_all_mistakes_of_a_card_are_named_at_once(tmp_path: Path):
    text = (
        changed("batch = 16", 'batch = "8"')
        .replace('sees = ["swaps"]', 'sees = "swaps"')
        .replace("bytes = 1000", "bytes = -1")
    )
    with pytest.raises(
        ContractError, match=r"sees must .*; \[resources\] batch must .*; \[\[weights\]\] 1: bytes must"
    ):
        read_card(write(tmp_path / "toy", text))


# What a detector cannot judge with, for whoever has the contract file only: (good, written instead, what the sentence must say)
ALONE = [
    ("threshold = 0.5", "treshold = 0.5", "unexpected keyword argument 'treshold'"),  # codespell:ignore
    ("threshold = 0.5", "", "missing 1 required keyword-only argument: 'threshold'"),
    ("threshold = 0.5", 'threshold = "0.5"', "threshold must be of type float, not '0.5'"),
    ("threshold = 0.5", "threshold = 50", "threshold from 0 to 1"),
    ("threshold = 0.5", "threshold = nan", "threshold from 0 to 1"),
    ("margin = 1.3", "margin = 0.9", "margin must be from 1 to 100"),
    ("margin = 1.3", "margin = inf", "margin must be from 1 to 100"),
    ("batch = 16", "batch = 0", "batch and least_units 1 or more"),
    ("batch = 16", "batch = 1.5", "batch must be of type int, not 1.5"),
    ("margin = 1.3", "margin = 1.3\nbatch = 4", "multiple values for keyword argument 'batch'"),
    ('id = "toy"', "id = 5", "id must be of type str, not 5"),
    ('version = "1.0"', "version = 1.0", "version must be of type str, not 1.0"),
    ('sees = ["swaps"]', 'sees = "swaps"', "sees must be of type tuple, not 'swaps'"),
    ("[[weights]]", "[weights]", r"a table \[\[weights\]\] for each file"),
    ("[resources]", "[[resources]]", r"write one table \[resources\]"),
    ('file = "net.safetensors"', "", "WeightsFile.* missing 1 required positional argument: 'file'"),
    ("[[weights]]\n", '[[weights]]\nmirror = "x"\n', "WeightsFile.* unexpected keyword argument 'mirror'"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "sentence"), ALONE, ids=[f"{new[:40]!a}" for _, new, _ in ALONE])
def test_the_contract_alone_names_a_mistake_that_stops_a_judgement(tmp_path: Path, old: str, new: str, sentence: str):
    folder = write(tmp_path / "toy", changed(old, new))
    with pytest.raises(ContractError, match=f"toy/detector.toml: .*{sentence}.*lists the keys"):
        Card.read(folder)
    with pytest.raises(ContractError) as caught:
        read_card(folder)
    assert "lists the keys" not in str(caught.value), "the platform's own sentence comes first"


@pytest.mark.parametrize("record", [Card, WeightsFile])
def test_the_platform_has_a_rule_for_every_key_of_the_contract(record: type):
    assert [*RULES[record]] == [item.name for item in fields(record) if item.name != "folder"]


def latin(folder: Path) -> None:
    (folder / "detector.toml").write_bytes('title = "Gesichtsprüfer"'.encode("latin-1"))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda folder: None, "is missing, or not a file: write the card next to detector.py"),
        (lambda folder: (folder / "detector.toml").mkdir(), "or not a file"),
        (lambda folder: os.mkfifo(folder / "detector.toml"), "or not a file"),
        (lambda folder: (folder / "detector.toml").symlink_to("nowhere"), "is missing"),
        (latin, "is not valid TOML"),
    ],
    ids=["missing", "folder", "pipe", "dangling link", "latin-1"],
)
def test_a_card_that_is_no_file_of_text_is_named_without_waiting(tmp_path: Path, make: Any, sentence: str):
    make(tmp_path)
    with pytest.raises(ContractError, match=sentence):
        Card.read(tmp_path)


# --------------------------------------------------------------------------- from an image


@pytest.mark.parametrize("label", [None, [], "card", 5, {}, {"id": "toy"}], ids=repr)
def test_a_label_that_is_no_card_is_one_sentence(tmp_path: Path, label: Any):
    with pytest.raises(ContractError, match=r"on the image is not|add 'title'"):
        card_of_label(label, folder=tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"weights": 3},
        {"weights": [3]},
        {"resources": []},
        {"parameters": {"a": [[[[[[[[[]]]]]]]]]}},
        {"parameters": {"a": 10**400}},
        {"title": "\ud800"},
        {"title": "\x1b[2J"},
        {"folder": "/"},
    ],
    ids=repr,
)
def test_a_mistake_in_a_label_is_one_sentence(tmp_path: Path, change: dict[str, Any]):
    label = json.loads(json.dumps(Card.read(write(tmp_path / "toy")).as_json()))
    with pytest.raises(ContractError, match=next(iter(change))):
        card_of_label(label | change, folder=tmp_path)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(st.sampled_from([*WHOLE, "resources", "other"]), ANYTHING)
@settings(max_examples=300, deadline=None)
def test_any_value_of_any_key_is_a_card_or_one_sentence(key: str, value: Any):
    card, sentence = None, ""
    try:
        card = card_of_label(WHOLE | {key: value}, folder=Path("toy"))
    except ContractError as error:
        sentence = str(error)
    assert "lists the keys" not in sentence, "the contract refuses nothing that passes the platform's rules"
    if card is None:
        return
    json.dumps(card.as_json(), allow_nan=False).encode()
    assert card_of_label(json.loads(json.dumps(card.as_json())), folder=Path("toy")) == card


def test_an_image_cannot_enable_itself(tmp_path: Path):
    card = replace(Card.read(write(tmp_path / "toy")), state="enabled")
    assert card_of_label(json.loads(json.dumps(card.as_json())), folder=tmp_path).state == "draft"


# --------------------------------------------------------------------------- the others go on


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three detectors of a third party, the second with a mistake in its card, and one that has the id of the first."""
    for name in [key for key in os.environ if key.startswith("DFOM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DFOM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("DFOM_DETECTORS", str(tmp_path / "detectors"))
    monkeypatch.setenv("DFOM_RUNNER", "process")
    monkeypatch.setenv("COLUMNS", "400")
    for name in ("alpha", "beta", "gamma"):
        write(tmp_path / "detectors" / name, GOOD.replace('id = "toy"', f'id = "{name}"'))
    write(
        tmp_path / "detectors" / "beta",
        GOOD.replace('id = "toy"', 'id = "beta"').replace("batch = 16", 'batch = "[/b]"'),
    )
    write(tmp_path / "detectors" / "copy", GOOD.replace('id = "toy"', 'id = "alpha"'))
    return tmp_path / "detectors"


def test_a_mistake_in_one_card_does_not_stop_the_catalog(folder: Path):
    with structlog.testing.capture_logs() as logged:
        catalog = DetectorCatalog(folder, availability=lambda card: None)
    assert [card.id for card in catalog] == ["alpha", "gamma"]
    assert [(item["event"], Path(item["card"]).parent.name) for item in logged] == [
        ("detector_left_out", "beta"),
        ("detector_left_out", "copy"),
    ]
    assert "batch must be a whole number" in logged[0]["reason"]
    assert "the id 'alpha' is that of folder alpha: choose another" in logged[1]["reason"]
    with pytest.raises(UserError, match=r"beta/detector.toml: \[resources\] batch must be"):
        catalog.card("beta")
    with pytest.raises(UserError, match=r"There is no detector 'delta'\. Known: alpha, gamma"):
        catalog.card("delta")


def test_detectors_lists_the_unusable_one_with_its_sentence(folder: Path):
    said = CliRunner().invoke(detectors, [], catch_exceptions=False)
    assert said.exit_code == 0
    lines = {line.split()[0]: line for line in said.output.splitlines()}
    assert "unusable" in lines["beta"]
    assert "batch must be a whole number from 1 to 65,536, without quotes, not '[/b]'" in lines["beta"]
    assert "unusable" not in lines["alpha"] + lines["gamma"]
    listed = json.loads(CliRunner().invoke(detectors, ["--json"], catch_exceptions=False).output)
    assert {item["id"]: item["unavailable"] for item in listed if "message" in item} == {
        "beta": "bad_card",
        "copy": "bad_card",
    }


def test_commands_that_name_the_unusable_one_say_what_is_wrong_with_it(folder: Path):
    for command, words in (
        (detectors, ["show", "beta"]),
        (detectors, ["check", "beta"]),
        (detectors, ["check", str(folder / "beta")]),
        (detectors, ["state", "beta", "disabled"]),
        (weights, ["fetch", "beta"]),
    ):
        said = CliRunner().invoke(command, words)
        assert said.exit_code == 2, said.output
        assert "batch must be a whole number" in said.output
    assert CliRunner().invoke(weights, ["list"], catch_exceptions=False).exit_code == 0


# --------------------------------------------------------------------------- who enables a detector


def test_a_third_partys_card_cannot_enable_itself(folder: Path, tmp_path: Path):
    states = DetectorStates(tmp_path / "state")
    silent = find_cards(folder).named("alpha")
    loud = replace(silent, state="enabled")
    assert (states.of(silent), states.of(loud), states.of(replace(silent, state="disabled"))) == (
        "draft",
        "draft",
        "disabled",
    )
    catalog = DetectorCatalog(folder, availability=lambda card: None, state=states.of)
    assert all(catalog.state(card) == "draft" for card in catalog)
    for card in (silent, loud):
        with pytest.raises(UserError, match="has not passed the admission check"):
            states.move(card, "quarantine")
    states.keep_report(loud, {"passed": True, "version": loud.version})
    assert states.move(loud, "quarantine") == "draft"


def test_ours_stay_enabled_beside_a_strangers_card_in_a_folder_of_links(folder: Path, tmp_path: Path):
    """As docs/admission.md says to install it."""
    (folder / "mesonet").symlink_to(ROOT / "detectors" / "mesonet")
    states, settings = DetectorStates(tmp_path / "state"), Settings(data=tmp_path)
    ours, stranger = find_cards(folder).named("mesonet"), find_cards(folder).named("alpha")
    assert (states.of(ours), states.of(stranger)) == ("enabled", "draft")
    assert (detector_spec(ours, settings).bundled, detector_spec(stranger, settings).bundled) == (True, False)


def test_ids_of_cards_are_those_of_records():
    assert DETECTOR_PATTERN == r"^[a-z][a-z0-9_]{1,40}$", "the id of a card has the same pattern"
