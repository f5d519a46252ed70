import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fashion_pipeline.errors import PermanentError
from fashion_pipeline.ids import sha256_bytes
from fashion_pipeline.images.store import ImageStore
from fashion_pipeline.storage import DataLocation


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", ["folder", "object store"])
def test_bytes_are_kept_under_their_digest(tmp_path: Path, kind: str) -> None:
    url = str(tmp_path) if kind == "folder" else f"memory://{tmp_path.name}-images"
    store = ImageStore(DataLocation(url))
    sha256 = sha256_bytes(b"picture")
    assert store.key(sha256) == f"images/{sha256[:2]}/{sha256}"
    assert not store.exists(sha256)
    assert store.put(b"picture") == (sha256, True)
    assert store.put(b"picture") == (sha256, False)
    assert store.exists(sha256)
    assert store.read(sha256) == b"picture"
    with store.open(sha256) as stream:
        assert stream.read() == b"picture"
    assert store.verify(sha256)
    with pytest.raises(PermanentError):
        store.read("0" * 64)
    with pytest.raises(ValueError):
        store.key("../../etc/passwd")


def test_an_existing_file_is_not_written_again(tmp_path: Path) -> None:
    store = ImageStore(DataLocation(str(tmp_path)))
    sha256, _ = store.put(b"picture")
    path = tmp_path / store.key(sha256)
    os.utime(path, (1, 1))
    before = path.stat()
    store.put(b"picture")
    assert path.stat() == before
    path.write_bytes(b"damaged")
    assert not store.verify(sha256)


def test_bytes_that_a_loss_of_power_took_are_written_again(tmp_path: Path) -> None:
    store = ImageStore(DataLocation(str(tmp_path)))
    sha256, _ = store.put(b"picture")
    store.sync()
    (tmp_path / store.key(sha256)).write_bytes(b"")
    assert store.put(b"picture") == (sha256, True)
    assert store.read(sha256) == b"picture"


def test_syncing_what_was_never_written_to_does_nothing(tmp_path: Path) -> None:
    ImageStore(DataLocation(str(tmp_path / "nothing"))).sync()
    ImageStore(DataLocation("memory://nothing")).sync()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    store = ImageStore(DataLocation(str(tmp_path)))
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(OSError, match="No space"):
            store.put(b"picture")
    assert files(tmp_path) == []
    assert store.put(b"picture")[1]
    assert len(files(tmp_path)) == 1


def test_threads_with_equal_bytes_write_once(tmp_path: Path) -> None:
    store = ImageStore(DataLocation(str(tmp_path)))
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(store.put, [b"picture %d" % (index % 10) for index in range(200)]))
    assert sum(stored for _, stored in results) == 10
    assert len(files(tmp_path)) == 10
