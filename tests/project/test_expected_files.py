"""What people expect to find in a repository is there and true: licence, notice of third parties, citation, policy, hooks, workflow."""

from __future__ import annotations

import hashlib
import re
import tomllib
from importlib.metadata import distribution, distributions, version
from pathlib import Path

import pytest
import yaml

from backend.catalog.detectors import read_cards
from base_detector import Card

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOTICE = (ROOT / "NOTICE").read_text(encoding="utf-8")
PAGES = [
    path
    for pattern in ("*.md", "NOTICE", "docs/*.md", "detectors/*/README.md")
    for path in sorted(ROOT.glob(pattern))
]  # fmt: skip
CARDS = {card.id: card for card in read_cards(ROOT / "detectors")}

#: line of NOTICE -> what a licence says that belongs into it
GROUPS = {
    "Not for commercial use": r"commercial|research|BY-NC",
    "No licence stated by the authors": r"none stated|no licence|none given",
    "Copyleft": r"GPL",
    "Your own weights, under the terms of your training data": r"operator's own",
}
PERMISSIVE = "Nothing but permissive licences"


def licences(card: Card) -> str:
    """All that a card says of licences, as one row of NOTICE shows it."""
    weights = "; ".join(dict.fromkeys(item.licence for item in card.weights)) or "ships with the project"
    return f"{card.licence} | {weights}"


def named_in(line: str) -> set[str]:
    """The detectors that NOTICE names in ``line``."""
    found = re.search(rf"^{re.escape(line)}: (.*)\.$", NOTICE, re.MULTILINE)
    assert found, f"NOTICE has lost its line {line!r}"
    return set(re.findall(r"\w+", re.sub(r"\(.*?\)", "", found[1])))


def test_the_licence_is_apache_2_word_for_word():
    text = (ROOT / "LICENSE").read_bytes()
    assert hashlib.sha256(text).hexdigest() == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
    assert PROJECT["license"] == "Apache-2.0"


def test_notice_shows_the_licences_of_every_card():
    rows = [f"| {card.id} | {licences(card)} |" for card in CARDS.values()]
    shown = re.findall(r"^\| [a-z]\w* \| .*$", NOTICE, re.MULTILINE)[1:]  # without the heading
    assert shown == rows, "put these rows into NOTICE:\n" + "\n".join(rows)


@pytest.mark.parametrize("line", GROUPS)
def test_the_summary_of_notice_names_every_detector_with_such_terms(line: str):
    assert named_in(line) == {name for name, card in CARDS.items() if re.search(GROUPS[line], licences(card))}


def test_what_notice_calls_permissive_is_all_the_rest():
    bound = set().union(*(named_in(line) for line in GROUPS))
    assert named_in(PERMISSIVE) == set(CARDS) - bound
    permissive = r"(MIT|BSD-3-Clause|Apache-2\.0|ships with the project)\b"
    assert all(re.match(f"{permissive}.* \\| {permissive}", licences(CARDS[name])) for name in named_in(PERMISSIVE))


def test_notice_names_every_installed_package_that_is_not_permissive():
    lock = (ROOT / "requirements.lock").read_text()
    pinned = set(re.findall(r"^([\w.-]+)==", lock, re.MULTILINE))
    found = set()
    for package in distributions():
        name = re.sub(r"[-_.]+", "-", package.name).lower()
        facts = package.metadata
        said = [facts.get("License-Expression"), facts.get("License"), *facts.get_all("Classifier", [])]
        if name in pinned and re.search(r"\b(A|L)?GPL|\bMPL|Mozilla|EUPL|\bEPL", " ".join(filter(None, said))):
            found.add(name)
    assert "certifi" in found
    assert {name for name in found if not re.search(rf"\b{name}\b", NOTICE)} == set()


def test_what_notice_says_of_ffmpeg_is_true_of_the_installed_wheels():
    core = pytest.importorskip("av._core")
    assert core.library_meta["libavcodec"]["license"] == "LGPL version 3 or later"
    files = " ".join(file.name for file in distribution("av").files or [])
    assert {name for name in ("libx264", "libx265") if name in files} == set(re.findall(r"libx26[45]", NOTICE))
    others = " ".join(file.name for file in distribution("opencv-python-headless").files or [])
    assert "libavcodec" in others
    assert "libx26" not in others


def test_the_citation_can_be_read_and_names_the_paper():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "version", "license", "references"} <= set(cited)
    assert (cited["cff-version"], cited["license"]) == ("1.2.0", PROJECT["license"])
    assert str(cited["version"]) == PROJECT["version"] == version(PROJECT["name"])
    [paper] = cited["references"]
    assert [author["family-names"] for author in paper["authors"]] == ["Li", "Zhang", "Sun", "Ke", "Ju", "Qi", "Lyu"]
    assert (paper["type"], paper["year"]) == ("conference-paper", 2021)


def test_the_changelog_has_a_part_for_what_is_not_released():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "\n## [Unreleased]\n" in text
    kinds = set(re.findall(r"^### (\w+)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_workflow_runs_the_whole_check():
    text = (ROOT / ".github" / "workflows" / "check.yml").read_text()
    steps = yaml.safe_load(text)["jobs"]["check"]["steps"]
    assert steps[-1] == {"run": "bash .ci/run"}
    assert len(text.splitlines()) <= 12


def test_the_hooks_are_tools_that_the_lock_pins():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    tools = [hook["entry"].split()[0] for repository in hooks for hook in repository["hooks"]]
    assert len(tools) == 3
    lock = (ROOT / "requirements.lock").read_text()
    for tool in tools:
        assert tool.startswith(".venv/bin/")
        assert f"\n{tool.removeprefix('.venv/bin/')}==" in lock


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_into_the_checkout_leads_somewhere(path: Path):
    text = path.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    inside = [target for target in targets if not re.match(r"[a-z]+:", target)]
    assert [target for target in inside if not (path.parent / target).exists()] == []
    tests = set(re.findall(r"`(tests/[\w/.]+)`", text))
    assert {name for name in tests if not (ROOT / name).exists()} == set()


def test_the_readme_leads_to_the_terms():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {"LICENSE", "NOTICE", "SECURITY.md", "CITATION.cff"} <= set(re.findall(r"\]\(([\w.]+)\)", readme))
