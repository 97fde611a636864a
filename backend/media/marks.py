"""The boxes on the picture: which faces a frame shows, where, and their score tags.

Owns the rule between sampled frames: the box moves evenly from one sampled face of a person to the next within a shot; the
score is that of the earlier frame, because none was computed in between. Imported by ``render`` only.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

from backend.media.canvas import Canvas, Colour, even, text_width
from backend.media.panel import Rect

Box = tuple[float, float, float, float]

#: frames a block of the index covers, so that a film of a thousand shots is not searched whole for each frame
_BLOCK = 256


@dataclass(frozen=True)
class Mark:
    """One face in one frame: box in pixels of the media as shown, fake score or None, the person's number."""

    box: Box
    score: float | None
    person: int


class Marks:
    """The plan's boxes, asked frame by frame. ``size`` = width, height of the media as shown; ``pane`` = where it is drawn."""

    def __init__(self, plan: dict[str, Any], *, size: tuple[int, int], pane: Rect) -> None:
        boxes = plan["boxes"]
        self._gap = int(plan["gap"])
        self._scale: list[tuple[float, Colour]] = [(float(at), colour) for at, colour in plan["scale"]]
        self._unscored: Colour = plan["unscored"]
        self._pane = pane
        self._factor = (pane.width / max(size[0], 1), pane.height / max(size[1], 1))
        self._tracks: dict[tuple[int, int, int], _Track] = {}
        seen: dict[tuple[int, int, int], int] = {}
        rows = zip(boxes["frame"], boxes["shot"], boxes["person"], boxes["box"], boxes["score"], strict=True)
        for frame, shot, person, box, score in rows:
            # two faces of one person in one frame (a mirror, or an unassigned face) make two tracks
            count = seen[key] + 1 if (key := (frame, shot, person)) in seen else 0
            seen[key] = count
            self._tracks.setdefault((shot, person, count), _Track()).add(frame, box, score)
        self._several = len(set(boxes["person"])) > 1
        self._blocks: dict[int, list[tuple[int, _Track]]] = {}
        for (_, person, _), track in self._tracks.items():
            for block in range(track.first // _BLOCK, track.last // _BLOCK + 1):
                self._blocks.setdefault(block, []).append((person, track))

    def at(self, frame: int) -> list[Mark]:
        """The faces shown in ``frame``."""
        found = []
        for person, track in self._blocks.get(frame // _BLOCK, []):
            face = track.at(frame, gap=self._gap)
            if face is not None:
                found.append(Mark(face[0], face[1], person))
        return found

    def draw(self, canvas: Canvas, frame: int) -> None:
        """Draw the faces of ``frame``, the highest score on top."""
        for mark in sorted(self.at(frame), key=lambda mark: -1.0 if mark.score is None else mark.score):
            self._draw(canvas, mark)

    def colour(self, score: float | None) -> Colour:
        """Colour of a score on the plan's scale."""
        if score is None:
            return self._unscored
        for (low, first), (high, second) in zip(self._scale, self._scale[1:], strict=False):
            if score <= high:
                share = (score - low) / (high - low)
                return [round(a + share * (b - a)) for a, b in zip(first, second, strict=True)]
        return self._scale[-1][1]

    def _draw(self, canvas: Canvas, mark: Mark) -> None:
        pane, (fx, fy) = self._pane, self._factor
        x1, x2 = (min(max(pane.x1 + x * fx, pane.x1), pane.x2) for x in (mark.box[0], mark.box[2]))
        y1, y2 = (min(max(pane.y1 + y * fy, pane.y1), pane.y2) for y in (mark.box[1], mark.box[3]))
        if x2 - x1 < 4 or y2 - y1 < 4:
            return
        colour, unit = self.colour(mark.score), canvas.height / 26
        thickness = max(2, even(unit / 7))
        dark = tuple(int(part * 0.25) for part in colour)
        canvas.frame(
            (x1 - 2, y1 - 2, x2 + 2, y2 + 2), dark, thickness=thickness + 4
        )  # an edge that is visible on any picture
        canvas.frame((x1, y1, x2, y2), colour, thickness=thickness)
        number = "no score" if mark.score is None else f"{mark.score:.2f}"
        words = f"person {mark.person + 1}  {number}" if self._several and mark.person >= 0 else number
        size = max(11, round(unit * 0.9))
        width, height = text_width(words, size=size, bold=True) + 0.8 * unit, 1.35 * unit
        top = y1 - height if y1 - height >= pane.y1 else min(y2, pane.y2 - height)
        left = max(pane.x1, min(x1, pane.x2 - width))
        canvas.fill((left, top, left + width, top + height), colour)
        luma = 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2]
        ink = (0, 0, 0) if luma > 110 else (255, 255, 255)
        canvas.text(words, (left + 0.4 * unit, top + height / 2), ink, size=size, bold=True)


class _Track:
    """Faces of one person in one shot, ascending by frame."""

    def __init__(self) -> None:
        self._frames: list[int] = []
        self._faces: list[tuple[Box, float | None]] = []

    @property
    def first(self) -> int:
        """First frame."""
        return self._frames[0]

    @property
    def last(self) -> int:
        """Last frame."""
        return self._frames[-1]

    def add(self, frame: int, box: list[float], score: float | None) -> None:
        self._frames.append(int(frame))
        x1, y1, x2, y2 = (float(value) for value in box)
        self._faces.append(((x1, y1, x2, y2), None if score is None else float(score)))

    def at(self, frame: int, *, gap: int) -> tuple[Box, float | None] | None:
        last = bisect_right(self._frames, frame) - 1
        if last < 0:
            return None
        start, (box, score) = self._frames[last], self._faces[last]
        if start == frame:
            return box, score
        if last + 1 == len(self._frames) or self._frames[last + 1] - start > gap:
            return None
        share = (frame - start) / (self._frames[last + 1] - start)
        x1, y1, x2, y2 = (a + share * (b - a) for a, b in zip(box, self._faces[last + 1][0], strict=True))
        return (x1, y1, x2, y2), score
