"""Settings: typing mistakes are found at the start, secrets may come from files."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from shared.errors import UserError
from shared.settings import read_settings

ROOT = Path(__file__).resolve().parent.parent.parent


def test_an_unknown_setting_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DFOM_PROT", "8080")
    with pytest.raises(UserError, match="DFOM_PROT"):
        read_settings()


def test_a_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DFOM_PORT", "eighty")
    with pytest.raises(UserError, match="port"):
        read_settings()


def test_a_network_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DFOM_PROXY_ADDRESSES", '["localhost"]')
    with pytest.raises(UserError, match="proxy_addresses"):
        read_settings()


def test_settings_cannot_be_changed_later():
    with pytest.raises(ValueError, match="frozen"):
        read_settings().port = 1


def test_secrets_do_not_show_when_printed():
    settings = read_settings(smtp_password="hunter2")
    assert "hunter2" not in repr(settings)
    assert settings.smtp_password is not None
    assert settings.smtp_password.get_secret_value() == "hunter2"


def test_nothing_but_the_settings_reads_the_environment():
    """One place decides; docker and child processes get explicit dictionaries."""
    found = []
    for path in [*ROOT.glob("*.py"), *(p for d in ("shared", "frontend", "backend") for p in (ROOT / d).rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            of_os = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os"
            if isinstance(node, ast.ImportFrom) and node.module == "os":
                of_os, names = True, {alias.name for alias in node.names}
            else:
                names = {getattr(node, "attr", "")}
            if of_os and names & {"environ", "getenv"}:
                found.append(str(path.relative_to(ROOT)))
    assert set(found) <= {"shared/settings.py", "backend/workers/docker_runner.py"}, (
        "backend/workers/docker_runner.py hands PATH to process workers"
    )
