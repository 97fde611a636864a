"""Elements of SVG as text. No style attributes: our content policy forbids them."""

from __future__ import annotations

from markupsafe import Markup, escape


def element(name: str, *children: str | Markup, **attributes: str | float | int | None) -> Markup:
    """``<name attributes>children</name>``; text is escaped, None is left out, ``_`` of a name is ``-`` (a last one is dropped)."""
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _number(value))
        for key, value in attributes.items()
        if value is not None
    )
    if not children:
        return Markup("<{}{}/>").format(name, written)
    return Markup("<{}{}>{}</{}>").format(name, written, Markup("").join(escape(c) for c in children), name)


def stretched(*children: str | Markup, view_box: str, **attributes: str | float | int | None) -> Markup:
    """A picture in the picture whose view box is stretched to its width and height; what is outside is not shown."""
    return element("svg", *children, viewBox=view_box, preserveAspectRatio="none", **attributes)


def percent(share: float) -> str:
    """A share of the width, as a length."""
    return f"{_number(round(100 * share, 3))}%"


def _number(value: str | float | int) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
