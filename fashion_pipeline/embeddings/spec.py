"""What a model is: its identity, read from an open_clip folder without importing torch.

The image side and the text side have ids of their own: a new tokenizer does not make a stored image
vector wrong. Device, precision and decode mode are no part of an id: they are provenance of a vector.
"""

import hashlib
import json
import re
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fashion_pipeline.errors import ModelError
from fashion_pipeline.ids import sha256_file

DIMENSION = 768
LOCAL_DIR = "local-dir:"
CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
OPTIONAL_TOKENIZER_FILES = ("special_tokens_map.json", "added_tokens.json", "spiece.model")

# What open_clip assumes where a config is silent (open_clip/constants.py, transform.py, model.py).
_OPEN_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_OPEN_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_OPEN_CLIP_SIZE = 224
_OPEN_CLIP_CONTEXT = 77

_REMEDY = (
    f"A model folder holds {CONFIG_FILE}, {WEIGHTS_FILE}, {' and '.join(TOKENIZER_FILES)}; "
    "get one with `fashion-pipeline model pull`, or name another folder"
)
_MAX_SAFETENSORS_HEADER = 100_000_000  # the format's own limit
_weights_digests: dict[tuple[str, int, int], str] = {}


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the model's input, as open_clip's `preprocess_cfg` says it.

    `size` is (height, width) in pixels; `mean` and `std` are per RGB channel on a scale of 0 to 1.
    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize_mode: str
    interpolation: str
    fill_color: int = 0


@dataclass(frozen=True)
class TextSpec:
    """The text side: `context_length` in tokens; `template` holds one `{}` for the query."""

    context_length: int
    tokenizer_sha256: str
    config_sha256: str
    template: str


@dataclass(frozen=True)
class ModelSpec:
    """An image and text encoder. `ref` says where it lies and is no part of what it is."""

    architecture: str
    architecture_sha256: str
    weights_sha256: str
    preprocessing: Preprocessing
    dimension: int
    text: TextSpec
    ref: str = field(compare=False)

    @property
    def image_model_id(self) -> str:
        """A readable name and 12 hexadecimal digits over all that shapes an image vector."""
        identity = {
            "architecture": self.architecture_sha256,
            "weights": self.weights_sha256,
            "preprocessing": asdict(self.preprocessing),
            "dimension": self.dimension,
        }
        return f"{self.architecture}-{_digest(identity)[:12]}"

    @property
    def text_model_id(self) -> str:
        """Like `image_model_id`, over all that shapes a text vector."""
        identity = {"weights": self.weights_sha256, "dimension": self.dimension, "text": asdict(self.text)}
        return f"text-{_digest(identity)[:12]}"

    @property
    def folder(self) -> Path:
        """The folder that `ref` names."""
        return folder_of(self.ref)


def folder_of(ref: str) -> Path:
    """The folder of a `local-dir:<path>` reference.

    Raises:
        ModelError: the reference is of another kind.
    """
    if not ref.startswith(LOCAL_DIR) or ref == LOCAL_DIR:
        raise ModelError(
            f"model reference {ref!r}: only '{LOCAL_DIR}<folder>' is loaded, so that a run needs no network. "
            + _REMEDY
        )
    return Path(ref.removeprefix(LOCAL_DIR)).expanduser()


def read_spec(ref: str) -> ModelSpec:
    """Read the identity of the model in the folder that `ref` (`local-dir:<path>`) names.

    The digest of the weights is kept in memory by path, size and time of change.

    Raises:
        ModelError: something is missing, unreadable, not safetensors, or not 768-dimensional.
    """
    folder = folder_of(ref)
    if not folder.is_dir():
        raise ModelError(f"model folder {str(folder)!r} does not exist. {_REMEDY}")
    config = _read_config(folder / CONFIG_FILE)
    model = _mapping(config, "model_cfg", folder)
    vision, text = _mapping(model, "vision_cfg", folder), _mapping(model, "text_cfg", folder)
    dimension = model.get("embed_dim")
    if dimension != DIMENSION:
        raise ModelError(
            f"model in {str(folder)!r} gives {dimension!r}-dimensional vectors; products, shards and the "
            f"collection hold {DIMENSION}: name a model whose embed_dim is {DIMENSION}"
        )
    preprocessing = _preprocessing(config.get("preprocess_cfg") or {}, vision, folder)
    image_side = {"vision_cfg": vision, "quick_gelu": bool(model.get("quick_gelu", False))}
    return ModelSpec(
        architecture=_architecture_name(vision, preprocessing),
        architecture_sha256=_digest(image_side),
        weights_sha256=_weights_digest(folder),
        preprocessing=preprocessing,
        dimension=DIMENSION,
        text=_text_spec(text, str(config.get("text_template", "{}")), folder),
        ref=ref,
    )


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"model folder {str(path.parent)!r} has no {path.name}. {_REMEDY}") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{str(path)!r} cannot be read as JSON ({error}). {_REMEDY}") from error
    if not isinstance(config, dict):
        raise ModelError(f"{str(path)!r} is not a JSON object. {_REMEDY}")
    return config


def _mapping(config: Mapping[str, Any], key: str, folder: Path) -> Mapping[str, Any]:
    value = config.get(key)
    if not isinstance(value, dict):
        raise ModelError(f"{CONFIG_FILE} in {str(folder)!r} has no {key!r}. {_REMEDY}")
    return value


def _preprocessing(config: Mapping[str, Any], vision: Mapping[str, Any], folder: Path) -> Preprocessing:
    # open_clip takes the size from the image tower and the rest from preprocess_cfg, without a word
    # where the two disagree.
    size = _pair(vision.get("image_size") or _OPEN_CLIP_SIZE)
    stated = config.get("size")
    if stated is not None and _pair(stated) != size:
        raise ModelError(
            f"{CONFIG_FILE} in {str(folder)!r} contradicts itself: preprocess_cfg.size is {stated}, "
            f"vision_cfg.image_size is {list(size)}: mend the file"
        )
    interpolation = config.get("interpolation") or "bicubic"
    resize_mode = config.get("resize_mode") or "shortest"
    if resize_mode not in ("squash", "shortest", "longest") or interpolation not in (
        "bicubic",
        "bilinear",
        "random",
    ):
        raise ModelError(
            f"{CONFIG_FILE} in {str(folder)!r}: resize_mode {resize_mode!r} with interpolation "
            f"{interpolation!r} is not known: use squash, shortest or longest with bicubic or bilinear"
        )
    return Preprocessing(
        size=size,
        mean=_channels(config.get("mean") or _OPEN_CLIP_MEAN),
        std=_channels(config.get("std") or _OPEN_CLIP_STD),
        resize_mode=resize_mode,
        # `random` is a training option; at inference open_clip takes bicubic for it.
        interpolation="bilinear" if interpolation == "bilinear" else "bicubic",
        fill_color=int(config.get("fill_color") or 0),
    )


def _pair(size: Any) -> tuple[int, int]:
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return int(height), int(width)


def _channels(value: Any) -> tuple[float, float, float]:
    red, green, blue = value if isinstance(value, list | tuple) else (value,) * 3
    return float(red), float(green), float(blue)


def _text_spec(text: Mapping[str, Any], template: str, folder: Path) -> TextSpec:
    if template.count("{}") != 1:
        raise ModelError(f"{CONFIG_FILE} in {str(folder)!r}: text_template {template!r} must hold one {{}}")
    files: dict[str, str] = {}
    if text.get("hf_tokenizer_name"):
        for name in (*TOKENIZER_FILES, *OPTIONAL_TOKENIZER_FILES):
            path = folder / name
            if path.is_file():
                files[name] = sha256_file(path)
            elif name in TOKENIZER_FILES:
                raise ModelError(f"model folder {str(folder)!r} has no {name}. {_REMEDY}")
    # Where the tokenizer comes from upstream says nothing about what it does: its files do.
    shape = {key: value for key, value in text.items() if key != "hf_tokenizer_name"}
    return TextSpec(
        context_length=int(text.get("context_length") or _OPEN_CLIP_CONTEXT),
        tokenizer_sha256=_digest(files),
        config_sha256=_digest(shape),
        template=template,
    )


def _weights_digest(folder: Path) -> str:
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        pickles = sorted(p.name for p in folder.iterdir() if p.suffix in (".bin", ".pt", ".pth", ".ckpt"))
        if pickles:
            raise ModelError(
                f"model folder {str(folder)!r} has {', '.join(pickles)} but no {WEIGHTS_FILE}: pickled "
                "weights can run code and are never loaded; convert them to safetensors"
            )
        raise ModelError(f"model folder {str(folder)!r} has no {WEIGHTS_FILE}. {_REMEDY}")
    stat = path.stat()
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
    if key not in _weights_digests:
        _check_safetensors(path, stat.st_size)
        _weights_digests[key] = sha256_file(path)
    return _weights_digests[key]


def _check_safetensors(path: Path, size: int) -> None:
    """Compare the header with the file: finds a pickle under this name and a download cut short."""
    with path.open("rb") as stream:
        prefix = stream.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else _MAX_SAFETENSORS_HEADER + 1
        try:
            if length > _MAX_SAFETENSORS_HEADER:
                raise ValueError("no header")
            header = json.loads(stream.read(length))
            ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise ModelError(f"{str(path)!r} is not a safetensors file ({error}). {_REMEDY}") from error
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        raise ModelError(
            f"{str(path)!r} has {size} bytes but its header describes {expected}: the copy is incomplete; "
            "copy or pull it again"
        )


def _architecture_name(vision: Mapping[str, Any], preprocessing: Preprocessing) -> str:
    name = vision.get("timm_model_name") or (
        f"vit-{vision.get('layers', 12)}x{vision.get('width', 768)}"
        f"-p{vision.get('patch_size', 16)}-{preprocessing.size[0]}"
    )
    return re.sub(r"[^a-z0-9]+", "-", str(name).lower()).strip("-")


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
