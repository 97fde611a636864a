"""Settings: typing mistakes are found at the start, secrets may come from files."""

from __future__ import annotations

import ast
import os
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from deepfake_o_meter import main
from shared.errors import UserError
from shared.settings import Settings, example, read_settings

ROOT = Path(__file__).resolve().parent.parent.parent


#: setting -> a value it cannot have. Those that take any text cannot be wrong at this place.
WRONG = {
    "detectors": "/nowhere", "port": "80a", "base_url": "dfom.example.org", "max_upload_mb": "fifty", "portal_threads": "0",
    "secure_cookies": "maybe", "trusted_hosts": '["https://dfom.example.org"]', "trusted_proxies": "-1",
    "proxy_addresses": '["localhost"]', "session_minutes": "0.5", "url_timeout_s": "0", "url_allow_private": "sometimes",
    "smtp_host": "mail.example.org:25", "smtp_port": "70000", "smtp_tls": "ssl", "mail_from": "Desk", "max_duration_s": "30 min",
    "max_pixels": "1e6x", "max_frames": "-5", "max_pack_mb": "0", "media_timeout_s": "inf", "runner": "podman",
    "image_prefix": "Our Images", "jobs": "two", "scan_s": "0", "max_attempts": "0", "worker_memory_mb": "6 GB", "warm_s": "-1",
    "hot": "media", "cold": "media, mesonet", "detector_timeout_s": "nan", "threads": "-1", "gpus": "0", "keep_media_days": "a week",
    "keep_results_days": "-30", "keep_address_days": "1e9", "engine": "slurm", "ray_address": "ray://10.0.0.5:10001", "job_gpus": "-1",
    "media_gpu": "maybe", "show_record": "sometimes", "seen_before": "seldom", "link_sites": '["myspace"]', "link_timeout_s": "0",
    "operator_token": "secret", "metrics_for": "all", "access_log": "maybe",
    "api_key_needed": "perhaps", "api_origins": '["newsroom.example.org"]',
}  # fmt: skip
ANY_TEXT = {"data", "weights", "scratch", "host", "smtp_user", "smtp_password"}


def ask(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Result:
    """``deepfake-o-meter settings`` with these variables and no other ``DFOM_`` ones."""
    for name in list(os.environ):
        if name.upper().startswith("DFOM_"):
            monkeypatch.delenv(name)
    return CliRunner().invoke(main, ["settings"], env=environment)


def test_every_setting_is_in_the_table_of_wrong_values():
    assert set(WRONG) | ANY_TEXT == set(Settings.model_fields)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_named_with_what_is_wrong_and_a_right_example(name: str, monkeypatch: pytest.MonkeyPatch):
    said = ask(monkeypatch, **{f"DFOM_{name.upper()}": WRONG[name]})
    assert said.exit_code == 2
    words = said.stderr.strip()
    assert re.match(
        rf"DFOM_{name.upper()} (is|holds) (('|\").+('|\")|the secret), which (is|has|holds) .+\. Right: ", words
    ), words
    assert f"DFOM_{name.upper()}={example(name)}" in words
    assert "pydantic" not in words
    assert "Error" not in words


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_example_is_a_right_value(name: str, monkeypatch: pytest.MonkeyPatch):
    [value] = shlex.split(example(name))
    assert ask(monkeypatch, **{f"DFOM_{name.upper()}": value}).exit_code == 0


def test_all_mistakes_are_said_at_once(monkeypatch: pytest.MonkeyPatch):
    words = ask(monkeypatch, DFOM_PORT="80a", DFOM_GPUS="0", DFOM_HOT="[1]").stderr
    assert [line.partition(" ")[0] for line in words.strip().splitlines()[:3]] == ["DFOM_PORT", "DFOM_HOT", "DFOM_GPUS"]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("DFOM_MAX_UPLAOD_MB", "DFOM_MAX_UPLOAD_MB"),
        ("DFOM_PROT", "DFOM_PORT"),
        ("DFOM_KEEP_MEDIA_DAY", "DFOM_KEEP_MEDIA_DAYS"),
        ("DFOM_GPU", "DFOM_GPUS"),
        ("dfom_smtp_hots", "DFOM_SMTP_HOST"),
        ("DFOM_FOO", None),
    ],
)
def test_a_misspelled_setting_is_named_with_the_near_one(
    written: str, meant: str | None, monkeypatch: pytest.MonkeyPatch
):
    """A limit or a retention time that is silently not in force is worse than a program that does not begin."""
    said = ask(monkeypatch, **{written: "20"})
    assert said.exit_code == 2
    assert f"{written} is not a setting. {f'Did you mean {meant}?' if meant else 'Remove it.'}" in said.stderr
    assert "'deepfake-o-meter settings' lists all settings." in said.stderr


def test_the_list_that_people_are_sent_to_is_there_even_when_a_setting_is_wrong(monkeypatch: pytest.MonkeyPatch):
    said = ask(monkeypatch, DFOM_PORT="80a")
    for name, field in Settings.model_fields.items():
        assert re.search(rf"^DFOM_{name.upper()} .*{re.escape(field.description or '')}", said.stdout, re.MULTILINE)


def test_the_list_shows_what_is_set_and_no_secret(monkeypatch: pytest.MonkeyPatch):
    said = ask(monkeypatch, DFOM_MAX_UPLOAD_MB="20", DFOM_SMTP_PASSWORD="hunter2", DFOM_DATA="/srv/[red]data")
    assert re.search(r"^DFOM_MAX_UPLOAD_MB +20 ", said.stdout, re.MULTILINE)
    assert "hunter2" not in said.output
    assert "/srv/[red]data" in said.stdout


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch):
    """Unit files have lines like ``DFOM_SMTP_HOST=``; an empty DFOM_WEIGHTS would be the current folder."""
    monkeypatch.setenv("DFOM_SMTP_HOST", "")
    monkeypatch.setenv("DFOM_WEIGHTS", "")
    monkeypatch.setenv("DFOM_PORT", "")
    settings = read_settings()
    assert (settings.smtp_host, settings.weights, settings.port) == (None, None, 8080)


def test_names_of_the_build_and_of_the_tests_stop_nothing(monkeypatch: pytest.MonkeyPatch):
    assert ask(monkeypatch, DFOM_BUILD_CA="/etc/ssl/ca.pem", DFOM_CI="1").exit_code == 0


def test_a_folder_of_secrets_that_is_away_or_holds_a_misspelled_name_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(Settings.model_config, "secrets_dir", tmp_path / "away")
    with pytest.raises(UserError, match=r"DFOM_SECRETS_DIR names .*away"):
        read_settings()
    monkeypatch.setitem(Settings.model_config, "secrets_dir", tmp_path)
    (tmp_path / "dfom_smtp_pasword").write_text("hush")
    with pytest.raises(UserError, match="Did you mean DFOM_SMTP_PASSWORD"):
        read_settings()


def test_an_option_that_is_wrong_is_named_as_one():
    said = CliRunner().invoke(main, ["serve", "--port", "99999"])
    assert said.exit_code == 2
    assert "The value given for DFOM_PORT, '99999', is too large" in said.stderr


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
