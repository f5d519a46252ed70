"""URLs: what is mended, what is refused, and when two addresses are one picture."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fashion_pipeline.cleaning.reasons import RowWarning
from fashion_pipeline.cleaning.urls import (
    are_normalized,
    image_key,
    normalize_url,
    without_cache_busters,
)

BASE = "https://shop.example/de/"


@pytest.mark.parametrize(
    ("raw", "url"),
    [
        ("https://a.com/x.jpg?v=1", "https://a.com/x.jpg?v=1"),
        (" https://a.com/x.jpg\n", "https://a.com/x.jpg"),
        ("//cdn.a.com/x.jpg", "https://cdn.a.com/x.jpg"),
        ("www.a.com/x.jpg", "https://www.a.com/x.jpg"),
        ("https://a.com/a b.jpg", "https://a.com/a%20b.jpg"),
        ("https://a.com/a%20b.jpg", "https://a.com/a%20b.jpg"),
        ("https://a.com/x?a=1&amp;b=2", "https://a.com/x?a=1&b=2"),
        ("https:\\/\\/a.com\\/x.jpg", "https://a.com/x.jpg"),
        ("https://bücher.de/ä.jpg?x=ü", "https://xn--bcher-kva.de/%C3%A4.jpg?x=%C3%BC"),
        ("HTTPS://A.com/X.jpg", "https://a.com/X.jpg"),
        ("https://a.com:8443/x", "https://a.com:8443/x"),
        ("http://[2001:db8::1]/x", "http://[2001:db8::1]/x"),
        ("file:///data/a b.png", "file:///data/a%20b.png"),
        ("https://p.com/fetch/https://b.com/b.jpg", "https://p.com/fetch/https://b.com/b.jpg"),
        ("https://p.com/?url=https://b.com/b.jpg", "https://p.com/?url=https://b.com/b.jpg"),
        ("https://a.com/w_100,h_200/x.jpg", "https://a.com/w_100,h_200/x.jpg"),
        ("/p/1", "https://shop.example/p/1"),
        ("p/1", "https://shop.example/de/p/1"),
        ("?id=7", "https://shop.example/de/?id=7"),
    ],
)
def test_mended(raw: str, url: str) -> None:
    assert normalize_url(raw, BASE) == (url, None)


@pytest.mark.parametrize(
    "raw",
    [
        "about:error",
        "javascript:alert(1)",
        "ftp://a.com/x",
        "data:image/png;base64,AAAA",
        "https://",
        "http:///x",
        "https://a b/c",
        "https://a.com:99999/",
        "https://-a.com/",
        "no picture here",
        "",
        " ",
        "file:",
        "https://[::1",
        "https://a..com/x",
        "https://user:secret@a.com/x",
        "https://a.com/" + "x" * 9000,
    ],
)
def test_refused(raw: str) -> None:
    assert normalize_url(raw, BASE) == (None, RowWarning.IMAGE_URL_INVALID)


@pytest.mark.parametrize(
    "raw", ["https://a.com/a.jpghttps://b.com/b.jpg", "https://a.com/a.jpg?v=1http://b.com/b.jpg"]
)
def test_glued(raw: str) -> None:
    assert normalize_url(raw, BASE) == (None, RowWarning.IMAGE_URL_GLUED)


def test_relative_without_base_is_refused() -> None:
    assert normalize_url("/p/1") == (None, RowWarning.IMAGE_URL_INVALID)


@given(st.text(max_size=80), st.sampled_from([None, BASE]))
def test_normalizing_twice_is_normalizing_once(raw: str, base: str | None) -> None:
    url, warning = normalize_url(raw, base)
    assert (url is None) is (warning is not None)
    if url is not None:
        assert url.isascii()
        assert url.startswith(("http://", "https://", "file://"))
        assert normalize_url(url, base) == (url, None)


@pytest.mark.parametrize(
    "query",
    [
        "v=1748264665",
        "v=2",
        "ver=6.1.1",
        "version=3",
        "v=0fca8d21",
        "V=17",
        "_=1748264665",
        "t=1748264665000",
        "ts=1",
        "timestamp=2026-11-02",
        "cb=abc",
        "nocache=1",
        "1748264665",
        "#top",
        "v=1&ts=2",
    ],
)
def test_cache_busters_are_not_part_of_the_picture(query: str) -> None:
    mark = "" if query.startswith("#") else "?"
    assert without_cache_busters(f"https://a.com/x.jpg{mark}{query}") == "https://a.com/x.jpg"


@pytest.mark.parametrize(
    "query",
    [
        "v=front",
        "view=2",
        "t=3",
        "t=thumb",
        "_=a",
        "width=100",
        "id=1748264665",
        "color=0001",
        "v=",
        "variant=1748264665",
        "42",
    ],
)
def test_what_chooses_a_picture_stays(query: str) -> None:
    assert without_cache_busters(f"https://a.com/x.jpg?{query}") == f"https://a.com/x.jpg?{query}"


def test_key_keeps_the_other_parameters_in_order() -> None:
    assert without_cache_busters("https://a.com/x.jpg?b=1&v=17&a=2") == "https://a.com/x.jpg?b=1&a=2"
    assert image_key("https://a.com/x.jpg?v=1") == image_key("https://a.com/x.jpg?v=2")
    assert image_key("https://a.com/x.jpg?v=front") != image_key("https://a.com/x.jpg?v=back")


@given(
    st.lists(
        st.sampled_from(
            ["https://a.example/", "https://a.example", "http://a.example/", "//a.example/", "/"]
        ).flatmap(lambda start: st.text("aZ09/?=&%+-_.~ :#é", max_size=8).map(start.__add__)),
        min_size=1,
        max_size=3,
    )
)
def test_normalized_addresses_stay_as_they_are(urls: list[str]) -> None:
    if are_normalized(urls):
        assert [normalize_url(url) for url in urls] == [(url, None) for url in urls]


def test_plain_addresses_of_one_origin_are_normalized() -> None:
    assert are_normalized(["https://a.example/p?variant=1&x=2", "https://a.example/q/%20"])
    assert not are_normalized(["https://a.example/p", "https://b.example/p"])
    assert not are_normalized(["https://a.example/p q"])
    assert not are_normalized([])
