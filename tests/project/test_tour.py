"""The tour says what ``make pictures`` would write, and its pictures are there, small, and no others."""

from __future__ import annotations

from tests.browser import tour


def test_tour_is_as_its_command_writes_it() -> None:
    assert (tour.DOCS / "tour.md").read_text(encoding="utf-8") == tour.text()


def test_each_stop_has_its_picture_below_the_limit_and_there_are_no_others() -> None:
    stops = {f"{stop.name}.webp" for stop in (*tour.BEFORE, *tour.RESULT, *tour.AFTER)}
    sizes = {path.name: path.stat().st_size for path in (tour.DOCS / "tour").iterdir()}
    assert sizes.keys() == stops
    assert {name: size for name, size in sizes.items() if size > tour.MOST_BYTES} == {}
    assert (tour.DOCS / "result.png").stat().st_size <= tour.MOST_BYTES_README
