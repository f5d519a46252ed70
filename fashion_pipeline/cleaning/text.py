"""Plain text out of what feeds call text. Cleaning cleaned text changes nothing.

Mojibake is mended, character references are decoded, tags are stripped with word breaks kept, control
and invisible characters are dropped, the result is in NFC with single blanks. Feeds escape twice and
more, so this goes on until nothing is left to do: a fixed number of rounds would make the second
cleaning differ from the first.
"""

import html
import re
import unicodedata
from functools import lru_cache

#: Deeper nesting than this is made to hurt; nested `&amp;` of any depth fall in one round.
_MOST_ROUNDS = 12

_INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff9-\ufffb\ufdd0-\ufdef\ufffe\uffff\U000e0000-\U000e007f\ud800-\udfff"
)
_DROP = re.compile(rf"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f{_INVISIBLE}]")
#: Joiners shape letters and emoji; next to anything else they are left-overs.
_SHAPED = r"[^\x00-\u02ff\u2000-\u206f]"
_LOOSE_JOINER = re.compile(rf"(?<!{_SHAPED})[\u200c\u200d]|[\u200c\u200d](?!{_SHAPED})")
_MAY_BE_TAG = re.compile(r"<[A-Za-z/!?]")
_MAY_BE_REFERENCE = re.compile(r"&[#A-Za-z]")

_C1 = {
    byte: bytes((byte,)).decode("cp1252")
    for byte in range(0x80, 0xA0)
    if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
}
#: What a UTF-8 byte looks like when read as cp1252 (bytes that cp1252 lacks: as latin-1).
_SLOPPY = {_C1.get(byte, chr(byte)): byte for byte in range(0x80, 0x100)} | {
    chr(byte): byte for byte in range(0x80, 0x100)
}
_CONTINUATION = "[\x80-\xbf" + re.escape("".join(_C1.values())) + "]"
_MOJIBAKE = re.compile(
    rf"(?:[\xc2-\xdf]{_CONTINUATION}|[\xe0-\xef]{_CONTINUATION}{{2}}|[\xf0-\xf4]{_CONTINUATION}{{3}})+"
)
#: What `str.isprintable` lets pass of `_INVISIBLE`, and mojibake.
_SUSPECT = re.compile(
    rf"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180e\u3164\uffa0]|[\xc2-\xf4]{_CONTINUATION}"
)
#: All bytes but those that mojibake needs in latin-1 text.
_HARMLESS = bytes(byte for byte in range(256) if not 0x80 <= byte <= 0xBF)

_NESTED_AMP = re.compile(r"&(?:(?:amp|AMP|#0*38|#[xX]0*26);)+")
_REFERENCE = re.compile(
    r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});|&(?:nbsp|amp|quot|lt|gt)(?![A-Za-z0-9;=])"
)
_ATTRIBUTES = r"""(?=[\s/>])(?:(?:[^<>"']++|"[^"<]*+"|'[^'<]*+')*+>|[^<>]*>)"""
_NAME = r"[A-Za-z][A-Za-z0-9-]*+(?::[A-Za-z][A-Za-z0-9-]*+)?"
#: Tags that break no word; what is not here becomes a blank.
_INLINE = re.findall(
    r"\w+",
    """abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd mark q s samp small span strike
    strong sub sup time tt u var wbr a""",
)
_GLUE = {form: "" for name in _INLINE for form in (name, name.upper())}
#: `<span>Red</span><span>Blue</span>` are two words, although neither tag breaks one.
_EDGE = re.compile(rf"(</(?:{'|'.join(_GLUE)})\s*>)(?=<[A-Za-z])")
_TAG = re.compile(rf"<!\[CDATA\[|\]\]>|</?({_NAME}){_ATTRIBUTES}|<[!?](?=[A-Za-z\[/-])[^<>]*>")
#: Between `<` and the first `>`: a tag whose quotes are balanced ends there by the rules of `_TAG`.
_SIMPLE_TAG = re.compile(rf"""/?({_NAME})(?=[\s/]|\Z)(?:[^<>"']++|"[^"]*+"|'[^']*+')*+""")
_CLOSING = re.compile(rf"/(?:{'|'.join(_GLUE)})\s*")
_LONGEST_SIMPLE_TAG = 300
_HIDDEN_OPEN = re.compile(r"<(script|style|template|noscript|!--)", re.IGNORECASE)
_HIDDEN_CLOSE = {
    "script": re.compile(r"</script\s*>", re.IGNORECASE),
    "style": re.compile(r"</style\s*>", re.IGNORECASE),
    "template": re.compile(r"</template\s*>", re.IGNORECASE),
    "noscript": re.compile(r"</noscript\s*>", re.IGNORECASE),
    "!--": re.compile(r"-->"),
}


def clean_text(text: str) -> str | None:
    """`text` as plain text, full length; None where nothing is left."""
    if _is_plain(text):
        return text or None
    for _ in range(_MOST_ROUNDS):
        before = text
        text, tidy = _round(text)
        if text == before or (not _has_markup(text) if tidy else _is_plain(text)):
            break
    return text or None


def _is_plain(text: str) -> bool:
    """Whether text has nothing to clean; mostly substring searches, because this is asked of every value."""
    if "  " in text or _has_markup(text) or text[:1] == " " or text[-1:] == " " or not text.isprintable():
        return False
    return text.isascii() or (not _is_suspect(text) and unicodedata.is_normalized("NFC", text))


def _has_markup(text: str) -> bool:
    return (
        ("<" in text and _MAY_BE_TAG.search(text) is not None)
        or ("&" in text and _MAY_BE_REFERENCE.search(text) is not None)
        or "]]>" in text
    )


def _is_suspect(text: str) -> bool:
    """Whether text beyond ASCII may hold mojibake, or what is invisible and yet printable."""
    try:
        raw = text.encode("latin-1")
    except UnicodeEncodeError:
        return _SUSPECT.search(text) is not None
    # Most text of shops is latin-1, with few of these bytes and a letter before none of them.
    for byte in set(raw.translate(None, _HARMLESS)):
        if any(part[-1:] >= b"\xc2" for part in raw.split(bytes((byte,)))[:-1]):
            return True
    return False


def clean_line(text: str) -> str | None:
    """Text that is a key, not prose: blanks and invisible characters go, nothing is decoded."""
    if text.isascii() and text.isprintable() and "  " not in text:
        return text.strip() or None
    text = unicodedata.normalize("NFC", _LOOSE_JOINER.sub("", _DROP.sub("", text)))
    return " ".join(text.split()) or None


def printable(text: str) -> str:
    """`text` with what UTF-8 cannot carry (lone surrogates) replaced."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _round(text: str) -> tuple[str, bool]:
    """One round of cleaning, and whether only markup that it uncovered may be left to do."""
    if "&" in text:
        if "&amp;" in text or "&#" in text or "&AMP;" in text:
            text = _NESTED_AMP.sub("&", text)
        text = _REFERENCE.sub(_decode, text)
    if "<" in text or "]]>" in text:
        text = strip_tags(text)
    tidy = text.isascii() or not _is_suspect(text)
    if not tidy:
        # Before blanks are folded: a no-break space may be the second half of a letter.
        text = _DROP.sub(_replace_control, _MOJIBAKE.sub(_mend, text))
    text = _folded(text)
    if not text.isprintable():
        text = " ".join(text.split())
        if not text.isprintable():
            text = _LOOSE_JOINER.sub("", _DROP.sub(_replace_control, text))
            text, tidy = " ".join(text.split()), False
    if not unicodedata.is_normalized("NFC", text):
        text, tidy = unicodedata.normalize("NFC", text), False
    return text, tidy


def _folded(text: str) -> str:
    """Text with single spaces for the blanks that most text has; a third of the cost of splitting and joining."""
    for blank in "\n\r\t\xa0":
        if blank in text:
            text = text.replace(blank, " ")
    while "  " in text:
        text = " ".join(text.split("  "))
    return text.strip(" ")


def _decode(match: re.Match[str]) -> str:
    return _decoded(match[0])


@lru_cache(maxsize=4_096)
def _decoded(reference: str) -> str:
    return html.unescape(reference)


def _replace_control(match: re.Match[str]) -> str:
    """cp1252 punctuation that was read as latin-1 stands among the C1 controls."""
    return _C1.get(ord(match[0]), "")


def strip_tags(text: str) -> str:
    """Markup out of `text`: a blank for a tag that breaks words, nothing for one that does not.

    Scripts, styles and comments go with what they hold. Linear in the length, also for hostile text.
    """
    plain = _strip_simple(text) if "]]>" not in text else None
    return plain if plain is not None else _strip_any(text)


def _strip_simple(text: str) -> str | None:
    """`text` without its tags where each `<` begins a simple one, else None.

    Taken apart by substring searches, at a third of what the expressions of `_strip_any` cost.
    """
    before, *pieces = text.split("<")
    parts = [before]
    closed = False
    for piece in pieces:
        tag, end, rest = piece.partition(">")
        glue = _simple_glue(tag) if end and len(tag) <= _LONGEST_SIMPLE_TAG else None
        if glue is None:
            return None
        parts.append(" " if closed and tag[0] != "/" else glue)
        parts.append(rest)
        closed = not rest and not glue and _CLOSING.fullmatch(tag) is not None
    return "".join(parts)


@lru_cache(maxsize=4_096)
def _simple_glue(tag: str) -> str | None:
    """What stands in place of a tag, written without its `<` and `>`; None where it needs a closer look."""
    found = _SIMPLE_TAG.fullmatch(tag)
    if found is None or found[1].lower() in _HIDDEN_CLOSE:
        return None
    return _GLUE.get(found[1], " ")


def _strip_any(text: str) -> str:
    if _HIDDEN_OPEN.search(text):
        text = _drop_hidden(text)
    if "><" in text:
        text = _EDGE.sub(r"\1 ", text)
    # Text and tag names in turns: a split costs a third of a substitution by a function.
    parts = _TAG.split(text)
    parts[1::2] = [_GLUE.get(name, " ") for name in parts[1::2]]
    return "".join(parts)


def _drop_hidden(text: str) -> str:
    kept: list[str] = []
    position = start = 0
    unclosed: set[str] = set()
    while match := _HIDDEN_OPEN.search(text, position):
        name = match[1].lower()
        end = None if name in unclosed else _HIDDEN_CLOSE[name].search(text, match.end())
        if end is None:
            unclosed.add(name)
            position = match.end()
            continue
        kept.append(text[start : match.start()])
        position = start = end.end()
    kept.append(text[start:])
    return " ".join(kept)


def _mend(match: re.Match[str]) -> str:
    """UTF-8 that was read as cp1252, where no one would write such characters in a row."""
    run = match[0]
    try:
        mended = bytes(_SLOPPY[char] for char in run).decode("utf-8")
    except UnicodeDecodeError:
        return run
    if len(mended) > 1 or run[0] in "Ââð":
        return mended
    text, start, end = match.string, match.start(), match.end()
    before = text[start - 1] if start else " "
    after = text[end] if end < len(text) else " "
    # `CAFÉ™` and `100% LÃ”` are words in capitals with a sign behind them.
    if run[0] in "ÃÄÅ" and (before.islower() or after.isalpha() or (run[0] == "Ã" and not before.isalnum())):
        return mended
    return run
