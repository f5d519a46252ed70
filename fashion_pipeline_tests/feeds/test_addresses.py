"""Several addresses in one field."""

import time

import pytest

from fashion_pipeline.feeds.addresses import split_addresses


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("https://a/1.jpg,https://a/2.jpg", ["https://a/1.jpg", "https://a/2.jpg"]),
        ("https://a/1.jpg; https://a/2.jpg", ["https://a/1.jpg", "https://a/2.jpg"]),
        (
            "https://a/1.jpg|https://a/2.jpg https://a/3.jpg",
            ["https://a/1.jpg", "https://a/2.jpg", "https://a/3.jpg"],
        ),
        ("https://a/1.jpg~~https://a/2.jpg", ["https://a/1.jpg", "https://a/2.jpg"]),
        ("https://a/~me/1.jpg", ["https://a/~me/1.jpg"]),
        ("https://a/w_1,h_2/1.jpg", ["https://a/w_1,h_2/1.jpg"]),
        ("https://a/w_1,h_2/1.jpg,//b/2.jpg,", ["https://a/w_1,h_2/1.jpg", "//b/2.jpg"]),
        ("https://a/q;x=1/1.jpg;https://a/2.jpg", ["https://a/q;x=1/1.jpg", "https://a/2.jpg"]),
        ("s3://a/1.jpg, file:///2.jpg,;gs://b/3.jpg", ["s3://a/1.jpg", "file:///2.jpg", "gs://b/3.jpg"]),
        ("data:image/png;base64,AA== https://a/2.jpg", ["data:image/png;base64,AA==", "https://a/2.jpg"]),
        ('["https:\\/\\/a\\/1.jpg", " https://a/2.jpg ", 5, ""]', ["https://a/1.jpg", "https://a/2.jpg"]),
        ("['https://a/1.jpg', 'https://a/2.jpg']", ["https://a/1.jpg", "https://a/2.jpg"]),
        ('[{"url": "https://a/1.jpg", "tag": ["x"]}, {"src": "/2.jpg"}]', ["https://a/1.jpg", "/2.jpg"]),
        ("/a.jpg,/b.jpg", ["/a.jpg", "/b.jpg"]),
        ("/a.jpg /b.jpg", ["/a.jpg", "/b.jpg"]),
        ("/a.jpg, ,/b.jpg ; /c.jpg", ["/a.jpg", "/b.jpg", "/c.jpg"]),
        ("a 1.jpg | b 2.jpg", ["a 1.jpg", "b 2.jpg"]),
        ("", []),
        (" , ", []),
    ],
)
def test_lists(text: str, addresses: list[str]) -> None:
    assert split_addresses(text) == addresses
    # What was taken apart stays so.
    assert [part for one in addresses for part in split_addresses(one)] == addresses


@pytest.mark.parametrize("first", ["a.jpg", "https://a/1.jpg"])
@pytest.mark.parametrize("run", [" ", ",", "~", " ,", "\n;"])
def test_long_runs_of_separators_take_linear_time(first: str, run: str) -> None:
    text = first + run * 200_000 + "x"
    began = time.process_time()
    assert split_addresses(text)[0].startswith(first)
    assert time.process_time() - began < 1
