"""Several addresses in one field: text with separators between them, JSON, or a list as Python writes it."""

import re

import orjson

_BEGINS = r"(?:(?:https?|file|s3|gs|data):|//)"
_MAY_BEGIN = re.compile(_BEGINS, re.IGNORECASE)
#: Between addresses stand commas, semicolons, bars, blanks or tildes; an address itself may hold them too. A run
#: of them is looked at from its beginning only: from each of its places takes quadratic time.
_BORDER = re.compile(rf"(?<![\s,;|])[\s,;|]++(?={_BEGINS})|(?<!~)~++(?=https?://)", re.IGNORECASE)
#: The same between addresses that are relative, of which one may hold a blank.
_RELATIVE_BORDER = re.compile(r"(?<![\s,;|])(?:\s*+[,;|][\s,;|]*+|\s++(?=/))")
_SEPARATOR_BUT_COMMA = re.compile(r"[;|~\s]")


def split_addresses(text: str) -> list[str]:
    """The addresses in `text`, in their order.

    A comma belongs to the address unless another address begins behind it.
    """
    text = text.strip()
    if not text:
        return []
    if text[0] in "[{" and (nested := nested_addresses(text)) is not None:
        return nested
    if _SEPARATOR_BUT_COMMA.search(text) is None:
        parts = text.split(",")
        if len(parts) == 1 or all(part.startswith(("https://", "http://")) for part in parts):
            return parts
    border = _BORDER if _MAY_BEGIN.search(text) else _RELATIVE_BORDER
    return [part for piece in border.split(text) if (part := piece.strip(" \t\r\n,;|"))]


def nested_addresses(text: str) -> list[str] | None:
    """The addresses in a cell that holds JSON, or a list as Python writes it; None where it is neither.

    Meta's feeds nest `[{"url": ..., "tag": [...]}]`.
    """
    for written in (text, text.replace("'", '"')):
        try:
            value = orjson.loads(written)
        except orjson.JSONDecodeError:
            continue
        parts = value if isinstance(value, list) else [value]
        urls = [
            next((part[name] for name in ("url", "src", "link") if part.get(name)), None)
            if isinstance(part, dict)
            else part
            for part in parts
        ]
        return [url.strip() for url in urls if isinstance(url, str) and url.strip()]
    return None
