"""`fashion-pipeline embeddings ...` and `model ...` over the filled small world, as a person calls them."""

import json
import shutil
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from fashion_pipeline.embeddings.draft import hard_photos
from fashion_pipeline_tests.commands.conftest import Said
from fashion_pipeline_tests.small_world import SmallWorld

Command = Callable[..., Said]


def shards(world: SmallWorld) -> dict[str, list[str]]:
    found = {}
    for path in sorted((world.data / "embeddings").rglob("*.parquet")):
        found[str(path.relative_to(world.data))] = pq.read_table(path, partitioning=None)[
            "sha256"
        ].to_pylist()
    return found


def ledger(world: SmallWorld) -> dict[str, str]:
    with world.database.connection() as connection:
        return dict(
            tuple(row) for row in connection.execute(text("SELECT image_sha256, shard_key FROM embeddings"))
        )


def test_vectors_are_verified_merged_and_old_files_collected(
    filled_world: SmallWorld, here: SmallWorld, fashion_pipeline: Command
) -> None:
    pictures, before = set(ledger(here)), shards(here)
    said = fashion_pipeline("embeddings", "verify", "--sample", 5)
    assert (said.code, said.error) == (0, "")
    assert f"{min(5, len(pictures))} of" in said.out
    assert "worst 1.0" in said.out or "worst 0.9999" in said.out

    said = fashion_pipeline("embeddings", "compact")
    assert said.code == 0
    if len(before) > 1:
        assert f"{len(before)} merged into 1" in said.out
    assert set(ledger(here)) == pictures
    assert set(ledger(here).values()) <= set(shards(here))

    said = fashion_pipeline("embeddings", "collect", "--remove")
    assert "0 of them old enough" in said.out
    assert set(before) <= set(shards(here))
    fashion_pipeline("embeddings", "collect", "--hours", 0, "--remove")
    assert set(shards(here)) == set(ledger(here).values())
    assert fashion_pipeline("embeddings", "compact").out.endswith("nothing to merge\n")
    assert fashion_pipeline("embeddings", "verify").code == 0


def test_a_lost_shard_is_named_and_mended(
    filled_world: SmallWorld, here: SmallWorld, fashion_pipeline: Command
) -> None:
    lost = next(iter(shards(here)))
    rows = [digest for digest, key in ledger(here).items() if key == lost]
    (here.data / lost).unlink()
    said = fashion_pipeline("embeddings", "verify")
    assert said.code == 1
    assert f"cannot be read: {min(rows)}" in said.out
    assert "--repair" in said.out
    said = fashion_pipeline("embeddings", "verify", "--repair")
    assert f"{len(rows)} vectors are forgotten" in said.out
    assert not set(rows) & set(ledger(here))


def test_model_check_says_all_of_a_model(here: SmallWorld, fashion_pipeline: Command) -> None:
    said = fashion_pipeline("model", "check")
    assert said.code == 0
    for words in (
        "vit-6x192-p16-112-66092b008e5d", "text-", "weights sha256", "112, 112", "0.5, 0.5, 0.5", "squash",
        "bicubic", "context length", "24", "768", "cpu", "fp32", "image norm", "1.0", "images per second", "golden",
        "draft", "torch=",
    ):  # fmt: skip
        assert words in said.out, words


def test_a_folder_is_completed(
    here: SmallWorld,
    fashion_pipeline: Command,
    demo_model: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = Path(shutil.copytree(demo_model.removeprefix("local-dir:"), tmp_path / "model"))
    golden = json.loads((folder / "golden.json").read_text())
    for name in ("golden.json", "draft.json"):
        (folder / name).unlink()
    photos = tmp_path / "photos"
    photos.mkdir()
    monkeypatch.setenv("FASHION_PIPELINE_MODEL", f"local-dir:{folder}")
    said = fashion_pipeline("model", "keep", "--photos", photos)
    assert said.code == 1
    assert "no JPEGs" in said.error
    some = list(islice(hard_photos(), 2))
    monkeypatch.setattr("fashion_pipeline.commands.model.hard_photos", lambda: some)
    said = fashion_pipeline("model", "keep")
    assert said.code == 0
    assert "it is used from now on" in said.out
    again = json.loads((folder / "golden.json").read_text())
    assert np.allclose(again["image"], golden["image"], atol=1e-4)
    assert json.loads((folder / "draft.json").read_text())["pictures"] == 2


def test_pulling_offline_ends_at_once_with_a_clear_message(
    silent: Path, fashion_pipeline: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    said = fashion_pipeline("model", "pull", tmp_path / "m")
    assert said.code == 1
    assert "HF_HUB_OFFLINE" in said.error
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    began = time.monotonic()
    said = fashion_pipeline("model", "pull", tmp_path / "m")
    assert time.monotonic() - began < 5
    assert said.code == 1
    assert "the hub http://hub.invalid cannot be reached" in said.error
    assert "copy the folder here" in said.error
    assert not (tmp_path / "m").exists()
