"""Why an item was rejected, and what was dropped or mended in a row that was kept.

Both enumerations are part of the data: their values stand in the Parquet files and the table of
rejected items, so a value is never renamed or reused. `explanation` is what a person reads.
"""

from enum import StrEnum


class _Explained(StrEnum):
    """An enumeration whose members carry a sentence beside their value."""

    explanation: str

    def __new__(cls, value: str, explanation: str) -> "_Explained":
        member = str.__new__(cls, value)
        member._value_ = value
        member.explanation = explanation
        return member


class Severity(StrEnum):
    """How a rejected row is meant."""

    ERROR = "error"
    QUARANTINE = "quarantine"


class Reason(_Explained):
    """Why an item has no clean row. An item lists every reason that it has."""

    EXTERNAL_ID_MISSING = "external_id_missing", "the item has no id, so it cannot be told from others"
    EXTERNAL_ID_TOO_LONG = "external_id_too_long", "the id is longer than 255 characters"
    ID_CONFLICT = "id_conflict", "several items of the feed share this id and differ in content"
    ACTION_UNKNOWN = "action_unknown", "the item asks for something that is neither upsert nor delete"
    TITLE_MISSING = "title_missing", "the item has no title, or a placeholder for one"
    PRICE_MISSING = "price_missing", "the item has no price, or a placeholder for one"
    PRICE_UNREADABLE = "price_unreadable", "the price holds words or signs that are no amount or currency"
    PRICE_AMBIGUOUS = "price_ambiguous", "the price can be read in two ways and nothing decides (1.234 USD)"
    PRICE_RANGE = "price_range", "the price is a range or a 'from' price, not the price of this item"
    PRICE_MULTIPLE = "price_multiple", "several prices stand in the field, perhaps glued together"
    PRICE_ZERO = "price_zero", "the price is zero"
    PRICE_FREE = "price_free", "the price says that the item is free"
    PRICE_NEGATIVE = "price_negative", "the price is negative"
    PRICE_ABSURD = "price_absurd", "the price is above the upper bound for its currency"
    PRICE_UNIT_CONFLICT = (
        "price_unit_conflict",
        "the feed gives minor units, but this price is no whole number",
    )
    CURRENCY_MISSING = "currency_missing", "no currency in the price, its field or the store's configuration"
    CURRENCY_UNKNOWN = "currency_unknown", "the currency is no ISO 4217 code and no known sign"
    CURRENCY_AMBIGUOUS = (
        "currency_ambiguous",
        "the sign stands for several currencies and nothing decides ($)",
    )
    CURRENCY_CONFLICT = "currency_conflict", "the price names two different currencies"
    BROKEN_RECORD = "broken_record", "the record could not be read"


class RowWarning(_Explained):
    """What was dropped or mended in a row that is kept."""

    CURRENCY_DIFFERS = (
        "currency_differs",
        "the currency in the price differs from the currency field; the price's is kept",
    )
    PRICE_ROUNDED = "price_rounded", "the price had more than four decimals and was rounded to four"
    SALE_PRICE_INVALID = "sale_price_invalid", "the sale price could not be read and was dropped"
    SALE_PRICE_NOT_BELOW = "sale_price_not_below", "the sale price is above the price and was dropped"
    SALE_WINDOW_INVALID = (
        "sale_window_invalid",
        "the sale price's dates cannot be read; it was dropped with them",
    )
    PRODUCT_URL_MISSING = "product_url_missing", "there is no product page"
    PRODUCT_URL_INVALID = "product_url_invalid", "the product page is no usable URL and was dropped"
    IMAGE_MISSING = "image_missing", "there is no picture; the row is kept without a vector"
    IMAGE_URL_INVALID = "image_url_invalid", "the picture's address is no usable URL and was dropped"
    IMAGE_URL_GLUED = (
        "image_url_glued",
        "two URLs are glued together in the picture's address; it was dropped",
    )
    IMAGE_URL_SPLIT = (
        "image_url_split",
        "the picture's field held several URLs; the first is the main picture",
    )
    ADDITIONAL_IMAGE_INVALID = (
        "additional_image_invalid",
        "a further picture's address is no usable URL and was dropped",
    )
    GTIN_INVALID = "gtin_invalid", "the gtin has a wrong length or check digit and was dropped"
    GTIN_RESTRICTED = "gtin_restricted", "the gtin is a dummy or of a range for internal use and was dropped"
    VALUE_TOO_LONG = "value_too_long", "an attribute is longer than 500 characters and was dropped"
