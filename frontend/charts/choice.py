"""Of whom the curve is: everyone, one person, the voice, or the whole pictures; and which part of the time.

Owns how that is written in an address (``?person=2``, as people count; ``voice``, ``pictures``) and what it is called. Anything unknown in
an address is everyone: an old link must not break a page.
"""

from __future__ import annotations

from dataclasses import dataclass

from frontend.charts.axis import Span
from frontend.charts.chart import Chart, Curve
from shared.curves import Lane
from shared.languages import _


@dataclass(frozen=True)
class Choice:
    """``unit`` None: everything there is; ``person``: only this one's faces, beside sound and pictures."""

    unit: str | None = None
    person: int | None = None

    @classmethod
    def parse(cls, untrusted: str | None, chart: Chart) -> Choice:
        """What an address asks for."""
        words = (untrusted or "").strip().lower()
        if words in ("voice", "pictures"):
            unit = {"voice": "sound", "pictures": "picture"}[words]
            return cls(unit) if chart.has(unit) else cls()
        if words.isascii() and words.isdigit() and len(words) < 7 and int(words) - 1 in chart.persons:
            return cls(person=int(words) - 1)
        return cls()

    @property
    def key(self) -> str:
        """As an address has it."""
        if self.person is not None:
            return str(self.person + 1)
        return {"sound": "voice", "picture": "pictures", None: "everyone"}[self.unit]

    def name(self, chart: Chart) -> str:
        """As the page has it; everyone is called what there is, where that is one person or the voice alone."""
        if self.person is not None:
            return _("Person {number}", number=self.person + 1)
        if self.unit is None and len(chart.persons) > 1:
            return _("Everyone: the highest face at each moment")
        units = {curve.line.unit for curve in self.curves(chart)}
        if units == {"face"}:
            return _("Person {number}", number=1)
        names = {"sound": _("The voice"), "picture": _("Whole pictures")}
        return names[units.pop()] if len(units) == 1 else _("Everything")

    def shows(self, curve: Curve) -> bool:
        """Whether a line belongs to it."""
        if self.unit is not None:
            return curve.line.unit == self.unit
        return curve.line.unit != "face" or curve.line.person == self.person

    def curves(self, chart: Chart) -> list[Curve]:
        """Its lines, in the order of the detectors."""
        return [curve for curve in chart.curves if self.shows(curve)]

    def lanes(self, chart: Chart) -> list[Lane]:
        """The cells of its lines: of faces first."""
        wanted = [("face", self._one(chart)), ("picture", None), ("sound", None)]
        found = (chart.lane(unit, person) for unit, person in wanted if self.unit in (None, unit))
        return [lane for lane in found if lane is not None]

    def _one(self, chart: Chart) -> int | None:
        """The person whose lane it is: of one alone there is no lane of the highest faces."""
        if self.person is None and not chart.persons:
            return next((lane.person for lane in chart.record.lanes if lane.unit == "face"), None)
        return self.person


def choices(chart: Chart) -> list[Choice]:
    """All that can be chosen, everyone first."""
    found = [Choice(), *(Choice(person=person) for person in chart.persons)]
    others = [unit for unit in ("sound", "picture") if chart.has(unit)]
    if len(others) + chart.has("face") > 1:
        found += [Choice(unit) for unit in others]
    return found


def part_of(chart: Chart, untrusted: str | None) -> Span:
    """The part of the time that an address asks for: '2000-7500', milliseconds; all of it where that is none."""
    whole = Span(0.0, max(chart.record.duration_s, 1e-3))
    begin, _, end = (untrusted or "").partition("-")
    if not (begin.isascii() and begin.isdigit() and end.isascii() and end.isdigit() and len(begin) < 12 > len(end)):
        return whole
    first, last = int(begin) / 1000, min(int(end) / 1000, whole.end)
    return Span(first, last) if last - first >= 0.05 else whole
