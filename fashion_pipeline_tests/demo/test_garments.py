"""Drawings follow from attributes and seed alone, and every attribute shows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image

from fashion_pipeline.demo.garments import (
    COLORS,
    KINDS,
    LENGTHS,
    PATTERNS,
    Garment,
    all_garments,
    draw,
    held_out,
)

GOLDEN = {
    Garment(
        "dress", "red", "striped", "white", "short"
    ): "eceef0e3d8dbe0d0d3ebeef0e4e1e4d47e84cc7a81e1dfe2dbdee1ce8a91c8767ed9d7dad3d1d5cdb2b7cebdc1d1cfd3",
    Garment(
        "bag", "turquoise", "dotted", "black", "long"
    ): "eaedefcad4d8cad4d8eaedefe4e7eac7d1d5c7d1d5e4e7ead9dcdf629e9f448989c5cdd1d3d6da74a3a56c9e9fbbc4c9",
    Garment(
        "sneakers", "yellow", "solid", None, "regular"
    ): "f0f3eff0f3eff0f3eff0f3efded5add6be68e3dcb9eaece6cdc7aeddc981dbca8ad3d1cadaddd9dadcd9daddd9dbdeda",
}
"""Mean colour of 4 x 4 fields, hex RGB: robust against rounding in other versions of Pillow."""


def _fields(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.resize((4, 4), Image.Resampling.BOX)).reshape(-1).astype(int)


def _distance(a: Image.Image, b: Image.Image) -> float:
    return float(np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).mean())


def test_universe_is_large_and_without_repeats() -> None:
    garments = list(all_garments())
    assert len(garments) == len(set(garments)) == len({g.key for g in garments}) == 26_169
    assert len(KINDS) >= 14
    assert len(COLORS) >= 12
    assert len([p for p in PATTERNS if p != "solid"]) >= 5
    assert sum(len(lengths) == 2 for lengths in LENGTHS.values()) >= 14
    assert {g.second_color is None for g in garments if g.pattern == "solid"} == {True}


@pytest.mark.parametrize(
    "attributes",
    [
        ("hat", "red", "solid", None, "short"),
        ("toga", "red", "solid", None, "short"),
        ("dress", "mauve", "solid", None, "short"),
        ("dress", "red", "paisley", "white", "short"),
        ("dress", "red", "solid", "white", "short"),
        ("dress", "red", "striped", None, "short"),
        ("dress", "red", "striped", "red", "short"),
        ("dress", "red", "striped", "mauve", "short"),
    ],
)
def test_what_does_not_exist_cannot_be_made(attributes: tuple[str, str, str, str | None, str]) -> None:
    with pytest.raises(ValueError, match=r"drawn|unknown|cannot have"):
        Garment(*attributes)


@pytest.mark.parametrize(("garment", "golden"), GOLDEN.items(), ids=lambda value: getattr(value, "kind", ""))
def test_drawing_is_the_golden_one(garment: Garment, golden: str) -> None:
    found = _fields(draw(garment, seed=1, size=128))
    assert np.abs(found - np.frombuffer(bytes.fromhex(golden), np.uint8)).max() <= 3


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_and_length_is_drawn_whole_and_the_same_twice(kind: str) -> None:
    for length in LENGTHS[kind]:
        garment = Garment(kind, "black", "floral", "yellow", length)
        first = draw(garment, seed=3, size=96)
        assert first.size == (96, 96)
        assert first.mode == "RGB"
        assert first.tobytes() == draw(garment, seed=3, size=96).tobytes()
        edge = np.asarray(first, dtype=float)
        border = np.concatenate([edge[0], edge[-1], edge[:, 0], edge[:, -1]])
        assert border.min() > 120, "a black garment must not be cut by the picture's edge"


def test_seed_changes_the_picture_but_not_the_look() -> None:
    garment = Garment("coat", "green", "solid", None, "long")
    pictures = [draw(garment, seed=seed, size=96) for seed in range(4)]
    for one, other in itertools.combinations(pictures, 2):
        assert one.tobytes() != other.tobytes()
        middle = [np.asarray(p)[44:56, 40:56].reshape(-1, 3).mean(0) for p in (one, other)]
        assert np.abs(middle[0] - middle[1]).max() < 40


@pytest.mark.parametrize(
    ("one", "other", "least"),
    [
        (("dress", "red", "solid", None, "short"), ("skirt", "red", "solid", None, "short"), 8),
        (("dress", "red", "solid", None, "short"), ("dress", "red", "solid", None, "long"), 8),
        (("dress", "red", "solid", None, "short"), ("dress", "pink", "solid", None, "short"), 8),
        (("dress", "red", "striped", "white", "short"), ("dress", "red", "dotted", "white", "short"), 5),
        (("dress", "red", "dotted", "white", "short"), ("dress", "red", "floral", "white", "short"), 5),
        (("dress", "red", "striped", "white", "short"), ("dress", "white", "striped", "red", "short"), 5),
        (("dress", "red", "striped", "white", "short"), ("dress", "red", "striped", "black", "short"), 5),
    ],
)
def test_each_attribute_shows(one: tuple[str, ...], other: tuple[str, ...], least: float) -> None:
    """Averaged over poses, and clearly more than two pictures of one look differ by their detail alone."""
    pairs = [
        (draw(Garment(*one), seed=s, size=112), draw(Garment(*other), seed=s, size=112)) for s in range(4)
    ]
    assert np.mean([_distance(a, b) for a, b in pairs]) > least


def test_colors_are_far_apart() -> None:
    names = list(COLORS)
    palette = Image.new("RGB", (len(names), 1))
    palette.putdata([COLORS[name] for name in names])
    lab = np.asarray(palette.convert("LAB"), dtype=float)[0]
    lab[:, 0] *= 100 / 255
    signed = lab[:, 1:].astype(np.int16)
    for (i, one), (j, other) in itertools.combinations(enumerate(names), 2):
        difference = np.hypot(lab[i, 0] - lab[j, 0], np.hypot(*(((signed[i] - signed[j] + 128) % 256) - 128)))
        assert difference > 18, f"{one} and {other} look alike"


def test_split_is_fixed_and_disjoint() -> None:
    garments = list(all_garments())
    out = {g for g in garments if held_out(g)}
    assert 0.09 < len(out) / len(garments) < 0.11
    assert {g.kind for g in out} == set(KINDS)
    assert {g.color for g in out} == set(COLORS)
    assert {g.pattern for g in out} == set(PATTERNS)
    assert held_out(Garment("dress", "red", "striped", "white", "short")) is False
    assert held_out(Garment("bag", "black", "solid", None, "long")) is False
