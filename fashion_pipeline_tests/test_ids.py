"""Identifiers that become paths and keys: what is let through, and what never is."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fashion_pipeline.ids import check_sha256, check_store_id, sha256_bytes, sha256_file


@pytest.mark.parametrize("value", ["a", "7", "nordlys", "sunday-market", "a_b-c", "a" * 63, "0" * 63])
def test_a_store_id_that_can_be_a_folder_and_a_partition_key_passes(value: str) -> None:
    assert check_store_id(value) == value


@pytest.mark.parametrize(
    "value",
    [
        "", "A", "a" * 64, "-a", "a-", "_a", "a_", "a b", "a/b", "../a", "..", ".", "a.b", "a|b", "a,b", "[a]", "a\n",
        "\na", "é", "a\x00b", "a\\b", "~", "a=b", "straße", "ａ", "٣",
    ],
)  # fmt: skip
def test_anything_else_is_refused_and_named(value: str) -> None:
    with pytest.raises(ValueError, match="store id") as caught:
        check_store_id(value)
    assert repr(value) in str(caught.value)


@given(st.text(max_size=80))
def test_what_passes_is_one_harmless_path_component(value: str) -> None:
    try:
        check_store_id(value)
    except ValueError:
        return
    assert Path(value).parts == (value,)
    assert value.isascii()
    assert not set(value) & set("/\\|,[]=. \n\x00")
    assert 1 <= len(value) <= 63


def test_digests() -> None:
    digest = hashlib.sha256(b"abc").hexdigest()
    assert check_sha256(digest) == digest
    assert sha256_bytes(b"abc") == digest


@pytest.mark.parametrize(
    "value", ["", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "a" * 64 + "\n", "../" + "a" * 61]
)
def test_what_is_no_digest_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        check_sha256(value)


def test_a_file_is_hashed_by_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    content = bytes(range(256)) * 5000
    path.write_bytes(content)
    assert sha256_file(path) == sha256_bytes(content) == hashlib.sha256(content).hexdigest()
    path.write_bytes(b"")
    assert sha256_file(path) == hashlib.sha256().hexdigest()
