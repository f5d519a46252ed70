"""Price text in the currencies and number styles of the world -> amount and currency, or the reasons why not.

A price is never guessed. The order of evidence: the format first (minor units are whole numbers),
then the text. The currency comes from the value, then the currency field, then the store. How marks in
a number are read:

- blanks and apostrophes group thousands (`1 234,50`, `1'234.50`);
- of two different marks the later one is decimal (`1.234,50`, `1,234.50`);
- a mark that repeats groups thousands (`1.234.567`, `12,34,567`);
- a single mark before any other number of digits than three is decimal (`49.0`, `15.0000`);
- a single mark before three digits groups where the currency cannot have three decimals and groups
  that way at home (`1.234 EUR`, `9,350 JPY`); a dot is decimal where the currency has three digits
  (`12.500 KWD`); the rest is ambiguous (`1.234 USD`, `1,234 KWD`) and rejected, unless the
  feed's configuration names the decimal mark.
"""

import html
import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Literal, TypeAlias

from fashion_pipeline.cleaning.currencies import Currency, candidates, currencies, read_yaml, sign_key, signs
from fashion_pipeline.cleaning.reasons import Reason

DecimalMark: TypeAlias = Literal[".", ","]

#: In US dollars; other currencies by their order of magnitude. Dearer clothes exist only in auctions;
#: above it a price is a missing decimal mark or minor units.
MAX_PRICE = Decimal(1_000_000)
#: Longer text is a description in the wrong column.
_MAX_LENGTH = 120
_SCALE = Decimal("0.0001")
_MOST_DIGITS = 14
_SIMPLE = re.compile(r"(\d{1,7}(?:\.\d{1,2})?)(?: ([A-Z]{3}))?")
_EXPONENT = re.compile(r"[+-]?\d+(?:\.\d+)?[eE][+-]?\d{1,2}")
_NUMBER = re.compile(r"[.,]?\d(?:[\d.,' ]*\d)?")
_GLUED = re.compile(r"\d+([.,])\d{2}\d+\1\d{2}")
_GROUPED = re.compile(r"\d{1,3}(?:(?: \d{3})+|(?:'\d{3})+)(?:[.,]\d+)?")
#: `45,-` and `129:-`; in India and East Africa `1,499/-` and `1,500/=`.
_NO_CENTS = re.compile(r"\s*(?:[.,:]\s?(?:-+|$)|/[-=])")
_MARKUP = re.compile(r"<[^<>]*>")
_INDIAN = re.compile(r"\d{1,2}(?:,\d{2})+,\d{3}")
_WORDS = re.compile(r"[^\s/|+()\[\]-]+/?")
_TRANSLATE = str.maketrans(
    {
        **dict.fromkeys("’‘ʼ`´′", "'"),
        **dict.fromkeys("−‐‑‒–—―﹣－", "-"),
        **dict.fromkeys("\u200b\u200e\u200f\u061c\u202a\u202b\u202c\u2066\u2067\u2068\u2069\ufeff", None),
        "٫": ".",
        "٬": ",",
        "،": ",",
    }
)


@dataclass(frozen=True)
class Price:
    """An amount above zero in major units, with four decimals, and its ISO 4217 code."""

    amount: Decimal
    currency: str
    rounded: bool = False
    differs: bool = False


@dataclass(frozen=True)
class PriceProblem:
    """Why there is no price: at least one reason, and what was found, in words."""

    reasons: tuple[Reason, ...]
    detail: str


@dataclass(frozen=True)
class _Words:
    range: frozenset[str]
    ignored: frozenset[str]
    free: frozenset[str]


@cache
def _words() -> _Words:
    data = read_yaml("price_words.yaml")
    return _Words(
        *(frozenset(sign_key(str(word)) for word in data[key]) for key in ("range", "ignored", "free"))
    )


def parse_price(
    text: str | None,
    *,
    currency: str | None = None,
    store_currency: str | None = None,
    minor_unit: str | int | None = None,
    decimal_mark: DecimalMark | None = None,
    max_price: Decimal = MAX_PRICE,
) -> Price | PriceProblem:
    """Read one price.

    Args:
        text: the value as it stood in the feed.
        currency: the value of the feed's currency field, a code, sign or name.
        store_currency: the ISO 4217 code from the store's configuration, used last.
        minor_unit: where given, `text` is a whole number of units of 10^-minor_unit; "iso" takes the
            digits from ISO 4217.
        decimal_mark: the mark that the feed is known to use; it decides what else is ambiguous.
        max_price: upper bound in US dollars, scaled by the currency's order of magnitude.
    """
    if text is None or not text.strip():
        return PriceProblem((Reason.PRICE_MISSING,), "no price")
    if (
        minor_unit is None
        and decimal_mark != ","
        and (simple := _SIMPLE.fullmatch(text))
        and (not currency or simple[2] is None or simple[2] == currency)
    ):
        code = simple[2] or currency or store_currency
        if code in currencies():
            return _checked(Decimal(simple[1]), currencies()[code], text, max_price)
    if len(text) > _MAX_LENGTH:
        return PriceProblem((Reason.PRICE_UNREADABLE,), f"{len(text)} characters are no price")
    plain = _plain(text)
    parts = _split(plain)
    problems: list[Reason] = list(parts.problems)
    code, differs, trouble = _currency(parts.meanings, parts.default, currency, store_currency)
    if trouble is not None and Reason.CURRENCY_UNKNOWN not in problems:
        problems.append(trouble)
    amount: Decimal | None = None
    if parts.number is not None:
        known = currencies()[code] if code is not None else None
        read = _amount(parts.number, known, minor_unit, decimal_mark)
        if isinstance(read, Decimal):
            amount = -read if parts.negative else read
        elif code is not None or read is not Reason.PRICE_AMBIGUOUS:
            problems.append(read)
    if amount is not None and amount <= 0:
        problems.insert(0, Reason.PRICE_ZERO if amount == 0 else Reason.PRICE_NEGATIVE)
    if problems or amount is None or code is None:
        return PriceProblem(tuple(dict.fromkeys(problems)), f"price {text.strip()!r}")
    return _checked(amount, currencies()[code], text, max_price, differs=differs)


def _checked(
    amount: Decimal, currency: Currency, text: str, max_price: Decimal, *, differs: bool = False
) -> Price | PriceProblem:
    if amount == 0:
        return PriceProblem((Reason.PRICE_ZERO,), f"price {text.strip()!r}")
    if amount > max_price * currency.magnitude:
        return PriceProblem((Reason.PRICE_ABSURD,), f"price {text.strip()!r} in {currency.code}")
    quantized = amount.quantize(_SCALE)
    if quantized == 0:
        return PriceProblem((Reason.PRICE_ZERO,), f"price {text.strip()!r} is below 0.0001")
    return Price(quantized, currency.code, quantized != amount, differs)


def _plain(text: str) -> str:
    """One script of digits, one apostrophe, one minus, single blanks, no markup."""
    if "&" in text:
        text = html.unescape(text)
    if "<" in text:
        text = _MARKUP.sub("|", text)  # no blank, which would group `4<sup>999</sup>`
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_TRANSLATE)).translate(_TRANSLATE)
        text = "".join(
            str(digit) if (digit := unicodedata.decimal(char, None)) is not None else char for char in text
        )
    return " ".join(text.split())


@dataclass(frozen=True)
class _Parts:
    number: str | None
    negative: bool
    meanings: tuple[frozenset[str], ...]
    default: str | None
    problems: tuple[Reason, ...]


def _split(plain: str) -> _Parts:
    """Tell the number from the words around it."""
    if _EXPONENT.fullmatch(plain):
        return _Parts(plain.lstrip("+-"), plain.startswith("-"), (), None, ())
    numbers = list(_NUMBER.finditer(plain))
    outside = _NUMBER.sub("\n", plain)
    meanings: list[frozenset[str]] = []
    problems: list[Reason] = []
    default: str | None = None
    before, _, after = outside.partition("\n")
    negative = False
    if len(numbers) == 1:
        if "-" in before or (before.startswith("(") and after.endswith(")")):
            negative = True
            before = before.replace("-", " ")
        after = _NO_CENTS.sub(" ", after, count=1)
        if "-" in after:
            problems.append(Reason.PRICE_UNREADABLE)
    elif len(numbers) > 1:
        between = after.rpartition("\n")[0]
        joined = "-" in between or any(sign_key(word) in _words().range for word in _tokens(between))
        problems.append(Reason.PRICE_RANGE if joined else Reason.PRICE_MULTIPLE)
    found_free = False
    for side in (before, *after.split("\n")):
        for token in _tokens(side):
            key = sign_key(token)
            if (meaning := candidates(token)) is not None:
                meanings.append(meaning)
                default = default or signs().default.get(key)
            elif key in _words().range:
                problems.append(Reason.PRICE_RANGE)
            elif key in _words().free:
                found_free = True
            elif key not in _words().ignored:
                problems.append(
                    Reason.CURRENCY_UNKNOWN if re.fullmatch(r"[A-Z]{3}", token) else Reason.PRICE_UNREADABLE
                )
    if "+" in outside or "/" in re.sub(r"[A-Za-z]/", "", before + after):
        problems.append(Reason.PRICE_UNREADABLE)
    if not numbers:
        problems = [Reason.PRICE_FREE if found_free else Reason.PRICE_UNREADABLE]
    elif found_free:
        problems.append(Reason.PRICE_UNREADABLE)
    number = numbers[0][0] if len(numbers) == 1 else None
    return _Parts(number, negative, tuple(meanings), default, tuple(dict.fromkeys(problems)))


def _tokens(side: str) -> list[str]:
    """The words of one side of the number; `US $` and `up to` are one."""
    tokens = [part for token in _WORDS.findall(side) for part in _peeled(token) if sign_key(part)]
    whole = "".join(tokens)
    if len(tokens) > 1 and (sign_key(whole) in signs().candidates or sign_key(side) in _phrases()):
        return [whole if sign_key(whole) in signs().candidates else side]
    return tokens


def _peeled(token: str) -> list[str]:
    """A word in a script without blanks (`円から`) as a sign and what follows, where both are known."""
    if token.isascii() or _is_known(token):
        return [token]
    for end in range(len(token) - 1, 0, -1):
        if _is_known(token[:end]) and _is_known(token[end:]):
            return [token[:end], token[end:]]
    return [token]


def _is_known(token: str) -> bool:
    key = sign_key(token)
    return candidates(token) is not None or any(key in words for words in (_words().range, _words().ignored))


@cache
def _phrases() -> frozenset[str]:
    return frozenset(word for words in (_words().range, _words().ignored) for word in words if " " in word)


def _currency(
    meanings: tuple[frozenset[str], ...], default: str | None, field: str | None, store: str | None
) -> tuple[str | None, bool, Reason | None]:
    """The code, whether it differs from the field's, and the reason where there is none."""
    field = field.strip() if field else None
    stated = candidates(field) if field else None
    if not meanings:
        if not field:
            return (store, False, None) if store else (None, False, Reason.CURRENCY_MISSING)
        if stated is None:
            return None, False, Reason.CURRENCY_UNKNOWN
        meanings, default, stated = (stated,), signs().default.get(sign_key(field)), None
    possible = frozenset.intersection(*meanings)
    if not possible:
        return None, False, Reason.CURRENCY_CONFLICT
    narrowed = possible & stated if stated else possible
    differs = not narrowed
    narrowed = narrowed or possible
    if len(narrowed) > 1 and store in narrowed:
        return store, differs, None
    if len(narrowed) > 1 and default in narrowed:
        return default, differs, None
    if len(narrowed) > 1:
        return None, False, Reason.CURRENCY_AMBIGUOUS
    return next(iter(narrowed)), differs, None


def _amount(
    number: str, currency: Currency | None, minor_unit: str | int | None, mark: DecimalMark | None
) -> Decimal | Reason:
    if minor_unit is None or minor_unit == "":
        return read_number(number, currency, mark)
    digits = str(currency.minor_digits) if minor_unit == "iso" and currency else str(minor_unit).strip()
    if minor_unit == "iso" and currency is None:
        digits = "0"
    if not number.isdigit() or len(number) > _MOST_DIGITS or digits not in ("0", "1", "2", "3", "4"):
        return Reason.PRICE_UNIT_CONFLICT
    return Decimal(number).scaleb(-int(digits))


def read_number(number: str, currency: Currency | None, mark: DecimalMark | None = None) -> Decimal | Reason:
    """Read digits with marks, by the rules at the top of this module.

    `currency` None leaves three digits after a single mark open: ambiguous.
    """
    if len(number) > 2 * _MOST_DIGITS:
        return Reason.PRICE_UNREADABLE
    if _EXPONENT.fullmatch(number):
        value = Decimal(number)
        return value if value < 10**_MOST_DIGITS else Reason.PRICE_ABSURD
    read = _marked(number, currency, mark)
    if read is Reason.PRICE_UNREADABLE and _GLUED.fullmatch(number):
        return Reason.PRICE_MULTIPLE
    return read


def _marked(number: str, currency: Currency | None, mark: DecimalMark | None) -> Decimal | Reason:
    if " " in number or "'" in number:
        if not _GROUPED.fullmatch(number):
            return Reason.PRICE_MULTIPLE if " " in number else Reason.PRICE_UNREADABLE
        return _decimal(number.replace(" ", "").replace("'", "").replace(",", "."))
    marks = [char for char in number if char in ".,"]
    if not marks:
        return _decimal(number)
    if len(set(marks)) == 2:
        group, point = marks[0], marks[-1]
        whole, _, cents = number.rpartition(point)
        if point in whole or (mark is not None and mark != point) or not _groups(whole, group):
            return Reason.PRICE_UNREADABLE
        return _decimal(f"{whole.replace(group, '')}.{cents}")
    if len(marks) > 1:
        return (
            _decimal(number.replace(marks[0], "")) if _groups(number, marks[0]) else Reason.PRICE_UNREADABLE
        )
    return _single(number, marks[0], currency, mark)


def _single(number: str, found: str, currency: Currency | None, mark: DecimalMark | None) -> Decimal | Reason:
    """A number with one mark in it."""
    whole, _, rest = number.partition(found)
    decimal = _decimal(f"{whole or '0'}.{rest}")
    if mark is not None:
        if mark == found:
            return decimal
        return _decimal(whole + rest) if _groups(number, found) else Reason.PRICE_UNREADABLE
    if len(rest) != 3 or not 1 <= len(whole) <= 3 or whole.startswith("0"):
        return decimal
    if currency is None:
        return Reason.PRICE_AMBIGUOUS
    if currency.minor_digits >= 3:
        dot_decimal = found == "."
        return decimal if dot_decimal else Reason.PRICE_AMBIGUOUS
    if found == "," or currency.dot_groups or currency.minor_digits == 0:
        return _decimal(whole + rest)
    return Reason.PRICE_AMBIGUOUS


def _groups(whole: str, mark: str) -> bool:
    """Whether `mark` stands in `whole` where groups of thousands (or of lakhs) end."""
    head, *rest = whole.split(mark)
    if 1 <= len(head) <= 3 and not head.startswith("0") and all(len(group) == 3 for group in rest):
        return True
    return mark == "," and _INDIAN.fullmatch(whole) is not None


def _decimal(text: str) -> Decimal | Reason:
    value = Decimal(text)
    return value if value < 10**_MOST_DIGITS else Reason.PRICE_ABSURD
