"""The operator's guide lists every setting as it is, and what it says of commands and files is true."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from shared.settings import Settings, read_settings

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "operator.md").read_text(encoding="utf-8")


def shown(value: object) -> str:
    """A default as the table shows it; nothing where it follows the machine."""
    if value is None:
        return ""
    if isinstance(value, Path):
        return f"`{value.relative_to(ROOT) if value.is_absolute() else value}`"
    if isinstance(value, (list, bool)):
        return f"`{json.dumps(value)}`"
    return f"`{value}`"


def settings_table() -> str:
    rows = ["| setting | default | meaning |", "| --- | --- | --- |"]
    rows += [
        f"| `DFOM_{name.upper()}` | {shown(None if field.default_factory else field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(rows)


def test_every_setting_is_listed_as_it_is():
    part = re.search(r"<!-- settings: .*? -->\n(.*)\n<!-- end of settings -->", GUIDE, re.DOTALL)
    assert part, "the guide has lost its table"
    assert part[1].strip() == settings_table(), "put this table into docs/operator.md:\n" + settings_table()


def test_every_setting_that_any_document_names_exists():
    known = {f"DFOM_{name.upper()}" for name in Settings.model_fields} | {
        "DFOM_SECRETS_DIR",
        "DFOM_BUILD_CA",
        "DFOM_CI",
    }
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]:
        named = set(re.findall(r"DFOM_[A-Z_]+[A-Z]", path.read_text(encoding="utf-8")))
        assert named <= known, path.name


def test_retention_times_in_the_guide_are_the_defaults():
    for name in ("keep_media_days", "keep_results_days", "keep_address_days"):
        row = next(line for line in GUIDE.splitlines() if line.endswith(f"| `DFOM_{name.upper()}` |"))
        assert f"{Settings.model_fields[name].default} days" in row


def test_a_secret_may_lie_in_a_file_named_like_its_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert "(`dfom_smtp_password`)" in GUIDE
    (tmp_path / "dfom_smtp_password").write_text("hush")
    monkeypatch.setitem(Settings.model_config, "secrets_dir", tmp_path)
    password = read_settings().smtp_password
    assert password is not None
    assert password.get_secret_value() == "hush"


def test_every_make_target_the_documents_name_exists():
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = set(re.findall(r"^([a-z-]+)", listed, re.MULTILINE))
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = path.read_text(encoding="utf-8")
        named = {
            word for run in re.findall(r"(?:`|^|&& )make ((?:[a-z-]+ ?)+)", text, re.MULTILINE) for word in run.split()
        }
        assert named <= targets, path.name


def test_every_image_in_the_guide_is_built():
    build = (ROOT / "docker" / "images.py").read_text(encoding="utf-8")
    images = re.findall(r"^\| `(\w+)` \| `", GUIDE.partition("## Containers")[2], re.MULTILINE)
    assert images == ["base", "faces", "decoder", "media"]
    assert all(f'"{name}"' in build for name in images)
