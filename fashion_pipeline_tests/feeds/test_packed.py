"""Compression found by magic bytes, junk passed over, bombs and cut archives refused."""

import gzip
import io
import random
import struct
import zipfile
import zlib
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pytest

from fashion_pipeline.errors import FeedError
from fashion_pipeline.feeds.decompress import ExpansionLimits, expand

CSV = b"id,title\n1,one\n2,two\n"
#: Does not shrink, so that a cut falls far into the file.
NOISE = b"id,title\n" + b"".join(
    b"%d,%s\n" % (n, random.Random(n).randbytes(40).hex().encode()) for n in range(20_000)
)


def _gzip(data: bytes) -> bytes:
    """Packed the same whenever it is packed: it is part of tests' names."""
    return gzip.compress(data, mtime=0)


def _zip_of(members: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "compression"),
    [
        (CSV, ""),
        (_gzip(CSV), "gzip"),
        (_gzip(_gzip(CSV)), "gzip+gzip"),
        (_gzip(CSV[:9]) + _gzip(CSV[9:]), "gzip"),
        (_zip_of([("feed.csv", CSV)]), "zip"),
        (_zip_of([("feed.csv.gz", _gzip(CSV))]), "zip+gzip"),
        (_gzip(_zip_of([("feed.csv", CSV)])), "gzip+zip"),
        (_zip_of([("inner.zip", _zip_of([("feed.csv", CSV)]))]), "zip+zip"),
        (pa.compress(CSV, codec="zstd", asbytes=True), "zstd"),
    ],
)
def test_nesting(feed, data: bytes, compression: str) -> None:
    result = feed(data)
    assert result.column("title") == ["one", "two"]
    assert result.report.compression == compression
    assert result.places == ["line 2", "line 3"]


def test_junk_is_passed_over(feed) -> None:
    result = feed(
        _zip_of(
            [
                ("__MACOSX/._feed.csv", b"\x00\x05\x16\x07"),
                (".DS_Store", b"\x00"),
                ("readme.md", b"hello"),
                ("data/feed.csv", CSV),
            ]
        )
    )
    assert result.column("title") == ["one", "two"]
    assert result.recovery("passed over") == 3


def test_several_members_are_one_feed_in_their_order(feed) -> None:
    result = feed(_zip_of([("b.csv", CSV), ("a.csv", b"title,id,brand\nthree,3,B\n")]))
    assert result.column("external_id") == ["1", "2", "3"]
    assert result.places == ["b.csv, line 2", "b.csv, line 3", "a.csv, line 2"]
    assert result.records == [1, 2, 3]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (_gzip(CSV * 100)[:-20], "ends early: truncated"),
        (_gzip(CSV)[:5], "ends early: truncated"),
        (_zip_of([("feed.csv", CSV)])[:-30], "truncated"),
        (_zip_of([("__MACOSX/x.csv", CSV)]), "without a feed"),
        (_zip_of([("[Content_Types].xml", b"<x/>"), ("xl/workbook.xml", b"<x/>")]), "Excel"),
        (_gzip(CSV)[:10] + b"\xff" * 20, "cannot be unpacked"),
        (_gzip(NOISE)[:600_000], "ends early: truncated"),
        (
            _zip_of([("feed.csv", NOISE)])[:300_000] + b"\0" * 100 + _zip_of([("feed.csv", NOISE)])[300_100:],
            "unpacked",
        ),
        (_gzip(b""), "nothing but blanks"),
    ],
)
def test_broken_archives(feed, data: bytes, words: str) -> None:
    with pytest.raises(FeedError, match="store 'shop'") as caught:
        feed(data)
    assert words in str(caught.value)


def test_what_an_archive_says_of_itself_is_shown_in_part(feed) -> None:
    header = bytearray(_zip_of([("feed.csv", NOISE)]))
    header[26:28] = (60_000).to_bytes(2, "little")  # of the member's name, which zipfile quotes
    name = "a" * 50_000 + ".csv"
    broken = bytearray(_zip_of([(name, NOISE)]))
    broken[-40_000 - len(name) : -39_000 - len(name)] = bytes(1_000)
    for data in (header, broken):
        with pytest.raises(FeedError, match="cannot be unpacked") as caught:
            feed(bytes(data))
        assert len(str(caught.value)) < 1_000


def test_bad_checksum(feed) -> None:
    data = bytearray(_gzip(CSV))
    data[-8] ^= 0xFF
    with pytest.raises(FeedError, match="store 'shop'"):
        feed(bytes(data))


def test_encrypted_member(feed) -> None:
    data = bytearray(_zip_of([("feed.csv", CSV)]))
    data[6] |= 1
    data[data.rfind(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(FeedError, match="encrypted"):
        feed(bytes(data))


def test_too_deep(feed) -> None:
    data = CSV
    for _ in range(5):
        data = _gzip(data)
    with pytest.raises(FeedError, match="more than 4 times"):
        feed(data)


def _drain(path: Path, limits: ExpansionLimits) -> int:
    size = 0
    with ExitStack() as scratch:
        for document in expand(path, scratch, limits).documents:
            with document.open() as stream:
                while block := stream.read(1 << 16):
                    size += len(block)
    return size


def test_bombs_are_stopped_at_the_limit(tmp_path: Path) -> None:
    limits = ExpansionLimits(ratio_from=1 << 20)
    path = tmp_path / "bomb"
    path.write_bytes(_gzip(bytes(64 << 20)))
    with pytest.raises(FeedError, match="decompression bomb"):
        _drain(path, limits)
    path.write_bytes(_zip_of([("a.csv", bytes(64 << 20))]))
    with pytest.raises(FeedError, match="decompression bomb"):
        _drain(path, limits)
    path.write_bytes(_gzip(bytes(1 << 19)))
    assert _drain(path, limits) == 1 << 19


def test_a_bomb_is_refused_by_the_reader(feed) -> None:
    bomb = b"id,title\n" + b"1," + b"x" * (80 << 20)
    with pytest.raises(FeedError, match=r"store 'shop'.*decompression bomb"):
        feed(_gzip(bomb))


def test_a_zip_with_too_many_members(tmp_path: Path) -> None:
    data = bytearray(_zip_of([("a.csv", CSV)]))
    at = data.rfind(b"PK\x05\x06")
    struct.pack_into("<H", data, at + 10, 60_000)
    path = tmp_path / "many.zip"
    path.write_bytes(bytes(data))
    with pytest.raises(FeedError, match="60000 members"):
        _drain(path, ExpansionLimits())


def test_raw_deflate_is_binary(feed) -> None:
    with pytest.raises(FeedError, match="store 'shop'"):
        feed(zlib.compress(CSV * 50))
