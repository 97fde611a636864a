"""PINs: which are accepted, how one is drawn, and how it is stored.

Promises: a PIN is stored as argon2id over HMAC-SHA-256 with a pepper that never enters the shared folder, so that a reader
of the store cannot try PINs; at most four verifications run at once (each takes 19 MiB); a missing hash takes the
same time as a wrong PIN. For the front-end only.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
from itertools import pairwise
from pathlib import Path
from threading import BoundedSemaphore
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from shared import durable
from shared.errors import UserError
from shared.languages import _
from shared.reading import RecordInvalid, read_bytes

GENERATED_DIGITS: Final = 6

#: PINs people choose most (DataGenetics, "PIN analysis", 2012), beyond what the rules below refuse.
_COMMON = (
    "0852 1004 1010 1020 1029 1122 1236 1245 1254 1257 1313 1342 1379 1397 2000 2001 2002 2468 2580 2589 3690 4200"
    " 5150 5683 6969 7410 8520 8675 9630 9876 100200 102030 110110 112358 123321 123654 123789 147258 147852 147896"
    " 159357 159753 258369 258456 321654 357159 456123 456852 520520 654123 741852 753951 789456 951753 987321"
)
COMMON: Final = frozenset(_COMMON.split())


#: The OWASP minimum for argon2id: 19 MiB, two passes, one lane (35 ms here).
COST: Final = {"time_cost": 2, "memory_cost": 19 * 1024, "parallelism": 1}


class Pins:
    """Hashes and checks PINs with the pepper kept in ``state / "pepper"`` (mode 0600, made at first use)."""

    def __init__(self, state: Path) -> None:
        self._pepper = read_secret(state / "pepper")
        self._hasher = PasswordHasher(
            time_cost=COST["time_cost"], memory_cost=COST["memory_cost"], parallelism=COST["parallelism"]
        )
        self._slots = BoundedSemaphore(4)
        self._dummy = self._hasher.hash(secrets.token_hex(16))

    def hash(self, pin: str) -> str:
        """The argon2id text that is kept in ``submission.json``."""
        with self._slots:
            return self._hasher.hash(self._peppered(pin))

    def verify(self, untrusted_pin: str, *, pin_hash: str | None) -> bool:
        """Whether the PIN belongs to the hash. Without a hash the same work is done, and the answer is no."""
        with self._slots:
            try:
                fits = self._hasher.verify(pin_hash or self._dummy, self._peppered(untrusted_pin))
            except (VerifyMismatchError, VerificationError, InvalidHashError):
                return False
        return fits and pin_hash is not None

    def _peppered(self, untrusted_pin: str) -> str:
        return hmac.digest(self._pepper, untrusted_pin.encode("utf-8", "replace"), "sha256").hex()


def weakness(untrusted_pin: str) -> str | None:
    """The sentence why this PIN is not accepted; None when it is."""
    if not re.fullmatch(r"[0-9]{4,6}", untrusted_pin):
        return _("The PIN must have 4 to 6 digits.")
    pin = untrusted_pin
    if any(pin == (pin[:size] * 6)[: len(pin)] for size in (1, 2, 3) if size < len(pin)):
        return _("This PIN repeats itself. Choose one that is harder to guess.")
    if re.fullmatch(r"(?:(\d)\1)+", pin):
        return _("This PIN is made of pairs of digits. Choose one that is harder to guess.")
    steps = {(int(b) - int(a)) % 10 for a, b in pairwise(pin)}
    if steps in ({1}, {9}):
        return _("The digits of this PIN are in order. Choose one that is harder to guess.")
    if len(pin) == 4 and pin[:2] in ("19", "20"):
        return _("This PIN looks like a year. Choose one that is harder to guess.")
    if pin in COMMON or pin[::-1] in COMMON:
        return _("Many people use this PIN. Choose one that is harder to guess.")
    return None


def generate() -> str:
    """Draw a PIN of six digits that is not weak."""
    while True:
        pin = "".join(secrets.choice("0123456789") for _ in range(GENERATED_DIGITS))
        if weakness(pin) is None:
            return pin


def read_secret(path: Path) -> bytes:
    """Read 32 secret bytes from ``path`` (mode 0600); draw and store them when nothing has this name yet.

    UserError(secret_damaged) for anything else: a new secret in its place would invalidate every PIN.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not durable.exists(path):
        durable.replace_bytes(path, secrets.token_bytes(32), mode=0o600)
    try:
        secret = read_bytes(path, max_bytes=1000)
    except RecordInvalid:
        secret = b""
    if len(secret) < 32:
        raise UserError(
            "secret_damaged", f"{path} is damaged. Restore it from a backup; a new one invalidates every PIN."
        )
    if path.stat().st_mode & 0o077:
        os.chmod(path, 0o600)
    return secret
