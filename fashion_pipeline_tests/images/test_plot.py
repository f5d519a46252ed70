"""The plot that the UI shows: where a value is drawn, read back from the picture's pixels."""

import pytest
from PIL import Image, ImageColor

from fashion_pipeline.images.plot import BLUE, BOTTOM, HEIGHT, LEFT, ORANGE, TOP, WIDTH, Series, line_plot
from fashion_pipeline.images.sheet import MARGIN, PALE

LOW, RIGHT = HEIGHT - BOTTOM, WIDTH - MARGIN
LABELS = ["11-01", "11-02", "11-03"]


def at(page: Image.Image, color: str, across: float) -> list[int]:
    """The rows below the legend in which a column has this colour."""
    wanted = ImageColor.getrgb(color)
    return [row for row in range(TOP - 4, page.height) if page.getpixel((round(across), row)) == wanted]


def middle(page: Image.Image, color: str, across: float) -> float:
    rows = at(page, color, across)
    assert rows, f"nothing of {color} in column {across}"
    return (rows[0] + rows[-1]) / 2


def test_a_value_stands_where_the_axis_says() -> None:
    series = [Series("recall", [0.0, 0.5, 1.0]), Series("MRR", [1.0, 0.75, 0.25], ORANGE)]
    page = line_plot(series, labels=LABELS, axis=(0.0, 1.0))
    assert page.size == (WIDTH, HEIGHT)
    half = (LEFT + RIGHT) / 2
    for color, values in ((BLUE, (0.0, 0.5, 1.0)), (ORANGE, (1.0, 0.75, 0.25))):
        for across, value in zip((LEFT, half, RIGHT), values, strict=True):
            assert middle(page, color, across) == pytest.approx(LOW - (LOW - TOP) * value, abs=1.5)


def test_values_beyond_the_axis_stay_on_the_page() -> None:
    page = line_plot([Series("recall", [-3.0, 0.5, 7.0])], labels=LABELS, axis=(0.0, 1.0))
    assert middle(page, BLUE, LEFT) == pytest.approx(LOW, abs=1.5)
    assert middle(page, BLUE, RIGHT) == pytest.approx(TOP, abs=1.5)


def test_without_an_axis_the_values_fill_the_page_and_a_flat_line_is_half_way_up() -> None:
    page = line_plot([Series("products", [4_000.0, 4_100.0, 4_050.0])], labels=LABELS)
    assert middle(page, BLUE, LEFT) == pytest.approx(LOW, abs=1.5)
    assert middle(page, BLUE, (LEFT + RIGHT) / 2) == pytest.approx(TOP, abs=1.5)
    flat = line_plot([Series("products", [0.0, 0.0, 0.0])], labels=LABELS)
    assert middle(flat, BLUE, RIGHT) == pytest.approx((LOW + TOP) / 2, abs=1.5)


def test_marks_stand_at_their_positions_only() -> None:
    page = line_plot([Series("recall", [0.0] * 3)], labels=LABELS, axis=(0.0, 1.0), marks=[1])
    found = {
        across: len(at(page, PALE, across)) > (LOW - TOP) / 2 for across in (LEFT, (LEFT + RIGHT) / 2, RIGHT)
    }
    assert list(found.values()) == [False, True, False]


def test_one_value_is_a_dot_and_none_are_an_empty_page() -> None:
    assert at(line_plot([Series("recall", [0.5])], labels=LABELS[:1], axis=(0.0, 1.0)), BLUE, LEFT)
    assert not at(line_plot([Series("recall", [])], labels=[]), BLUE, LEFT)


@pytest.mark.parametrize("axis", [(0.0, 0.0), (1.0, 0.0)])
def test_an_axis_without_extent_is_refused(axis: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="no extent"):
        line_plot([Series("recall", [0.5])], labels=LABELS[:1], axis=axis)


def test_a_series_that_is_not_as_long_as_the_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="one value for each label"):
        line_plot([Series("recall", [0.5])], labels=LABELS)
