"""The boxes on the picture: which faces a frame shows, where, and their tags.

``labels`` places the tags. Owns the rule between sampled frames: the box moves evenly from one sampled face of a person to the
next within a shot; what is written is that of the earlier frame, because nothing was computed in between. Imported by ``render`` only.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backend.media.canvas import Canvas, Colour, even, text_width
from backend.media.labels import STYLES, Box, Label, Style, place
from backend.media.panel import Rect, ink_on

#: frames a block of the index covers, so that a film of a thousand shots is not searched whole for each frame
_BLOCK = 256
#: smallest type that can be read
_LEAST_TYPE = 11
#: frames with the most faces at which the size of labels is tried
_TRIED = 8


@dataclass(frozen=True)
class Mark:
    """One face in one frame: box in pixels of the media as shown, what is written of it, its level, the person's number."""

    box: Box
    words: str
    level: int
    person: int


class Marks:
    """The plan's boxes, asked frame by frame. ``size`` = width, height of the media as shown; ``pane`` = where it is drawn.

    Boxes of a frame of another size are brought to ``size`` first, so that they move evenly from one size to the next.
    """

    def __init__(self, plan: dict[str, Any], *, size: tuple[int, int], pane: Rect) -> None:
        boxes = plan["boxes"]
        self._gap = int(plan["gap"])
        self._levels: list[Colour] = plan["levels"]
        self._size, self._pane = (max(size[0], 1), max(size[1], 1)), pane
        self._sizes: list[tuple[int, int, int]] = [tuple(run) for run in plan.get("sizes", ())]
        self._starts = [run[0] for run in self._sizes]
        self._tracks: dict[tuple[int, int, int], _Track] = {}
        seen: dict[tuple[int, int, int], int] = {}
        names = ("frame", "shot", "person", "box", "words", "level")
        for frame, shot, person, box, words, level in zip(*(boxes[name] for name in names), strict=True):
            # two faces of one person in one frame (a mirror, or an unassigned face) make two tracks
            count = seen[key] + 1 if (key := (frame, shot, person)) in seen else 0
            seen[key] = count
            self._tracks.setdefault((shot, person, count), _Track()).add(frame, self._usual(frame, box), (words, level))
        self._several = len(set(boxes["person"])) > 1
        self._blocks: dict[int, list[tuple[int, _Track]]] = {}
        for (_, person, _), track in self._tracks.items():
            for block in range(track.first // _BLOCK, track.last // _BLOCK + 1):
                self._blocks.setdefault(block, []).append((person, track))

        counts = Counter(boxes["frame"])
        full = sorted(frame for frame, count in counts.items() if count == max(counts.values()))
        self._fullest = [full[len(full) * n // _TRIED] for n in range(_TRIED)] if len(full) > _TRIED else full
        self._style: Style | None = None
        self._around: Box = (pane.x1, pane.y1, pane.x2, pane.y2)

    def at(self, frame: int) -> list[Mark]:
        """The faces shown in ``frame``."""
        found = []
        for person, track in self._blocks.get(frame // _BLOCK, []):
            face = track.at(frame, gap=self._gap)
            if face is not None:
                box, (words, level) = face
                found.append(Mark(box, words, level, person))
        return found

    def draw(self, canvas: Canvas, frame: int) -> int:
        """Draw the faces of ``frame``, the highest level on top; returns how many got no label for want of room."""
        marks = sorted(self.at(frame), key=lambda mark: (mark.level, mark.words))
        shown = [(mark, box) for mark in marks if (box := self._shown(mark, frame))]
        for mark, box in shown:
            self._draw_box(canvas, box, self.colour(mark.level))
        style = self._style_for(canvas)
        words = [self._words(mark, style) for mark, _ in reversed(shown)]
        size = max(_LEAST_TYPE, round(canvas.height / 26 * 0.9 * style.size))
        sizes = [_label_size(text, size) for text in words]
        labels = place([box for _, box in reversed(shown)], sizes, pane=self._around, far=True)
        for (mark, box), text, label in zip(reversed(shown), words, labels, strict=True):
            if label:
                self._draw_label(canvas, text, label, box=box, colour=self.colour(mark.level), size=size)
        return labels.count(None)

    def colour(self, level: int) -> Colour:
        """Colour of a level of the plan."""
        return self._levels[min(level, len(self._levels) - 1)]

    def _size_of(self, frame: int) -> tuple[int, int]:
        """Width and height of ``frame`` as shown."""
        run = bisect_right(self._starts, frame) - 1
        return self._sizes[run][1:] if run >= 0 else self._size

    def _usual(self, frame: int, box: Sequence[float]) -> Box:
        """``box`` of ``frame`` in pixels of the usual size."""
        own = self._size_of(frame)
        fx, fy = self._size[0] / own[0], self._size[1] / own[1]
        x1, y1, x2, y2 = (float(value) for value in box)
        return (x1 * fx, y1 * fy, x2 * fx, y2 * fy)

    def _shown(self, mark: Mark, frame: int) -> Box | None:
        """The box of a mark of ``frame`` on the canvas, None when it is too small to be seen."""
        pane = self._pane.holding(self._size_of(frame))
        fx, fy = pane.width / self._size[0], pane.height / self._size[1]
        x1, x2 = (min(max(pane.x1 + x * fx, pane.x1), pane.x2) for x in (mark.box[0], mark.box[2]))
        y1, y2 = (min(max(pane.y1 + y * fy, pane.y1), pane.y2) for y in (mark.box[1], mark.box[3]))
        return None if x2 - x1 < 4 or y2 - y1 < 4 else (x1, y1, x2, y2)

    def _words(self, mark: Mark, style: Style) -> str:
        number = mark.words
        if not self._several or mark.person < 0:
            return number if style.words != "number" or mark.person >= 0 else "-"
        if style.words == "number":
            return f"{mark.person + 1}"
        return f"person {mark.person + 1}  {number}" if style.words == "full" else f"{mark.person + 1}  {number}"

    def _style_for(self, canvas: Canvas) -> Style:
        """The largest style in which the labels of the fullest frames have room beside their boxes, one for all frames."""
        if self._style is None:
            self._style = next((style for style in STYLES if self._fits(canvas, style)), STYLES[-1])
        return self._style

    def _fits(self, canvas: Canvas, style: Style) -> bool:
        size = round(canvas.height / 26 * 0.9 * style.size)
        if size < _LEAST_TYPE and style != STYLES[0]:
            return False
        for frame in self._fullest:
            shown = [(mark, box) for mark in self.at(frame) if (box := self._shown(mark, frame))]
            sizes = [_label_size(self._words(mark, style), max(size, _LEAST_TYPE)) for mark, _ in shown]
            if None in place([box for _, box in shown], sizes, pane=self._around, far=False):
                return False
        return True

    def _draw_box(self, canvas: Canvas, box: Box, colour: Colour) -> None:
        x1, y1, x2, y2 = box
        # thin lines about small faces, so that the face is seen
        thickness = max(2, even(min(canvas.height / 182, min(x2 - x1, y2 - y1) / 14)))
        edge = 2 if thickness > 2 else 1
        canvas.frame(
            (x1 - edge, y1 - edge, x2 + edge, y2 + edge), _darker(colour), thickness=thickness + 2 * edge
        )  # an edge that is visible on any picture
        canvas.frame(box, colour, thickness=thickness)

    def _draw_label(self, canvas: Canvas, words: str, label: Label, *, box: Box, colour: Colour, size: int) -> None:
        left, top, right, bottom = label.box
        if label.led:
            canvas.line(_between(label.box, box), colour, thickness=max(1, size // 10))
        canvas.fill(label.box, colour)
        canvas.text(words, ((left + right) / 2, (top + bottom) / 2), ink_on(colour), size=size, bold=True, anchor="m")


def _label_size(words: str, size: int) -> tuple[float, float]:
    """Width and height of a label with its margins."""
    return text_width(words, size=size, bold=True) + 0.8 * size, 1.45 * size


def _darker(colour: Colour) -> Colour:
    return tuple(int(part * 0.25) for part in colour)


def _between(label: Box, face: Box) -> list[tuple[float, float]]:
    """The shortest line from a label to its face."""
    ends = []
    for low, high in ((0, 2), (1, 3)):
        first, last = max(label[low], face[low]), min(label[high], face[high])
        if first <= last:
            ends.append(((first + last) / 2, (first + last) / 2))
        else:
            ends.append((label[high], face[low]) if label[high] < face[low] else (label[low], face[high]))
    return [(ends[0][0], ends[1][0]), (ends[0][1], ends[1][1])]


class _Track:
    """Faces of one person in one shot, ascending by frame."""

    def __init__(self) -> None:
        self._frames: list[int] = []
        self._faces: list[tuple[Box, tuple[str, int]]] = []

    @property
    def first(self) -> int:
        """First frame."""
        return self._frames[0]

    @property
    def last(self) -> int:
        """Last frame."""
        return self._frames[-1]

    def add(self, frame: int, box: Box, said: tuple[str, int]) -> None:
        self._frames.append(int(frame))
        self._faces.append((box, said))

    def at(self, frame: int, *, gap: int) -> tuple[Box, tuple[str, int]] | None:
        last = bisect_right(self._frames, frame) - 1
        if last < 0:
            return None
        start, (box, said) = self._frames[last], self._faces[last]
        if start == frame:
            return box, said
        if last + 1 == len(self._frames) or self._frames[last + 1] - start > gap:
            return None
        share = (frame - start) / (self._frames[last + 1] - start)
        x1, y1, x2, y2 = (a + share * (b - a) for a, b in zip(box, self._faces[last + 1][0], strict=True))
        return (x1, y1, x2, y2), said
