"""Which detectors ``analyze`` takes when none is named, and what it says when none can run."""

from __future__ import annotations

import pytest

from backend.catalog.detectors import BUNDLED, DetectorCatalog
from backend.commands.analyze import choose
from shared.errors import UserError


def catalog(**codes: str | None) -> DetectorCatalog:
    return DetectorCatalog(BUNDLED, availability=lambda card: codes.get(card.id, "weights_missing"))


def test_all_that_can_run_are_taken():
    assert choose(catalog(selim=None, mesonet=None, va="weights_mismatch"), None) == ["mesonet", "selim"]


def test_what_keeps_detectors_with_installed_weights_is_said_before_what_others_lack():
    with pytest.raises(
        UserError, match=r"^image_missing: No detector is ready\. selfblend, va: The container image is not built"
    ):
        choose(catalog(selfblend="image_missing", va="image_missing"), None)
    with pytest.raises(UserError, match="Install weights with"):
        choose(catalog(), None)
