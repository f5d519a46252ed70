"""GTINs against numbers whose check digits are known, and what is dropped."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fashion_pipeline.cleaning.gtin import check_gtin, has_check_digit
from fashion_pipeline.cleaning.reasons import RowWarning


@pytest.mark.parametrize(
    "right", ["4006381333931", "96385074", "036000291452", "10614141000415", "9780306406157"]
)
def test_right_ones_are_kept(right: str) -> None:
    assert check_gtin(right) == (right, None)


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("4006381-333931", "4006381333931"),
        (" 0 36000 29145 2 ", "036000291452"),
        ("4006381333931.0", "4006381333931"),
        ("'4006381333931", "4006381333931"),
        ('="036000291452"', "036000291452"),
    ],
)
def test_separators_are_dropped(text: str, digits: str) -> None:
    assert check_gtin(text) == (digits, None)


@pytest.mark.parametrize(
    "wrong",
    [
        "4548360000000",
        "4006381333932",
        "4.00638E+12",
        "400638133393",
        "123",
        "abcdefgh",
        "4006381333931,96385074",
        "٤٠٠٦٣٨١٣٣٣٩٣١",
    ],
)
def test_wrong_ones_are_dropped(wrong: str) -> None:
    assert check_gtin(wrong) == (None, RowWarning.GTIN_INVALID)


@pytest.mark.parametrize(
    "restricted",
    [
        "0000000000000",
        "00000000",
        "1234567890128",
        "2000000000008",
        "200000000004",
        "412345678903",
        "0212345678909",
        "9812345678902",
        "20000004",
    ],
)
def test_dummies_and_restricted_ranges_are_dropped(restricted: str) -> None:
    assert has_check_digit(restricted)
    assert check_gtin(restricted) == (None, RowWarning.GTIN_RESTRICTED)


@given(st.integers(min_value=0, max_value=10**12 - 1), st.integers(min_value=1, max_value=9))
def test_every_changed_last_digit_is_found(body: int, shift: int) -> None:
    text = f"{body:012d}"
    right = next(str(digit) for digit in range(10) if has_check_digit(text + str(digit)))
    wrong = text + str((int(right) + shift) % 10)
    assert check_gtin(wrong) == (None, RowWarning.GTIN_INVALID)
