"""Colours that are told apart, by people who see fewer of them too."""

import numpy as np
import pytest

from jaxcell.palette import FAINT, INK, OTHER, PALETTE, colours

# Linear RGB as dichromats see it: Machado, Oliveira and Fernandes 2009, severity 1.
VIEWS = {
    "normal": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
# Ottosson 2020: linear sRGB → cones → Oklab.
CONES = [
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
]
LAB = [
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
]
OKABE_ITO = (
    *("#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"),
)


def linear(names):
    c = np.array([[int(name[i : i + 2], 16) for i in (1, 3, 5)] for name in names]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def least(names, view):
    """The distance of the two nearest colours in Oklab."""
    seen = np.clip(linear(names) @ np.transpose(VIEWS[view]), 0, 1)
    lab = np.cbrt(seen @ np.transpose(CONES)) @ np.transpose(LAB)
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    return apart[~np.eye(len(names), dtype=bool)].min()


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(("first", "apart"), [(8, 0.075), (20, 0.06), (40, 0.04)])
def test_colours_differ_to_everybody(view, first, apart):
    assert least([*PALETTE[:first], OTHER, INK], view) >= apart


def test_the_first_eight_are_as_far_apart_as_okabe_and_itos():
    ours, theirs = (min(least(c, view) for view in VIEWS) for c in (PALETTE[:8], OKABE_ITO))
    assert ours >= theirs - 1e-12


@pytest.mark.parametrize(("name", "contrast"), [(INK, 7), (FAINT, 4.5)])
def test_text_is_legible_on_white(name, contrast):
    brightness = linear([name])[0] @ [0.2126, 0.7152, 0.0722]  # WCAG 2.2, relative luminance
    assert 1.05 / (brightness + 0.05) >= contrast


def test_the_most_frequent_value_has_the_first_colour_and_what_is_beyond_them_is_grey():
    values = np.array(["b", "a", "b", *(f"c{i:02}" for i in range(50))])
    found = colours(values)
    assert list(found)[:3] == ["b", "a", "c00"]
    assert list(found.values()) == [*PALETTE, *[OTHER] * 12]
