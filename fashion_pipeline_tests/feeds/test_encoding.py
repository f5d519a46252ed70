"""Encodings: what decides, what is mended, and where undecodable bytes are reported."""

import pytest

from fashion_pipeline.errors import FeedError

CSV = "id,title\n1,Größe “42” – café\n2,plain\n"
XML = "<rss><channel><item><id>1</id><title>Größe – café</title></item></channel></rss>"
TITLE = "Größe “42” – café"


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_marks_and_utf8(feed, codec: str) -> None:
    result = feed(CSV.encode(codec))
    assert result.column("title") == [TITLE, "plain"]
    assert result.column("external_id") == ["1", "2"]
    assert result.report.recoveries == []
    assert result.report.encoding.replace("-le", "") == codec.removesuffix("-sig")


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_utf16_without_mark(feed, codec: str) -> None:
    result = feed(CSV.encode(codec))
    assert result.column("title") == [TITLE, "plain"]
    assert result.recovery("without a byte order mark") == 1


@pytest.mark.parametrize("charset", ["ISO-8859-1", "windows-1252", "us-ascii", "shift_jis"])
def test_utf8_that_is_called_something_else(feed, charset: str) -> None:
    result = feed(CSV, charset=charset)
    assert result.column("title") == [TITLE, "plain"]
    assert result.recovery("is UTF-8") == 1


def test_ascii_needs_no_mending(feed) -> None:
    assert feed("id,title\n1,a\n", charset="ISO-8859-1").report.recoveries == []


def test_true_latin1_means_windows_1252(feed) -> None:
    result = feed(CSV.encode("cp1252"), charset="ISO-8859-1")
    assert result.column("title") == [TITLE, "plain"]
    assert result.report.encoding == "cp1252"
    assert result.report.recoveries == []


def test_xml_declaration(feed) -> None:
    for codec in ("iso-8859-2", "windows-1251", "shift_jis", "utf-16"):
        title = {"windows-1251": "Платье", "shift_jis": "ワンピース"}.get(codec, "Größe")
        text = f'<?xml version="1.0" encoding="{codec}"?>' + XML.replace("Größe – café", title)
        assert feed(text.encode(codec), "google_xml").column("title") == [title], codec


def test_xml_that_declares_latin1_and_is_utf8(feed) -> None:
    result = feed('<?xml version="1.0" encoding="ISO-8859-1"?>' + XML, "google_xml")
    assert result.column("title") == ["Größe – café"]
    assert result.recovery("iso8859-1 declared, is UTF-8") == 1


def test_xml_that_declares_utf8_and_is_not_takes_the_fallback(feed) -> None:
    data = ('<?xml version="1.0" encoding="UTF-8"?>' + XML).encode("cp1252")
    result = feed(data, "google_xml", encoding_fallback="cp1252")
    assert result.column("title") == ["Größe – café"]
    assert result.recovery("utf-8 declared, is cp1252") == 1


def test_seven_bit_encodings_are_believed(feed) -> None:
    result = feed("id,title\n1,ワンピース\n".encode("iso2022_jp"), charset="iso-2022-jp")
    assert result.column("title") == ["ワンピース"]


def test_fallback_comes_last(feed) -> None:
    assert feed(CSV.encode("cp1252"), encoding_fallback="cp1252").column("title")[0] == TITLE
    assert feed(CSV, encoding_fallback="cp1252").column("title")[0] == TITLE


def test_undecodable_names_offset_and_line(feed) -> None:
    data = b"id,title\n1,plain\n2,caf\xe9 noir\n"
    with pytest.raises(FeedError, match=r"shop.*byte 0xe9 at offset 22 \(line 3\).*encoding_fallback"):
        feed(data)


def test_undecodable_far_into_the_file(feed) -> None:
    good = "".join(f"{n},Kleid aus Größe {n}\n" for n in range(30_000)).encode()
    head = b"id,title\n"
    assert len(good) > 1 << 19
    with pytest.raises(FeedError, match=rf"offset {len(head + good) + 2} \(line 30002\)"):
        feed(head + good + b"1,\xff\n")


def test_a_character_over_the_border_of_chunks(feed) -> None:
    for shift in range(4):
        title = "x" * ((1 << 18) - 20 + shift) + "€" * 10
        assert feed(f"id,title\n1,{title}\n").column("title") == [title]


def test_utf8_mark_with_bad_bytes(feed) -> None:
    with pytest.raises(FeedError, match="is not utf-8"):
        feed(b"\xef\xbb\xbfid,title\n1,\xff\n", encoding_fallback="cp1252")
