"""Text: what is taken out, what is mended, and that cleaning twice is cleaning once."""

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fashion_pipeline.cleaning import text as text_module
from fashion_pipeline.cleaning.text import clean_line, clean_text

TABLE = [
    ("Shirts & Tops", "Shirts & Tops"),
    ("  Striped   Dress \n", "Striped Dress"),
    ("Marilyn&#8217;s Medium Size Pearl  Necklace", "Marilyn’s Medium Size Pearl Necklace"),
    ("Caf&eacute; &amp; Bar", "Café & Bar"),
    ("&amp;amp; &amp;lt;3", "& <3"),
    ("&amp;amp;amp;amp;", "&"),
    ("50&quot; x 60&quot;", '50" x 60"'),
    ("x&nbsp;y&nbsp z", "x y z"),
    ("A &copy B ?a=1&para=2", "A &copy B ?a=1&para=2"),
    ("&#39;tis &#x27;it&#x27;", "'tis 'it'"),
    ("<p>One</p><p>Two</p>", "One Two"),
    ("One<br/>Two<BR>Three", "One Two Three"),
    ("H<sub>2</sub>O <b>B</b>old", "H2O Bold"),
    ("<span>Red</span><span>Blue</span>", "Red Blue"),
    ("<ul><li>a</li><li>b</li></ul>", "a b"),
    ("&lt;p&gt;Escaped&lt;/p&gt;", "Escaped"),
    ("&amp;lt;p&amp;gt;Twice&amp;lt;/p&amp;gt;", "Twice"),
    ('<a href="x?a>b" title="it\'s">Link</a>', "Link"),
    ("a<script>if (x<3) alert('</p>')</script>b", "a b"),
    ("<style>p{color:red}</style>b<!-- c > d -->e", "b e"),
    ("<![CDATA[kept]]>", "kept"),
    ("<script>never closed", "never closed"),
    ("size <3 and 5 < 6 > 4", "size <3 and 5 < 6 > 4"),
    ("write to <info@shop.example>", "write to <info@shop.example>"),
    ("if a<b then", "if a<b then"),
    ("GrÃ¶ÃŸe", "Größe"),
    ("donâ€™t â€“ ever", "don’t – ever"),
    ("Ã¢â‚¬â„¢", "’"),
    ("LycraÂ® 100Â°", "Lycra® 100°"),
    ("Ð¿Ð»Ð°Ñ‚ÑŒÐµ", "платье"),
    ("ãƒ¯ãƒ³ãƒ”ãƒ¼ã‚¹", "ワンピース"),
    ("RÄ™kaw", "Rękaw"),
    ("ðŸ‘— dress", "👗 dress"),
    ("CAFÉ™ 100% LÃ” SÃO IRMÃ ESPAÑ… naïve—“x” É®", "CAFÉ™ 100% LÃ” SÃO IRMÃ ESPAÑ… naïve—“x” É®"),
    ("Men\x92s", "Men’s"),
    ("a\x00b\x07c\x1f d", "abc d"),
    ("soft\u00adhy\u200bphen\ufeff", "softhyphen"),
    ("cafe\u0301", "café"),
    ("full\u3000width\u2003space", "full width space"),
    ("👨\u200d👩\u200d👧 family", "👨\u200d👩\u200d👧 family"),
    ("می\u200cخواهم", "می\u200cخواهم"),
    ("a\u200db", "ab"),
    ("lone \ud800 half", "lone half"),
    ("ワンピース", "ワンピース"),
    ("", None),
    ("  \n ", None),
    ("<p> </p>", None),
    ("\u200b", None),
]


@pytest.mark.parametrize(("raw", "clean"), TABLE, ids=[ascii(row[0])[:40] for row in TABLE])
def test_table(raw: str, clean: str | None) -> None:
    assert clean_text(raw) == clean


PIECES = st.sampled_from(
    [
        "<p>",
        "</p>",
        "<b>",
        "</b>",
        "<br/>",
        "<script>",
        "</script>",
        "<!--",
        "-->",
        "<",
        ">",
        "/",
        "&",
        "amp;",
        "&lt;",
        "lt;",
        "&#60;",
        "&nbsp;",
        "#38;",
        "\u200b",
        "\u200d",
        "\u00ad",
        "\u00a0",
        " ",
        "  ",
        "\n",
        "Ã",
        "©",
        "â",
        "€",
        "™",
        "Â",
        "É",
        "\x92",
        "e",
        "\u0301",
        "A",
        "word",
        "ワン",
        "👗",
        '"',
        "'",
        "<![CDATA[",
        "]]>",
        "\ud800",
        "ẛ̣",
        "ﬁ",
    ]
)


@settings(max_examples=600)
@given(st.lists(PIECES, max_size=14).map("".join))
@example("<<b>p>x")
@example("&amp;amp;amp;lt;p>")
@example("Ã\u200b©")
def test_cleaning_twice_is_cleaning_once(raw: str) -> None:
    once = clean_text(raw)
    assert once is None or clean_text(once) == once


@given(st.text(max_size=200))
def test_any_text_is_clean_once(raw: str) -> None:
    once = clean_text(raw)
    if once is not None:
        assert clean_text(once) == once
        assert once == once.strip()
        assert "  " not in once
        assert once.encode()
        assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in once)


@given(
    st.text(
        alphabet=st.characters(codec="ascii", min_codepoint=33, max_codepoint=126, exclude_characters="<&]"),
        min_size=1,
    )
)
def test_plain_words_pass_unchanged(raw: str) -> None:
    assert clean_text(raw) == raw


def test_full_length_is_kept() -> None:
    assert clean_text("<p>" + "word " * 20_000 + "</p>") == ("word " * 20_000).strip()


@pytest.mark.parametrize(
    "piece",
    ["<script>", "<a ", "<!--", '<a "', "<a '", "&amp;", "&#38;", "amp;", "<", "Ã", "é", " ", "</a><b"],
)
def test_hostile_text_takes_linear_time(piece: str) -> None:
    text = "&" + piece * (1_000_000 // len(piece))
    started = time.process_time()
    clean_text(text)
    assert time.process_time() - started < 5


def test_keys_are_not_decoded() -> None:
    assert clean_line(" a&amp;b<c> ") == "a&amp;b<c>"
    assert clean_line("a\u200b \t b\ud800") == "a b"
    assert clean_line(" \n") is None


OPENING = [
    "<p>",
    "<b>",
    "<SPAN class='x y'>",
    '<a href="https://a.example/?q=1">',
    "<li>",
    "<h1 id=x>",
    "<i>",
]
TAGS = st.sampled_from(
    [
        *OPENING,
        "</p>",
        "</b>",
        "</SPAN>",
        "</a >",
        "</sup>",
        "<br/>",
        "<br />",
        "<x-tag>",
        "<img alt=\"a 'b'\">",
    ]
)


@given(st.lists(st.one_of(TAGS, st.sampled_from(["red", " ", "x y", "é"])), max_size=12).map("".join))
def test_simple_tags_are_stripped_like_any(markup: str) -> None:
    simple = text_module._strip_simple(markup)
    assert simple is not None
    assert simple.split() == text_module._strip_any(markup).split()


@pytest.mark.parametrize(
    "markup", ["a < b", "<script>x</script>y", "<p title='a>b'>c", "<p", "<!-- x -->", "<>"]
)
def test_what_is_not_simple_is_looked_at(markup: str) -> None:
    assert text_module._strip_simple(markup) is None
