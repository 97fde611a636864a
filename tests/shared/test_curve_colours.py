"""The palette keeps its promises: they are computed here from the colours themselves."""

from __future__ import annotations

import numpy as np
import pytest

from base_detector import Array
from shared.curve_colours import CURVES, NOT_COUNTED, curve_colour

#: Machado, Oliveira and Fernandes 2009, complete absence of one kind of cones, on linear RGB
SIGHT = {
    "usual": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}
#: of findings, on light and dark pages (frontend/static/portal.css)
FINDINGS = ((0x15, 0x68, 0xA8), (0xB8, 0x3D, 0x0A), (0x6C, 0xB8, 0xF0), (0xFF, 0x94, 0x66))
WHITE, DARK = (255, 255, 255), (0x18, 0x20, 0x2C)


def linear(colours: object) -> Array:
    values = np.asarray(colours, float) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: Array) -> Array:
    xyz = rgb @ np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]).T
    f = xyz / np.array([0.9505, 1.0, 1.089])
    f = np.where(f > 0.008856, np.cbrt(f), 7.787 * f + 16 / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


@pytest.mark.parametrize(("sight", "least"), [("usual", 35), ("no red", 20), ("no green", 20)])
def test_any_two_colours_can_be_told_apart(sight: str, least: float) -> None:
    seen = lab(np.clip(linear(CURVES) @ np.asarray(SIGHT[sight]).T, 0, 1))
    distance = np.linalg.norm(seen[:, None] - seen[None], axis=-1) + np.eye(len(CURVES)) * 999
    assert distance.min() >= least


def test_no_colour_is_near_one_of_a_finding() -> None:
    distance = np.linalg.norm(lab(linear(CURVES))[:, None] - lab(linear(FINDINGS))[None], axis=-1)
    assert distance.min() >= 28


@pytest.mark.parametrize("ground", [WHITE, DARK])
def test_every_colour_stands_out_on_both_pages(ground: tuple[int, int, int]) -> None:
    weights = np.array([0.2126, 0.7152, 0.0722])
    colours = (*CURVES, NOT_COUNTED)
    brighter, darker = np.sort([linear(colours) @ weights, np.full(len(colours), linear(ground) @ weights)], axis=0)[
        ::-1
    ]
    assert ((brighter + 0.05) / (darker + 0.05)).min() >= 3


def test_what_is_in_no_count_is_grey_whatever_its_place() -> None:
    assert {curve_colour(place, counted=False) for place in range(20)} == {NOT_COUNTED}
    red, green, blue = NOT_COUNTED
    assert max(red, green, blue) - min(red, green, blue) < 16
