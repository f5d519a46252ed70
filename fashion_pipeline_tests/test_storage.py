"""The data location: a key is written whole or not at all, and never leads outside."""

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from fashion_pipeline.errors import PermanentError, SettingsError
from fashion_pipeline.storage import DataLocation
from fashion_pipeline_tests.object_store import S3Bucket

KEY = "raw/store=shop/day=2026-11-02/file"


@pytest.fixture(params=["folder", "file url", "object store"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DataLocation]:
    if request.param == "object store":
        import fsspec

        url = f"memory://bucket-{uuid.uuid4().hex}/prefix"
        yield DataLocation(url)
        fsspec.filesystem("memory").rm(url, recursive=True) if fsspec.filesystem("memory").exists(
            url
        ) else None
    else:
        root = str(tmp_path / "data")
        yield DataLocation(root if request.param == "folder" else f"file://{root}")


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_what_is_written_is_read(location: DataLocation) -> None:
    assert not location.exists(KEY)
    location.write(KEY, b"one")
    assert location.exists(KEY)
    assert (location.read(KEY), location.size(KEY)) == (b"one", 3)
    location.write(KEY, b"another")
    assert location.read(KEY) == b"another"
    with location.open(KEY) as stream:
        assert stream.read(2) == b"an"
    location.write("empty", b"")
    assert (location.exists("empty"), location.size("empty")) == (True, 0)
    location.delete(KEY)
    assert not location.exists(KEY)
    location.delete(KEY)


def test_what_is_missing_is_named(location: DataLocation) -> None:
    for ask in (location.read, location.size, location.open):
        with pytest.raises(PermanentError, match="store=shop"):
            ask(KEY)
    with pytest.raises(PermanentError, match="store=shop"), location.local_copy(KEY):
        pass
    assert list(location.list("raw")) == []


def test_a_folder_is_no_file(location: DataLocation) -> None:
    location.write(KEY, b"x")
    assert not location.exists("raw/store=shop")


def test_writing_becomes_the_key_on_leaving(location: DataLocation) -> None:
    with location.writing(KEY) as path:
        path.write_bytes(b"whole")
        assert not location.exists(KEY)
    assert location.read(KEY) == b"whole"
    assert not path.exists()


def test_writing_that_fails_leaves_what_was_there(location: DataLocation) -> None:
    location.write(KEY, b"before")
    with pytest.raises(RuntimeError, match="in the middle"), location.writing(KEY) as path:  # noqa: PT012
        path.write_bytes(b"half")
        raise RuntimeError("in the middle")
    assert location.read(KEY) == b"before"
    assert not path.exists()
    assert [entry.key for entry in location.list("raw")] == [KEY]


def test_staging_is_committed_once_its_key_is_known(location: DataLocation) -> None:
    with location.staging("raw/store=shop") as staged:
        staged.path.write_bytes(b"bytes whose hash is known only now")
        assert list(location.list("raw")) == []
        staged.commit(KEY)
        assert location.exists(KEY)
    assert location.read(KEY) == b"bytes whose hash is known only now"
    assert not staged.path.exists()


def test_staging_without_a_commit_leaves_nothing(location: DataLocation) -> None:
    with location.staging("raw/store=shop") as staged:
        staged.path.write_bytes(b"not wanted")
    assert not staged.path.exists()
    with pytest.raises(RuntimeError), location.staging("raw/store=shop") as staged:  # noqa: PT012
        staged.path.write_bytes(b"broken")
        raise RuntimeError
    assert not staged.path.exists()
    # A commit of what was never written is an error, not an empty file.
    with pytest.raises(FileNotFoundError), location.staging("raw") as staged:
        staged.commit(KEY)
    assert not location.exists(KEY)


def test_a_local_copy_is_a_real_file(location: DataLocation) -> None:
    location.write(KEY, b"content")
    with location.local_copy(KEY) as path:
        assert path.read_bytes() == b"content"
    assert location.read(KEY) == b"content"
    assert path.exists() == (location.local_root is not None)


def test_listing_gives_keys_and_sizes_below_a_prefix(location: DataLocation) -> None:
    location.write("images/ab/cd/one", b"1")
    location.write("images/ab/ef/two", b"22")
    location.write("imagesque/three", b"333")
    assert {entry.key: entry.size for entry in location.list("images")} == {
        "images/ab/cd/one": 1,
        "images/ab/ef/two": 2,
    }
    assert {entry.key for entry in location.list("images/ab/cd")} == {"images/ab/cd/one"}


@pytest.mark.parametrize(
    "key", ["", ".", "/etc/passwd", "..", "../outside", "a/../../outside", "a/..", "raw/../../x"]
)
def test_a_key_never_leads_outside(location: DataLocation, tmp_path: Path, key: str) -> None:
    before = files(tmp_path)
    for deed in (
        lambda: location.write(key, b"x"),
        lambda: location.read(key),
        lambda: location.exists(key),
        lambda: location.delete(key),
        lambda: location.size(key),
        lambda: location.writing(key).__enter__(),
        lambda: location.local_copy(key).__enter__(),
        lambda: location.adopt(tmp_path / "x", key),
    ):
        with pytest.raises(ValueError, match="not a relative key"):
            deed()
    assert files(tmp_path) == before


def test_an_empty_location_names_its_setting() -> None:
    with pytest.raises(SettingsError, match="FASHION_PIPELINE_DATA"):
        DataLocation("")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_bucket_that_is_not_there_is_named(s3_bucket: S3Bucket) -> None:
    assert list(DataLocation(s3_bucket.url("data")).list("raw")) == []
    location = DataLocation("s3://no-such-bucket/data")

    def writes() -> None:
        with location.writing(KEY) as path:
            path.write_bytes(b"x")

    for deed in (lambda: location.write(KEY, b"x"), writes, lambda: list(location.list("raw"))):
        with pytest.raises(PermanentError, match="no bucket 'no-such-bucket'"):
            deed()


def test_opening_a_location_makes_nothing(tmp_path: Path) -> None:
    location = DataLocation(str(tmp_path / "data"))
    assert not location.exists(KEY)
    assert list(location.list("raw")) == []
    assert list(tmp_path.iterdir()) == []


def test_listing_leaves_temporary_files_out(tmp_path: Path) -> None:
    location = DataLocation(str(tmp_path))
    location.write(KEY, b"x")
    (tmp_path / "raw" / ".abc.part").write_bytes(b"garbage of a killed writer")
    assert [entry.key for entry in location.list("raw")] == [KEY]


def test_the_time_of_change_is_that_of_the_write(tmp_path: Path) -> None:
    location = DataLocation(str(tmp_path))
    began = time.time()
    location.write(KEY, b"x")
    (entry,) = location.list("raw")
    assert began - 2 <= entry.modified <= time.time() + 2


def test_readers_see_one_whole_content_while_writers_replace_it(tmp_path: Path) -> None:
    location = DataLocation(str(tmp_path))
    contents = [bytes([letter]) * 300_000 for letter in b"abc"]
    location.write(KEY, contents[0])
    ended = threading.Event()

    def replace(content: bytes) -> None:
        while not ended.is_set():
            location.write(KEY, content)

    writers = [threading.Thread(target=replace, args=(content,)) for content in contents]
    for writer in writers:
        writer.start()
    try:
        seen = {location.read(KEY) for _ in range(200)}
    finally:
        ended.set()
        for writer in writers:
            writer.join()
    assert seen <= set(contents)
    assert files(tmp_path) == [KEY]


WRITER = """
import sys
from fashion_pipeline.storage import DataLocation

location, how = DataLocation(sys.argv[1]), sys.argv[2]
content = b"n" * 200_000

def slowly(path):
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        print("half", flush=True)
        sys.stdin.read()

if how == "writing":
    with location.writing("folder/key") as path:
        slowly(path)
elif how == "staging":
    with location.staging("folder") as staged:
        slowly(staged.path)
        staged.commit("folder/key")
else:
    print("half", flush=True)
    while True:
        location.write("folder/key", content)
"""


@pytest.mark.parametrize("before", [None, b"before"], ids=["new key", "old key"])
@pytest.mark.parametrize("how", ["writing", "staging", "write"])
def test_a_writer_killed_in_the_middle_leaves_no_half_key(
    tmp_path: Path, how: str, before: bytes | None
) -> None:
    location = DataLocation(str(tmp_path))
    whole = b"n" * 200_000
    if before is not None:
        location.write("folder/key", before)
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"half\n"
        if how == "write":
            time.sleep(0.05)
        writer.send_signal(signal.SIGKILL)
        writer.wait(10)
    possible = {before, whole} if how == "write" else {before}
    found = location.read("folder/key") if location.exists("folder/key") else None
    assert found in possible
    assert {entry.key for entry in location.list("folder")} == (
        {"folder/key"} if found is not None else set()
    )
    location.write("folder/key", b"after")
    with location.writing("folder/other") as path:
        path.write_bytes(b"after")
    assert location.read("folder/key") == location.read("folder/other") == b"after"


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    """A write that fails by a limit on the file's size: the key stays, no temporary file stays."""
    code = (
        "import resource, signal, sys\nfrom fashion_pipeline.storage import DataLocation\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    DataLocation(sys.argv[1]).write('folder/key', b'x' * 5000)\n"
        "except OSError as error:\n    print('refused', error.errno)\n"
    )
    location = DataLocation(str(tmp_path))
    location.write("folder/key", b"before")
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert told.stdout.startswith("refused")
    assert location.read("folder/key") == b"before"
    assert os.listdir(tmp_path / "folder") == ["key"]


def test_a_file_that_vanishes_while_they_are_listed_is_left_out(tmp_path: Path) -> None:
    location = DataLocation(str(tmp_path))
    for number in range(3):
        location.write(f"raw/{number}", b"x")
    listed = location.list("raw")
    first = next(listed).key
    gone = next(key for key in ("raw/0", "raw/1") if key != first)
    location.delete(gone)
    assert {first, *(entry.key for entry in listed)} == {"raw/0", "raw/1", "raw/2"} - {gone}
