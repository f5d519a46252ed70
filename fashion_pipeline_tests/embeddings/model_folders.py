"""open_clip folders with random weights: the layout of a real model at the size of a test."""

import json
import string
from pathlib import Path
from typing import Any

SIZE = 64
CONTEXT = 12
WORDS = ("red", "blue", "striped", "dotted", "dress", "skirt", "bag", "a", "with")


def tiny_config(**changes: Any) -> dict[str, Any]:
    """A two-layer dual encoder of 768 dimensions; `changes` go into `model_cfg`."""
    model = {
        "embed_dim": 768,
        "custom_text": True,
        "vision_cfg": {
            "image_size": SIZE,
            "layers": 2,
            "width": 64,
            "head_width": 32,
            "patch_size": 16,
            "pool_type": "avg",
        },
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": 64,
            "hf_tokenizer_name": "test/tiny",
            "tokenizer_kwargs": {"clean": "canonicalize"},
            "width": 64,
            "heads": 2,
            "layers": 2,
            "no_causal_mask": True,
            "pool_type": "last",
        },
    }
    preprocess = {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "resize_mode": "squash",
    }
    return {"model_cfg": model | changes, "preprocess_cfg": preprocess}


def siglip_config() -> dict[str, Any]:
    """The architecture of Marqo/marqo-fashionSigLIP (its open_clip_config.json)."""
    return {
        "model_cfg": {
            "embed_dim": 768,
            "init_logit_bias": -10,
            "custom_text": True,
            "vision_cfg": {
                "image_size": 224,
                "timm_model_name": "vit_base_patch16_siglip_224",
                "timm_model_pretrained": False,
                "timm_pool": "map",
                "timm_proj": "none",
            },
            "text_cfg": {
                "context_length": 64,
                "vocab_size": 32000,
                "hf_tokenizer_name": "timm/ViT-B-16-SigLIP",
                "tokenizer_kwargs": {"clean": "canonicalize"},
                "width": 768,
                "heads": 12,
                "layers": 12,
                "no_causal_mask": True,
                "proj_bias": True,
                "pool_type": "last",
                "norm_kwargs": {"eps": 1e-6},
            },
        },
        "preprocess_cfg": {
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "interpolation": "bicubic",
            "resize_mode": "squash",
        },
    }


def write_tokenizer(folder: Path, context: int) -> None:
    """The three tokenizer files of a T5-like tokenizer with a handful of words."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    pieces = ["<pad>", "</s>", "<unk>", *WORDS, *(c for c in string.ascii_lowercase if c not in WORDS)]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordLevel(vocab=vocab, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": context, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "special_tokens_map.json").write_text(json.dumps(special))


def write_folder(folder: Path, config: dict[str, Any], seed: int = 1) -> Path:
    """A whole model folder with random weights."""
    write_weights(folder, config, seed)
    write_tokenizer(folder, config["model_cfg"]["text_cfg"]["context_length"])
    return folder


def write_weights(folder: Path, config: dict[str, Any], seed: int = 1) -> Path:
    """Config and random weights alone, which is all that pictures need."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(seed)
    model_config = json.loads(json.dumps(config["model_cfg"]))
    model_class = open_clip.CustomTextCLIP if model_config.pop("custom_text", False) else open_clip.CLIP
    model = model_class(**model_config)
    save_file(model.state_dict(), str(folder / "open_clip_model.safetensors"))
    return folder
