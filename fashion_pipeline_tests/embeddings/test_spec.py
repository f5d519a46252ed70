import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fashion_pipeline.embeddings.spec import ModelSpec, read_spec
from fashion_pipeline.errors import ModelError


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


def spec_of(folder: Path) -> ModelSpec:
    return read_spec(f"local-dir:{folder}")


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def set_in(*keys: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(config: dict[str, Any]) -> None:
        for key in keys[:-1]:
            config = config[key]
        config[keys[-1]] = to

    return change


def flip_weight(folder: Path) -> None:
    path = folder / "open_clip_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


IMAGE_CHANGES: dict[str, Callable[[Path], None]] = {
    "weights": flip_weight,
    "depth": lambda f: edit(f, set_in("model_cfg", "vision_cfg", "layers", to=3)),
    "activation": lambda f: edit(f, set_in("model_cfg", "quick_gelu", to=True)),
    "size": lambda f: edit(f, set_in("model_cfg", "vision_cfg", "image_size", to=96)),
    "mean": lambda f: edit(f, set_in("preprocess_cfg", "mean", to=[0.48, 0.46, 0.41])),
    "std": lambda f: edit(f, set_in("preprocess_cfg", "std", to=[0.27, 0.26, 0.28])),
    "resize mode": lambda f: edit(f, set_in("preprocess_cfg", "resize_mode", to="shortest")),
    "interpolation": lambda f: edit(f, set_in("preprocess_cfg", "interpolation", to="bilinear")),
}
TEXT_CHANGES: dict[str, Callable[[Path], None]] = {
    "context": lambda f: edit(f, set_in("model_cfg", "text_cfg", "context_length", to=16)),
    "cleaning": lambda f: edit(f, set_in("model_cfg", "text_cfg", "tokenizer_kwargs", to={"clean": "lower"})),
    "tokenizer": lambda f: (f / "tokenizer.json").write_text("{}") and None,
    "special tokens": lambda f: (f / "special_tokens_map.json").unlink(),
    "template": lambda f: edit(f, set_in("text_template", to="a photo of {}")),
}


@pytest.mark.parametrize("change", IMAGE_CHANGES.values(), ids=IMAGE_CHANGES)
def test_image_id_follows_what_shapes_an_image_vector(folder: Path, change: Callable[[Path], None]) -> None:
    before = spec_of(folder)
    change(folder)
    assert spec_of(folder).image_model_id != before.image_model_id


@pytest.mark.parametrize("change", TEXT_CHANGES.values(), ids=TEXT_CHANGES)
def test_text_side_has_an_id_of_its_own(folder: Path, change: Callable[[Path], None]) -> None:
    before = spec_of(folder)
    change(folder)
    after = spec_of(folder)
    assert after.text_model_id != before.text_model_id
    assert after.image_model_id == before.image_model_id


def test_id_does_not_follow_the_path_or_the_layout_of_the_config(tiny_spec: ModelSpec, folder: Path) -> None:
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "another/name"
    path.write_text(json.dumps(config, indent=4, sort_keys=True))
    moved = spec_of(folder)
    assert moved == tiny_spec
    assert moved.ref != tiny_spec.ref
    assert (moved.image_model_id, moved.text_model_id) == (tiny_spec.image_model_id, tiny_spec.text_model_id)


def test_id_is_short_and_safe_in_paths_and_collection_names(tiny_spec: ModelSpec) -> None:
    name, _, digits = tiny_spec.image_model_id.rpartition("-")
    assert name == "vit-2x64-p16-64"
    assert len(digits) == 12
    assert int(digits, 16) >= 0


def test_preprocessing_is_read_as_open_clip_reads_it(folder: Path) -> None:
    edit(folder, set_in("preprocess_cfg", to={"mean": 0.5, "std": None}))
    shape = spec_of(folder).preprocessing
    assert shape.size == (64, 64)
    assert shape.mean == (0.5, 0.5, 0.5)
    assert shape.std == (0.26862954, 0.26130258, 0.27577711)
    assert (shape.resize_mode, shape.interpolation) == ("shortest", "bicubic")


@pytest.mark.parametrize(
    "name",
    ["open_clip_config.json", "open_clip_model.safetensors", "tokenizer.json", "tokenizer_config.json"],
)
def test_missing_file_is_named_with_the_remedy(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError, match=rf"(?s){name}.*model pull"):
        spec_of(folder)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere"):
        spec_of(tmp_path / "nowhere")


@pytest.mark.parametrize("ref", ["hf-hub:Marqo/marqo-fashionSigLIP", "ViT-B-32", "local-dir:", ""])
def test_only_local_folders_are_models(ref: str) -> None:
    with pytest.raises(ModelError, match="local-dir"):
        read_spec(ref)


def test_another_dimension_is_refused(folder: Path) -> None:
    edit(folder, set_in("model_cfg", "embed_dim", to=512))
    with pytest.raises(ModelError, match="512"):
        spec_of(folder)


@pytest.mark.parametrize("name", ["open_clip_pytorch_model.bin", "model.pth", "weights.pt"])
def test_pickled_weights_are_refused(folder: Path, name: str) -> None:
    (folder / "open_clip_model.safetensors").rename(folder / name)
    with pytest.raises(ModelError, match=rf"{name}.*pickled"):
        spec_of(folder)


def test_pickle_under_the_name_of_safetensors_is_refused(folder: Path) -> None:
    import torch

    torch.save({"visual.proj": torch.zeros(3)}, folder / "open_clip_model.safetensors")
    with pytest.raises(ModelError, match="not a safetensors file"):
        spec_of(folder)


@pytest.mark.parametrize("size", [0, 5, 300, -1])
def test_weights_cut_short_are_refused(folder: Path, size: int) -> None:
    path = folder / "open_clip_model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ModelError, match=r"open_clip_model\.safetensors"):
        spec_of(folder)


def test_contradicting_sizes_are_refused(folder: Path) -> None:
    edit(folder, set_in("preprocess_cfg", "size", to=[224, 224]))
    with pytest.raises(ModelError, match="contradicts"):
        spec_of(folder)


@pytest.mark.parametrize("text", ["{", "[]", '{"model_cfg": 3}', '{"model_cfg": {"embed_dim": 768}}'])
def test_unreadable_config_is_refused(folder: Path, text: str) -> None:
    (folder / "open_clip_config.json").write_text(text)
    with pytest.raises(ModelError, match=r"open_clip_config\.json"):
        spec_of(folder)


def test_digest_of_weights_is_kept_until_the_file_changes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []
    import fashion_pipeline.embeddings.spec as module

    real = module.sha256_file
    monkeypatch.setattr(module, "sha256_file", lambda path: calls.append(path) or real(path))
    first = spec_of(folder)
    assert spec_of(folder) == first
    weights = folder / "open_clip_model.safetensors"
    assert calls.count(weights) == 1
    flip_weight(folder)
    assert spec_of(folder).weights_sha256 != first.weights_sha256


def test_only_the_load_imports_torch_and_workers_not_even_numpy() -> None:
    code = (
        "import sys\n"
        "import fashion_pipeline.embeddings.worker\n"
        "assert 'numpy' not in sys.modules, 'numpy'\n"
        "import fashion_pipeline.embeddings.pipeline, fashion_pipeline.embeddings.encoder\n"
        "import fashion_pipeline.embeddings.shards, fashion_pipeline.embeddings.checks\n"
        "banned = {'torch', 'open_clip', 'transformers', 'dagster', 'sqlalchemy'} & set(sys.modules)\n"
        "assert not banned, banned\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
