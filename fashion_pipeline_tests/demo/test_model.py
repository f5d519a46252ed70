"""The shipped demo model: whole, small, loadable offline, and as good as its card says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import fashion_pipeline.demo as demo
from fashion_pipeline.demo import tokenizer
from fashion_pipeline.demo.garments import Garment, draw
from fashion_pipeline.demo.training import Plan, evaluate, write_config

MODEL = Path(demo.__file__).parent / "model"
FILES = {
    "README.md",
    "draft.json",
    "golden.json",
    "open_clip_config.json",
    "open_clip_model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
}


def test_the_folder_is_whole_and_small() -> None:
    found = {p.name: p.stat().st_size for p in MODEL.iterdir()}
    assert found.keys() == FILES
    assert sum(found.values()) < 10_000_000


def test_the_files_are_those_that_the_code_writes(tmp_path: Path) -> None:
    """Other words or another size of model need another training."""
    write_config(tmp_path, Plan())
    for name in FILES - {"README.md", "draft.json", "golden.json", "open_clip_model.safetensors"}:
        assert json.loads((MODEL / name).read_text()) == json.loads((tmp_path / name).read_text()), name


def test_the_preprocessing_is_that_of_siglip() -> None:
    config = json.loads((MODEL / "open_clip_config.json").read_text())
    assert config["model_cfg"]["embed_dim"] == 768
    assert config["preprocess_cfg"] == {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "resize_mode": "squash",
    }
    assert config["model_cfg"]["text_cfg"]["context_length"] == tokenizer.CONTEXT_LENGTH


@pytest.mark.timeout(240)
def test_held_out_looks_are_found() -> None:
    """A floor for the figures of the card; about 25 s on 2 cores."""
    found = evaluate(MODEL, count=1000)
    assert found.recall_at_1 >= 0.80
    assert found.recall_at_10 >= 0.98
    assert found.paraphrased_recall_at_10 >= 0.95


def test_short_queries_find_what_they_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import open_clip
    import torch

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{MODEL}")
    model.eval()
    tokenize = open_clip.get_tokenizer(f"local-dir:{MODEL}")
    looks = [
        Garment("dress", "red", "striped", "white", "short"),
        Garment("dress", "blue", "dotted", "white", "long"),
        Garment("bag", "black", "solid", None, "short"),
        Garment("skirt", "green", "checked", "yellow", "long"),
        Garment("sneakers", "white", "solid", None, "regular"),
        Garment("hat", "beige", "floral", "brown", "regular"),
        Garment("socks", "pink", "zigzag", "purple", "long"),
        Garment("trousers", "grey", "solid", None, "long"),
    ]
    queries = [
        "red striped dress",
        "polka dot gown",
        "black handbag",
        "plaid skirt",
        "trainers",
        "Floral hat!",
        "zig-zag socks",
        "grey pants",
    ]
    with torch.inference_mode():
        pictures = torch.stack([preprocess(draw(look, seed=77, size=400)) for look in looks])
        images = model.encode_image(pictures, normalize=True)
        texts = model.encode_text(tokenize(queries), normalize=True)
    assert images.shape == (8, 768)
    assert np.argmax((texts @ images.T).numpy(), axis=1).tolist() == list(range(8))
