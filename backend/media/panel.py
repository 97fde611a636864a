"""The panel beside the picture: growing curves for a clip, bars or (for a crowd) a table for a still, with heading, legend, axis and foot.

Owns the panel's layout. It shows existing scores only: a curve grows to the last scored
frame, breaks where the plan breaks it, and the legend shows a dash where there is no score. Imported by ``render`` only.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

from backend.media.canvas import Canvas, Colour, even, fitted, text_width
from backend.media.shape import same_shape
from shared.rounding import score as rounded

INK: Colour = (33, 37, 41)
GREY: Colour = (95, 102, 110)
FAINT: Colour = (222, 226, 230)
_RULE: Colour = (134, 142, 150)
#: behind the curves where the clip is damaged
_TORN: Colour = (241, 233, 226)
PAPER: Colour = (255, 255, 255)

#: bars of the table: their length counts, not their colour; shorter ones (in units) cannot be compared
_BAR: Colour = (0, 114, 178)
_LEAST_BAR = 2.5

#: a legend with more rows than this many gets two columns
_ONE_COLUMN = 4


@dataclass(frozen=True)
class Rect:
    """A rectangle in canvas pixels."""

    x1: float
    y1: float
    x2: float
    y2: float

    @property
    def width(self) -> float:
        """Pixels from left to right."""
        return self.x2 - self.x1

    @property
    def height(self) -> float:
        """Pixels from top to bottom."""
        return self.y2 - self.y1

    def holding(self, size: tuple[int, int]) -> Rect:
        """The largest rectangle of the shape of ``size`` (width, height) in the middle, all even; all of it for its own shape."""
        if same_shape(size, (round(self.width), round(self.height))):
            return self
        factor = min(self.width / size[0], self.height / size[1])
        width, height = (max(2, even(side * factor)) for side in size)
        left, top = self.x1 + even((self.width - width) / 2), self.y1 + even((self.height - height) / 2)
        return Rect(left, top, left + width, top + height)


class Sheet:
    """What both kinds of panel share: background, heading, note and footer. ``unit`` scales all type with the height."""

    def __init__(self, plan: dict[str, Any], where: Rect) -> None:
        self.plan, self.where = plan, where
        self.unit = min(where.height / 26, where.width / 24)
        self.inner = Rect(
            where.x1 + 1.3 * self.unit, where.y1 + self.unit, where.x2 - 1.3 * self.unit, where.y2 - 0.6 * self.unit
        )

    def size(self, factor: float) -> int:
        """Size of type in pixels, at least 9."""
        return max(9, round(self.unit * factor))

    def draw_words(self, canvas: Canvas, *, room: float = 0.0) -> float:
        """Background, heading (with ``room`` left of its end), note, footer; returns where the heading's block ends."""
        inner, width = self.inner, self.inner.width
        canvas.fill((self.where.x1, self.where.y1, self.where.x2, self.where.y2), PAPER)
        heading, note, foot = self.size(1.25), self.size(0.85), self.size(0.8)
        words = fitted(self.plan["heading"], size=heading, width=width - room, bold=True)
        canvas.text(words, (inner.x1, inner.y1 + 0.5 * self.unit), INK, size=heading, bold=True)
        end = inner.y1 + 1.4 * self.unit
        if self.plan["note"]:
            canvas.text(
                fitted(self.plan["note"], size=note, width=width), (inner.x1, end + 0.5 * self.unit), GREY, size=note
            )
            end += 1.3 * self.unit
        words = fitted(self.plan["footer"], size=foot, width=width)
        canvas.text(words, (inner.x1, inner.y2 - 0.4 * self.unit), GREY, size=foot)
        return end


class CurvePanel:
    """Curves over time. ``draw_base`` once, then ``advance`` on the same canvas, then ``draw_now`` on each frame's copy."""

    def __init__(self, plan: dict[str, Any], where: Rect) -> None:
        self._sheet = Sheet(plan, where)
        self._plan = plan
        self._duration = max(float(plan["duration_s"]), 1e-3)
        self._curves = [_Curve(curve) for curve in plan["curves"]]
        self._plot = self._sheet.inner
        self._cells: list[tuple[float, float, float]] = []

    def draw_base(self, canvas: Canvas) -> None:
        """Everything that does not change."""
        sheet, unit = self._sheet, self._sheet.unit
        longest = _clock(self._duration, self._duration)
        top = sheet.draw_words(canvas, room=unit + text_width(f"{longest} / {longest}", size=sheet.size(0.85)))
        top = self._draw_legend(canvas, top)
        inner = sheet.inner
        self._plot = Rect(
            even(inner.x1 + 2.9 * unit),
            even(top + 1.2 * unit),
            even(inner.x2 - 0.4 * unit),
            even(inner.y2 - 3.2 * unit),
        )
        self._draw_damage(canvas)
        self._draw_scale(canvas)
        self._draw_time_axis(canvas)
        self._draw_thresholds(canvas)

    def advance(self, canvas: Canvas, time_s: float) -> None:
        """Draw what was scored since the last call, up to ``time_s``."""
        thickness = max(2, round(self._sheet.unit / 9))
        for curve in self._curves:
            for points in curve.until(time_s):
                where = [(self._x(t), self._y(score)) for t, score in points]
                if len(where) == 1:
                    canvas.dot(where[0], curve.colour, radius=thickness * 1.3)
                else:
                    wide = thickness * (2 if curve.steps else 1) * (2 if curve.hollow else 1)
                    canvas.line(where, curve.colour, thickness=wide)
                    if curve.hollow:
                        canvas.line(where, PAPER, thickness=max(1, wide // 2))

    def draw_now(self, canvas: Canvas, time_s: float) -> None:
        """The cursor, a dot on each curve and the current numbers."""
        plot, unit = self._plot, self._sheet.unit
        x = even(self._x(time_s))
        canvas.fill((x, plot.y1, x + 2, plot.y2), _RULE)
        for curve, (_, right, middle) in zip(self._curves, self._cells, strict=False):
            point = curve.now
            value = "-" if point is None else rounded(point[1])
            canvas.text(value, (right, middle), INK, size=self._sheet.size(0.95), anchor="r")
            if point is not None:
                spot = (
                    self._x(min(point[0], time_s)),
                    self._y(point[1]),
                )  # within a window of sound: where the cursor is
                canvas.dot(spot, PAPER, radius=0.36 * unit)
                canvas.dot(spot, curve.colour, radius=0.27 * unit)
        clock = f"{_clock(time_s, self._duration)} / {_clock(self._duration, self._duration)}"
        inner = self._sheet.inner
        canvas.text(clock, (inner.x2, inner.y1 + 0.5 * unit), GREY, size=self._sheet.size(0.85), anchor="r")

    # -- inside

    def _x(self, time_s: float) -> float:
        return self._plot.x1 + self._plot.width * min(1.0, max(0.0, time_s / self._duration))

    def _y(self, score: float) -> float:
        return self._plot.y2 - self._plot.height * score

    def _draw_legend(self, canvas: Canvas, top: float) -> float:
        """One cell per curve: swatch, label, room for its number. Returns where the legend ends."""
        sheet, unit, inner = self._sheet, self._sheet.unit, self._sheet.inner
        count = len(self._curves)
        columns = 1 if count <= _ONE_COLUMN else 2
        rows = -(-count // columns)
        step = min(1.5 * unit, 9.5 * unit / max(rows, 1))
        size = max(9, min(sheet.size(0.95 if columns == 1 else 0.82), round(step * 0.8)))
        number = text_width(">0.99", size=sheet.size(0.95)) + 0.6 * unit
        width = inner.width / columns
        self._cells = []
        for index, curve in enumerate(self._curves):
            column, row = divmod(index, rows)
            left, middle = inner.x1 + column * width, top + (row + 0.65) * step
            right = left + width - (1.0 * unit if columns > 1 and column == 0 else 0.0)
            canvas.fill((left, middle - 0.22 * unit, left + 1.3 * unit, middle + 0.22 * unit), curve.colour)
            if curve.hollow:
                canvas.fill((left + 2, middle - 0.1 * unit, left + 1.3 * unit - 2, middle + 0.1 * unit), PAPER)
            label = fitted(curve.label, size=size, width=right - left - 1.9 * unit - number)
            canvas.text(label, (left + 1.7 * unit, middle), INK, size=size)
            self._cells.append((left, right, middle))
        return top + rows * step + 0.3 * unit

    def _draw_scale(self, canvas: Canvas) -> None:
        plot, sheet, unit = self._plot, self._sheet, self._sheet.unit
        for score in (0.0, 0.25, 0.5, 0.75, 1.0):
            y = self._y(score)
            canvas.fill((plot.x1, y - 0.6, plot.x2, y + 1.4), FAINT)
            if score in (0.0, 0.5, 1.0):
                canvas.text(f"{score:g}", (plot.x1 - 0.5 * unit, y), GREY, size=sheet.size(0.85), anchor="r")
        for words, y in (
            ("most like manipulated", plot.y1 - 0.35 * unit),
            ("most like real material", plot.y2 + 1.75 * unit),
        ):
            canvas.text(words, (plot.x1, y), GREY, size=sheet.size(0.75))

    def _draw_damage(self, canvas: Canvas) -> None:
        """Shade the parts that were not judged."""
        plot, size = self._plot, self._sheet.size(0.75)
        for start, end in self._plan.get("damaged", []):
            left, right = even(self._x(float(start))), even(self._x(float(end)))
            canvas.fill((left, plot.y1, max(right, left + 2), plot.y2), _TORN)
            if right - left > text_width("damaged", size=size):
                canvas.text(
                    "damaged", ((left + right) / 2, plot.y2 - 0.6 * self._sheet.unit), GREY, size=size, anchor="m"
                )

    def _draw_time_axis(self, canvas: Canvas) -> None:
        plot, sheet, unit = self._plot, self._sheet, self._sheet.unit
        for cut in self._plan.get("cuts", []):
            x = even(self._x(float(cut)))
            canvas.fill((x, plot.y2, x + 2, plot.y2 + 0.35 * unit), _RULE)
        for second in _ticks(self._duration, most=max(2, int(plot.width / (4.2 * unit)))):
            canvas.text(
                _clock(second, self._duration, tick=True),
                (self._x(second), plot.y2 + 0.9 * unit),
                GREY,
                size=sheet.size(0.8),
                anchor="m",
            )

    def _draw_thresholds(self, canvas: Canvas) -> None:
        plot, sheet, unit = self._plot, self._sheet, self._sheet.unit
        above = 2.0
        for threshold in sorted(self._plan["thresholds"], key=lambda item: -float(item["value"])):
            value, colour = float(threshold["value"]), threshold["colour"]
            y, x = self._y(value), plot.x1
            while x < plot.x2:
                canvas.fill((x, y - 0.6, min(x + 0.6 * unit, plot.x2), y + 1.4), colour)
                x += 1.05 * unit
            crowded = (above - value) * plot.height < 1.7 * unit or value > 0.93
            middle = y + 0.65 * unit if crowded else y - 0.6 * unit
            canvas.text(threshold["label"], (plot.x2, middle), colour, size=sheet.size(0.75), anchor="r")
            above = value


class BarPanel:
    """Bars of one still: a row for each score of the plan's ``bars``."""

    def __init__(self, plan: dict[str, Any], where: Rect) -> None:
        self._sheet = Sheet(plan, where)
        self._plan = plan

    def draw(self, canvas: Canvas) -> None:
        """The whole panel."""
        sheet, unit, inner = self._sheet, self._sheet.unit, self._sheet.inner
        top = sheet.draw_words(canvas) + 0.8 * unit
        foot = inner.y2 - 2.6 * unit
        bars = self._plan["bars"]
        step = min(3.4 * unit, (foot - top) / max(len(bars), 1))
        left, right = inner.x1, inner.x2 - 3.0 * unit
        size = max(9, min(sheet.size(0.95), round(step * 0.42)))
        for index, bar in enumerate(bars):
            y = top + index * step
            score = float(bar["score"])
            canvas.text(fitted(bar["label"], size=size, width=inner.width), (left, y + 0.25 * step), INK, size=size)
            low, high = y + 0.48 * step, y + 0.80 * step
            canvas.fill((left, low, right, high), FAINT)
            canvas.fill((left, low, left + max(2.0, (right - left) * score), high), bar["colour"])
            mark = even(left + (right - left) * float(bar["threshold"]))
            canvas.fill((mark, low - 0.1 * step, mark + 2, high + 0.1 * step), INK)
            canvas.text(
                rounded(score, threshold=bar["threshold"]),
                (inner.x2, (low + high) / 2),
                INK,
                size=size,
                bold=True,
                anchor="r",
            )
        if bars:
            below = top + len(bars) * step + 0.4 * unit
            small = sheet.size(0.8)
            canvas.text("0 = most like real", (left, below), GREY, size=small)
            canvas.text("upright mark: threshold", (left, below + 1.1 * unit), GREY, size=small)
            canvas.text("1 = most like manipulated", (right, below), GREY, size=small, anchor="r")


class TablePanel:
    """The faces of a crowd on a still: number, bar and words of each row of the plan's ``table``, in columns."""

    def __init__(self, plan: dict[str, Any], where: Rect) -> None:
        self._sheet = Sheet(plan, where)
        self._plan = plan

    def draw(self, canvas: Canvas, *, unnumbered: int) -> None:
        """The whole panel; ``unnumbered``: faces of the picture for whose number there was no room."""
        sheet, unit, inner = self._sheet, self._sheet.unit, self._sheet.inner
        top = sheet.draw_words(canvas) + 0.5 * unit
        small = sheet.size(0.75)
        words = [self._plan["left_out"]] if self._plan["left_out"] else []
        if unnumbered:
            words.append(f"{unnumbered} of the faces are too close together to be numbered.")
        foot = inner.y2 - (1.2 + 1.1 * len(words)) * unit
        for index, sentence in enumerate(words):
            line = fitted(sentence, size=small, width=inner.width)
            canvas.text(line, (inner.x1, foot + (0.6 + 1.1 * index) * unit), INK, size=small)
        foot -= 1.3 * unit
        if self._draw_rows(canvas, top, foot):
            line = fitted(self._plan["table_note"], size=small, width=inner.width)
            canvas.text(line, (inner.x1, foot + 0.7 * unit), GREY, size=small)

    def _draw_rows(self, canvas: Canvas, top: float, foot: float) -> bool:
        """The rows in two to four columns; True when there was room for bars."""
        inner, unit, rows = self._sheet.inner, self._sheet.unit, self._plan["table"]
        columns = next((n for n in (2, 3) if -(-len(rows) // n) * 0.8 * unit <= foot - top), 4)
        high = -(-len(rows) // columns)
        step = min(1.5 * unit, (foot - top) / high)
        size = max(9, min(self._sheet.size(0.85), round(step * 0.74)))
        width, chip = inner.width / columns, text_width("0000", size=size, bold=True)
        number = max(text_width(words, size=size) for words in (">0.99", *(row[1] for row in rows)))
        room = width - chip - number - 1.55 * unit
        for index, (person, words, share, level) in enumerate(rows):
            column, row = divmod(index, high)
            left, middle = inner.x1 + column * width, top + (row + 0.5) * step
            # in the colour of the label on the picture
            colour = self._plan["levels"][level]
            canvas.fill((left, middle - 0.42 * step, left + chip, middle + 0.42 * step), colour)
            canvas.text(str(person), (left + chip / 2, middle), ink_on(colour), size=size, bold=True, anchor="m")
            begin = left + chip + 0.3 * unit
            if room < _LEAST_BAR * unit:
                canvas.text(words, (begin + number, middle), INK, size=size, anchor="r")
                continue
            canvas.text(words, (left + width - 0.9 * unit, middle), INK, size=size, anchor="r")
            self._draw_bar(canvas, share, (begin, middle - 0.25 * step, begin + room, middle + 0.25 * step))
        return room >= _LEAST_BAR * unit

    def _draw_bar(self, canvas: Canvas, share: float | None, where: tuple[float, float, float, float]) -> None:
        left, low, right, below = where
        canvas.fill(where, FAINT)
        if share is not None:
            canvas.fill((left, low, left + max(2.0, (right - left) * share), below), _BAR)
        for threshold in self._plan["thresholds"]:
            mark = even(left + (right - left) * float(threshold["value"]))
            canvas.fill((mark, low - 2, mark + 2, below + 2), INK)


class _Curve:
    """One curve of the plan and how far it is drawn."""

    def __init__(self, curve: dict[str, Any]) -> None:
        self.label, self.colour = str(curve["label"]), curve["colour"]
        #: another curve has the colour, too
        self.hollow = curve.get("turn", 0) % 2 == 1
        self._runs: list[list[tuple[float, float]]] = [[(float(t), float(s)) for t, s in run] for run in curve["runs"]]
        self._times = [[t for t, _ in run] for run in self._runs]
        #: a window of sound is drawn whole where it begins, and its score is the current one to its end
        self.steps = curve["style"] == "steps"
        for times in self._times if self.steps else ():
            times[1::2] = times[0::2]
        self._run, self._drawn = 0, 0
        self._hold = float(curve["hold_s"])
        #: the latest score, None when it is older than the sampling explains
        self.now: tuple[float, float] | None = None

    def until(self, time_s: float) -> list[list[tuple[float, float]]]:
        """Pieces to draw now: polylines that continue what was drawn, single points where a run begins."""
        pieces = []
        limit = time_s + 1e-4  # the plan's times are rounded to 0.1 ms
        self.now = self.now if self.now and self.now[0] + self._hold >= time_s else None
        while self._run < len(self._runs):
            run, times = self._runs[self._run], self._times[self._run]
            reached = bisect_right(times, limit)
            if reached > self._drawn:
                pieces.append(run[max(0, self._drawn - 1) : reached])
                self._drawn = reached
                self.now = run[reached - 1] if run[reached - 1][0] + self._hold >= time_s else None
            if self._drawn < len(run):
                break
            self._run, self._drawn = self._run + 1, 0
        return pieces


def ink_on(colour: Colour) -> Colour:
    """Black or white, whichever is read better on ``colour`` (luma of ITU-R BT.709)."""
    luma = 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2]
    return (0, 0, 0) if luma > 110 else (255, 255, 255)


def _ticks(duration: float, *, most: int) -> list[float]:
    """Round seconds from 0 to ``duration``, at most ``most`` of them."""
    for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600):
        if duration / step < most:
            return [index * step for index in range(int(duration / step + 1e-6) + 1)]
    return [0.0, duration]


def _clock(seconds: float, duration: float, *, tick: bool = False) -> str:
    """Minutes and seconds, hours where the clip has some; tenths in short clips (whole seconds stay bare on ticks)."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    if duration >= 3600:
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{rest // 10:02d}"
    if (tick and rest % 10 == 0) or duration >= 60:
        return f"{minutes}:{rest // 10:02d}"
    return f"{minutes}:{rest // 10:02d}.{rest % 10}"
