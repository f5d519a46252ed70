"""Training learns, and leaves a folder that open_clip reads without a network."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fashion_pipeline.demo.garments import held_out
from fashion_pipeline.demo.training import Plan, evaluate, train
from fashion_pipeline.demo.training_data import Batches, choose, draw_all

TINY = Plan(
    steps=30, drawings=128, batch=32, rate=2e-3, warm_up=5, save_every=10, image_layers=1, image_width=64,
    text_layers=1, text_width=64
)  # fmt: skip


def test_nothing_held_out_is_trained_on() -> None:
    trained = choose(6000, seed=7, holdout=False)
    kept = choose(1000, seed=0, holdout=True)
    assert len(set(kept)) == 1000
    assert all(held_out(g) for g in kept)
    assert not any(held_out(g) for g in trained)
    assert 0.1 < sum(g.pattern == "solid" for g in trained) / 6000 < 0.16


def test_a_hard_batch_is_of_few_kinds_or_colors() -> None:
    garments = choose(3000, seed=1, holdout=False)
    batches = Batches(garments, 64, random.Random(0))
    assert len({garments[p].kind for p in batches.next("kind")}) == 4
    assert len({garments[p].color for p in batches.next("color")}) == 4
    assert len({garments[p].kind for p in batches.next()}) > 8
    assert len(set(batches.next("kind"))) == 64


def test_drawings_are_cached_by_place(tmp_path: Path) -> None:
    garments = choose(40, seed=2, holdout=False)
    seen: list[int] = []
    pictures = draw_all(garments, tmp_path / "cache", workers=1, progress=seen.append)
    assert pictures.shape == (40, 112, 112, 3)
    assert pictures.dtype == np.uint8
    assert seen[-1] == 40
    assert all(pictures[n].std() > 5 for n in range(40))


@pytest.mark.timeout(300)
def test_a_few_steps_lower_the_loss_and_leave_a_loadable_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    told: list[str] = []
    losses = train(tmp_path / "model", TINY, say=told.append)
    assert len(losses) == 30
    assert sum(losses[-5:]) / 5 < losses[0] - 0.3
    assert any("min CPU" in line for line in told)
    assert not list((tmp_path / "model").glob("*.part"))
    found = evaluate(tmp_path / "model", count=50)
    assert 0 <= found.recall_at_1 <= found.recall_at_10 <= 1


def test_the_clock_ends_a_training(tmp_path: Path) -> None:
    assert train(tmp_path / "model", replace(TINY, minutes=1e-9), say=lambda _: None) == []
    assert (tmp_path / "model" / "open_clip_model.safetensors").is_file()
