"""Colours that everybody can read."""

from __future__ import annotations

from itertools import combinations
from math import dist

import pytest

from canario_sim.reports.palette import DARK, LIGHT, contrast, resolved, var

MODES = {"light": LIGHT, "dark": DARK}
TEXT = [
    name
    for name in LIGHT
    if name not in ("page", "card", "line", "axis")
    and not name.startswith(("step-", "on-step-", "fill-"))
]

# Machado, Oliveira and Fernandes (2009), severity 1: linear RGB as it is seen without one kind of
# cone.
BLIND = {
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
}


def linear(colour: str) -> list[float]:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]


def lab(rgb: list[float]) -> tuple[float, float, float]:
    """CIE L*a*b* of linear sRGB under D65."""
    red, green, blue = (min(max(c, 0.0), 1.0) for c in rgb)
    xyz = (
        (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.95047,
        0.2126 * red + 0.7152 * green + 0.0722 * blue,
        (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.08883,
    )
    x, y, z = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def apart(one: str, other: str, blind: str) -> float:
    """The CIE76 distance, as seen by a reader without one kind of cone."""
    matrix = BLIND[blind]
    seen = [
        lab([sum(m * c for m, c in zip(row, linear(colour), strict=True)) for row in matrix])
        for colour in (one, other)
    ]
    return dist(*seen)


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [("#000000", "#ffffff", 21.0), ("#767676", "#ffffff", 4.54), ("#777777", "#ffffff", 4.48)],
)
def test_contrast_is_that_of_wcag(one: str, other: str, ratio: float) -> None:
    """#767676 is the lightest grey that passes AA on white, as W3C's own material says."""
    assert contrast(one, other) == pytest.approx(ratio, abs=0.005)
    assert contrast(one, other) == contrast(other, one)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", TEXT)
def test_text_has_a_contrast_of_4_5_on_every_background(mode: str, name: str) -> None:
    colours = MODES[mode]
    for background in ("page", "card"):
        assert contrast(colours[name], colours[background]) >= 4.5


@pytest.mark.parametrize("mode", MODES)
def test_numbers_are_read_on_every_step_of_a_heat_map(mode: str) -> None:
    colours = MODES[mode]
    for step in range(6):
        assert contrast(colours[f"on-step-{step}"], colours[f"step-{step}"]) >= 4.5


@pytest.mark.parametrize("mode", MODES)
def test_axes_have_the_contrast_of_graphics(mode: str) -> None:
    assert contrast(MODES[mode]["axis"], MODES[mode]["card"]) >= 3


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("blind", BLIND)
def test_what_means_different_things_looks_different_without_a_kind_of_cone(
    mode: str, blind: str
) -> None:
    colours = MODES[mode]
    pairs = [("canary", "baseline")]
    for kind in ("", "fill-"):
        pairs += combinations([f"{kind}{tone}" for tone in ("good", "bad", "wait")], 2)
    for one, other in pairs:
        assert apart(colours[one], colours[other], blind) > 15, (one, other)
    for one, other in combinations([colours[f"series-{n}"] for n in range(3)], 2):
        assert apart(one, other, blind) > 15, (one, other)


@pytest.mark.parametrize("mode", MODES)
def test_words_on_the_areas_of_verdicts_are_read(mode: str) -> None:
    colours = MODES[mode]
    for tone in ("good", "wait", "bad"):
        assert contrast(colours["ink"], colours[f"fill-{tone}"]) >= 4.5


def test_both_modes_have_the_same_names() -> None:
    assert LIGHT.keys() == DARK.keys()


def test_a_colour_is_a_name_until_it_is_drawn() -> None:
    spec = {"a": [var("canary"), {"b": "var(--bad)", "c": "text with var(--bad)"}]}
    assert resolved(spec, DARK) == {
        "a": [DARK["canary"], {"b": DARK["bad"], "c": "text with var(--bad)"}]
    }
    with pytest.raises(AssertionError):
        var("no-such-colour")
