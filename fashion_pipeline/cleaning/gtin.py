"""GTINs by the GS1 General Specifications: length, check digit, and ranges that name no product."""

import re

from fashion_pipeline.cleaning.reasons import RowWarning

#: How spreadsheets are told to leave a number alone: `'4006381333931`, `="4006381333931"`.
_AS_TEXT = re.compile(r"""'|="(.*)"\Z""")
_SEPARATORS = re.compile(r"[\s\-‐-―]+")
_LENGTHS = frozenset((8, 12, 13, 14))
#: Numbers with a right check digit that people type to get past a form.
_DUMMIES = frozenset(
    ("1234567890128", "123456789012", "12345670", "0123456789012", "9999999999994", "1111111111116")
)
#: GS1 prefixes of restricted circulation (02, 04, 20-29) and of coupons and refunds (05, 98, 99);
#: Google's product data specification refuses them as well. Read on 13 digits.
_RESTRICTED = re.compile(r"02|04|05|2|98|99")
_RESTRICTED_8 = re.compile(r"[02]")


def check_gtin(text: str) -> tuple[str | None, RowWarning | None]:
    """The digits of a right GTIN-8, -12, -13 or -14, or None and why it is dropped.

    A number that a spreadsheet rounded or turned into `4.54836E+12` fails; nothing is repaired, because
    a lost leading zero and a mistyped digit look alike.
    """
    if text.startswith(("'", "=")):
        text = _AS_TEXT.sub(r"\1", text, count=1)
    digits = _SEPARATORS.sub("", text).removesuffix(".0")
    if not digits.isascii() or not digits.isdigit() or len(digits) not in _LENGTHS:
        return None, RowWarning.GTIN_INVALID
    if not has_check_digit(digits):
        return None, RowWarning.GTIN_INVALID
    if len(set(digits[:-1])) == 1 or digits in _DUMMIES:
        return None, RowWarning.GTIN_RESTRICTED
    short = len(digits) == 8
    restricted = _RESTRICTED_8.match(digits) if short else _RESTRICTED.match(digits.zfill(14)[1:])
    return (None, RowWarning.GTIN_RESTRICTED) if restricted else (digits, None)


def has_check_digit(digits: str) -> bool:
    """Whether the last digit is right: weights 3 and 1 from the right, modulo 10."""
    total = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(reversed(digits)))
    return total % 10 == 0
