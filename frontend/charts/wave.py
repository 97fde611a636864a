"""The wave form of the sound that was judged, from the numbers of the report."""

from __future__ import annotations

from markupsafe import Markup

from frontend.charts.axis import Span
from frontend.charts.svg import element, percent, stretched
from shared.curves import Wave


def wave_svg(wave: Wave | None, whole: Span, *, height: int) -> Markup:
    """The form as one area over the part of ``whole`` that has sound; nothing where there is none. ``height``: pixels."""
    if wave is None or not wave.low or wave.end_s <= wave.start_s:
        return Markup("")
    top = " ".join(f"{place} {-value}" for place, value in enumerate(wave.high))
    bottom = " ".join(f"{place} {-value}" for place, value in reversed(list(enumerate(wave.low))))
    area = element("path", class_="wave", d=f"M{top} {bottom}z")
    line = element("path", class_="wave-middle", d=f"M0 0H{len(wave.low)}")  # silence is drawn, too
    return stretched(
        area,
        line,
        view_box=f"0 -105 {max(1, len(wave.low) - 1)} 210",
        x=percent(whole.share(wave.start_s)),
        width=percent((wave.end_s - wave.start_s) / whole.length),
        height=height,
    )
