"""`model pull` against a local HTTP server that answers as the hub does: two repositories, redirects, digests."""

import hashlib
import json
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from fashion_pipeline.embeddings import pull as pull_module
from fashion_pipeline.embeddings.draft import read_draft
from fashion_pipeline.embeddings.encoder import Encoder, load_encoder
from fashion_pipeline.embeddings.golden import read_golden
from fashion_pipeline.embeddings.hub import Hub
from fashion_pipeline.embeddings.lock import check_lock
from fashion_pipeline.embeddings.pull import Expected, PullReport, pull_model
from fashion_pipeline.embeddings.spec import read_spec
from fashion_pipeline.errors import ModelError
from fashion_pipeline_tests.embeddings.model_folders import CONTEXT, SIZE

WEIGHTS, TOKENIZER = "Marqo/marqo-fashionSigLIP", "test/tiny"
LARGE = {"open_clip_model.safetensors"}
TINY = Expected((SIZE, SIZE), 0.5, 0.5, "squash", "bicubic", CONTEXT)


@dataclass
class FakeHub:
    """Two repositories, each with one commit; files by name. Large ones are redirected to another port."""

    repos: dict[str, dict[str, bytes]]
    commits: dict[str, str]
    asked: list[str] = field(default_factory=list)
    tokens: dict[str, str | None] = field(default_factory=dict)
    altered: dict[str, bytes] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    endpoint: str = ""
    storage: str = ""

    def about(self, repo: str) -> dict[str, Any]:
        siblings: list[dict[str, Any]] = []
        for name, data in self.repos[repo].items():
            git = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
            each: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": git}
            if name in LARGE:
                each["lfs"] = {
                    "sha256": hashlib.sha256(data).hexdigest(),
                    "size": len(data),
                    "pointerSize": 134,
                }
            siblings.append(each)
        return {"id": repo, "sha": self.commits[repo], "siblings": siblings}

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        parts = path.partition("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            repo, revision = "/".join(parts[2:4]), parts[5]
            if repo not in self.repos or revision not in {"main", self.commits[repo]}:
                return 404, {}, b"{}"
            return 200, {}, json.dumps(self.about(repo)).encode()
        repo, revision, name = "/".join(parts[:2]), parts[3], parts[4]
        assert revision == self.commits[repo], "files are asked for by commit"
        if name in LARGE and not path.endswith("?signed"):
            return 302, {"Location": f"{self.storage}{path}?signed"}, b""
        return 200, {}, self.altered.get(name, self.repos[repo][name])


@contextmanager
def serving(folder: Path, tokenizer_repo: str) -> Iterator[FakeHub]:
    """A hub that holds the files of a model folder, as two repositories."""
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    tokenizer = {name: data for name, data in files.items() if "token" in name}
    weights = {name: data for name, data in files.items() if name.startswith("open_clip")}
    weights |= {"open_clip_pytorch_model.bin": b"\x80\x04 a pickle", "README.md": b"# model"}
    fake = FakeHub(
        {WEIGHTS: weights, tokenizer_repo: tokenizer}, {WEIGHTS: "a" * 40, tokenizer_repo: "b" * 40}
    )

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fake.asked.append(self.path)
            fake.tokens[self.path] = self.headers.get("Authorization")
            status, headers, body = fake.answer(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            name = self.path.partition("?")[0].rpartition("/")[2]
            self.wfile.write(body[: len(body) // 2] if name in fake.cut else body)

        def log_message(self, *_: Any) -> None:
            pass

    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
    for server in servers:
        Thread(target=server.serve_forever, daemon=True).start()
    fake.endpoint, fake.storage = (f"http://127.0.0.1:{server.server_address[1]}" for server in servers)
    yield fake
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def hub(tiny_folder: Path) -> Iterator[FakeHub]:
    with serving(tiny_folder, TOKENIZER) as fake:
        yield fake


@pytest.fixture(autouse=True)
def expected(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in has the shape of the tests' model under the real one's name; no time for hard photos."""
    monkeypatch.setattr(pull_module, "EXPECTED", {WEIGHTS: TINY})
    monkeypatch.setattr(pull_module, "hard_photos", lambda: iter(()))


def load(ref: str) -> Encoder:
    return load_encoder(ref, device="cpu", precision="fp32")


def must_not_load(ref: str) -> Encoder:
    raise AssertionError(f"{ref} was loaded")


def pull(hub: FakeHub, folder: Path, **options: Any) -> PullReport:
    return pull_model(folder, Hub(hub.endpoint), load=load, **options)


def test_two_repositories_become_one_folder_that_loads_offline(
    hub: FakeHub, tiny_folder: Path, tiny_encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models" / "siglip"
    seen: dict[str, int] = {}
    report = pull(hub, folder, progress=lambda name, done, _: seen.update({name: done}))
    names = {path.name for path in tiny_folder.iterdir()}
    assert set(report.downloaded) == names == set(seen)
    assert {path.name for path in folder.iterdir()} == names | {
        "model.lock.json",
        "golden.json",
        "draft.json",
    }
    for name in names:
        assert (folder / name).read_bytes() == (tiny_folder / name).read_bytes()
    assert not any("pytorch" in path for path in hub.asked), "a pickle is never asked for"
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["siglip"]
    lock = json.loads((folder / "model.lock.json").read_text())
    assert lock["open_clip_model.safetensors"] == {
        "repo": WEIGHTS,
        "commit": "a" * 40,
        "sha256": hashlib.sha256((tiny_folder / "open_clip_model.safetensors").read_bytes()).hexdigest(),
    }
    assert lock["tokenizer.json"]["commit"] == "b" * 40
    assert check_lock(folder) == len(names)
    assert read_golden(report.spec) is not None
    assert read_draft(report.spec) is not None

    monkeypatch.setattr(socket, "socket", None)
    encoder = load(f"local-dir:{folder}")
    np.testing.assert_allclose(encoder.encode_texts(["red"]), tiny_encoder.encode_texts(["red"]), atol=1e-6)
    assert encoder.spec == tiny_encoder.spec
    encoder.close()


def test_a_second_pull_needs_no_network(hub: FakeHub, tmp_path: Path) -> None:
    first = pull(hub, tmp_path / "m")
    hub.asked.clear()
    again = pull_model(tmp_path / "m", Hub("http://127.0.0.1:9"), load=must_not_load)
    assert (again.spec, again.downloaded, hub.asked) == (first.spec, (), [])


def test_damage_is_found_and_mended_from_the_pinned_commit(hub: FakeHub, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    pull(hub, folder)
    right = (folder / "tokenizer.json").read_bytes()
    (folder / "tokenizer.json").write_bytes(b"{}")
    with pytest.raises(ModelError, match=r"tokenizer\.json differ"):
        check_lock(folder)
    pull(hub, folder)
    assert (folder / "tokenizer.json").read_bytes() == right
    assert not any("revision/main" in path for path in hub.asked[-9:]), "the lock's commits are asked for"


def test_a_lock_file_gives_the_same_bytes_or_nothing(hub: FakeHub, tmp_path: Path) -> None:
    pull(hub, tmp_path / "first")
    lock = tmp_path / "pins.json"
    shutil.copy(tmp_path / "first" / "model.lock.json", lock)
    second = pull(hub, tmp_path / "second", lock=lock)
    assert second.spec == read_spec(f"local-dir:{tmp_path / 'first'}")
    # The same commit serves other bytes, with digests of its own that agree with them.
    hub.repos[TOKENIZER]["tokenizer_config.json"] += b"\n"
    with pytest.raises(ModelError, match="not the file that was pinned"):
        pull(hub, tmp_path / "third", lock=lock)
    assert not (tmp_path / "third").exists()


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "tokenizer.json"])
def test_other_bytes_than_the_hub_announces_are_refused(hub: FakeHub, tmp_path: Path, name: str) -> None:
    data = bytearray(hub.repos[WEIGHTS if name in LARGE else TOKENIZER][name])
    data[-1] ^= 1
    hub.altered[name] = bytes(data)
    with pytest.raises(ModelError, match=rf"{name}.*altered"):
        pull(hub, tmp_path / "m")
    hub.altered[name] = bytes(data[:-5])
    with pytest.raises(ModelError, match=rf"{name}.*instead of"):
        pull(hub, tmp_path / "m")
    hub.altered.clear()
    hub.cut.add(name)
    with pytest.raises(ModelError, match=rf"{name}.*run it again"):
        pull(hub, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_what_the_card_says_is_asserted(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = Expected((SIZE, SIZE), 0.48, 0.5, "shortest", "bicubic", 64)
    monkeypatch.setattr(pull_module, "EXPECTED", {WEIGHTS: wrong})
    with pytest.raises(ModelError, match=r"mean.*resize mode.*context length 12 instead of 64"):
        pull(hub, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_pickled_weights_are_refused(hub: FakeHub, tmp_path: Path) -> None:
    del hub.repos[WEIGHTS]["open_clip_model.safetensors"]
    with pytest.raises(ModelError, match=r"open_clip_model\.safetensors.*only safetensors"):
        pull(hub, tmp_path / "m")


def test_unknown_repositories_and_revisions_are_named(hub: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"404 for revision 'main' of no/such"):
        pull(hub, tmp_path / "m", repo="no/such")
    with pytest.raises(ModelError, match=r"404 for revision 'v9'"):
        pull(hub, tmp_path / "m", revision="v9")


def test_offline_it_ends_at_once_and_says_what_to_do(tmp_path: Path) -> None:
    began = time.monotonic()
    for endpoint in ("http://127.0.0.1:9", "http://hub.invalid"):
        with pytest.raises(ModelError, match=r"cannot be reached.*copy the folder here"):
            pull_model(tmp_path / "m", Hub(endpoint), load=must_not_load)
    assert time.monotonic() - began < 5
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_hub_is_said_to_be_none(hub: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no http"):
        pull_model(tmp_path / "m", Hub("file:///etc"), load=must_not_load)
    hub.about = lambda repo: {"hello": repo}  # type: ignore[method-assign]
    with pytest.raises(ModelError, match="does not answer as a model hub"):
        pull(hub, tmp_path / "m")


def test_a_folder_of_other_things_is_left_alone(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "thesis.txt").write_text("mine")
    with pytest.raises(ModelError, match="were not pulled"):
        pull(hub, tmp_path / "m")
    assert (tmp_path / "m" / "thesis.txt").read_text() == "mine"
    assert hub.asked == []


def test_the_token_goes_to_the_hub_and_not_to_its_storage(hub: FakeHub, tmp_path: Path) -> None:
    pull_model(tmp_path / "m", Hub(hub.endpoint, "secret"), load=load)
    signed = {path: token for path, token in hub.tokens.items() if path.endswith("?signed")}
    assert len(signed) == 1
    assert set(signed.values()) == {None}
    assert {token for path, token in hub.tokens.items() if path not in signed} == {"Bearer secret"}
