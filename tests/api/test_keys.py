"""API keys: the command, what is on the disk, and what stops a key."""

from __future__ import annotations

import json
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from deepfake_o_meter import main
from frontend.keys import SCOPES, Keys
from tests.frontend.stories import FrozenClock


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path, secret=b"s" * 32)


def issued(keys: Keys, clock: FrozenClock, **changed: Any) -> tuple[Any, str]:
    return keys.issue("desk", **({"scopes": SCOPES, "quota": 3, "now": clock()} | changed))


def command(data: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["keys", *words], env={"DFOM_DATA": str(data)})


def test_the_command_issues_lists_and_revokes(tmp_path: Path):
    made = json.loads(
        command(tmp_path, "issue", "News desk", "--scope", "read", "--quota", "7", "--days", "30", "--json").stdout
    )
    assert made["scopes"] == ["read"]
    assert made["webhook_secret"].startswith("whsec_")
    again = command(tmp_path, "issue", "Another")
    assert "cannot be shown again" in again.stderr
    listed = command(tmp_path, "list").stdout
    assert [line.split()[0] for line in listed.splitlines()[1:]] == [
        made["id"],
        again.stdout.split("id ")[1].split()[0],
    ]
    assert made["key"] not in listed
    assert "is revoked" in command(tmp_path, "revoke", made["id"]).stdout
    assert {item["id"]: item["works"] for item in json.loads(command(tmp_path, "list", "--json").stdout)}[
        made["id"]
    ] is False
    unknown = command(tmp_path, "revoke", "../../etc")
    assert (unknown.exit_code, "no API key with this id" in unknown.stderr) == (2, True)


def test_the_disk_has_a_digest_that_only_the_portals_user_may_read(keys: Keys, clock: FrozenClock, tmp_path: Path):
    key, token = issued(keys, clock)
    keys.reserve(key, now=clock())
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {f"{key.id}.json", f"{key.id}.used.json"}
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert token not in path.read_text()
        assert token.rpartition("_")[2] not in path.read_text()
        assert keys.webhook_secret(key.id) not in path.read_text()
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


def test_only_the_whole_token_of_a_working_key_opens(keys: Keys, clock: FrozenClock, tmp_path: Path):
    key, token = issued(keys, clock, expires=clock() + timedelta(days=1))
    other, other_token = issued(keys, clock)
    assert keys.find(token, now=clock()) == key
    secret = other_token.rpartition("_")[2]
    wrong = [
        "",
        token[:-1],
        f"{token}a",
        token.upper(),
        f"dfom_{key.id}_{secret}",
        f"dfom_../../aa_{secret}",
        f" {token}",
    ]
    assert [keys.find(text, now=clock()) for text in wrong] == [None] * len(wrong)
    clock.forward(days=1)
    assert keys.find(token, now=clock()) is None, "expired"
    # revoked by another process: the command line
    Keys(tmp_path, secret=b"s" * 32).revoke(other.id, now=clock())
    assert keys.find(other_token, now=clock()) is None
    (tmp_path / "keys" / f"{other.id}.json").write_text("{")
    assert keys.find(other_token, now=clock()) is None, "damage opens nothing"


def test_the_quota_is_of_a_day_and_survives_a_restart(keys: Keys, clock: FrozenClock, tmp_path: Path):
    key, _ = issued(keys, clock)
    assert [keys.reserve(key, now=clock()) for _ in range(4)] == [True, True, True, False]
    restarted = Keys(tmp_path, secret=b"s" * 32)
    assert not restarted.reserve(key, now=clock())
    restarted.release(key, now=clock())
    assert restarted.used_today(key, now=clock()) == 2
    clock.forward(days=1)
    assert restarted.used_today(key, now=clock()) == 0
    assert restarted.reserve(key, now=clock())
    assert restarted.all()[0][1].day == clock().date()
