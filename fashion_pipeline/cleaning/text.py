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
_MAY_BE_MARKUP = re.compile(r"<[A-Za-z/!?]|&[#A-Za-z]|\]\]>")

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

_MAY_BE_MOJIBAKE = re.compile(rf"[\xc2-\xf4]{_CONTINUATION}")

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
_EDGE = re.compile(rf"(</(?:{'|'.join(_INLINE)})\s*>)(?=<[A-Za-z])", re.IGNORECASE)
_EDGES = ("</a><", "</b><", "</em><", "</font><", "</i><", "</span><", "</strong><", "</u><")
_TAG = re.compile(rf"<!\[CDATA\[|\]\]>|</?({_NAME}){_ATTRIBUTES}|<[!?](?=[A-Za-z\[/-])[^<>]*>")
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
    for _ in range(_MOST_ROUNDS):
        if text.isascii() and _is_plain(text):
            break
        before = text
        text = _round(text)
        if text == before:
            break
    return text or None


def _is_plain(text: str) -> bool:
    """Whether ASCII text has nothing to clean; substring searches, because this is asked of every value."""
    if not text.isprintable() or "  " in text or text[:1] == " " or text[-1:] == " ":
        return False
    return not (("<" in text or "&" in text or "]]>" in text) and _MAY_BE_MARKUP.search(text))


def clean_line(text: str) -> str | None:
    """Text that is a key, not prose: blanks and invisible characters go, nothing is decoded."""
    if text.isascii() and text.isprintable() and "  " not in text:
        return text.strip() or None
    text = unicodedata.normalize("NFC", _LOOSE_JOINER.sub("", _DROP.sub("", text)))
    return " ".join(text.split()) or None


def printable(text: str) -> str:
    """`text` with what UTF-8 cannot carry (lone surrogates) replaced."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _round(text: str) -> str:
    if "&" in text:
        text = _NESTED_AMP.sub("&", text)
        text = _REFERENCE.sub(_decode, text)
    if "<" in text or "]]>" in text:
        text = strip_tags(text)
    if not text.isascii():
        if _MAY_BE_MOJIBAKE.search(text):
            text = _MOJIBAKE.sub(_mend, text)
        text = _DROP.sub(_replace_control, text)
        if "\u200c" in text or "\u200d" in text:
            text = _LOOSE_JOINER.sub("", text)
        if not unicodedata.is_normalized("NFC", text):
            text = unicodedata.normalize("NFC", text)
    elif not text.isprintable():
        text = _DROP.sub("", text)
    return " ".join(text.split())


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
    if _HIDDEN_OPEN.search(text):
        text = _drop_hidden(text)
    if any(edge in text for edge in _EDGES):
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
