"""Loading a model and turning pixels and texts into unit vectors. torch is imported inside functions only."""

import contextlib
import gc
import logging
import os
import platform
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fashion_pipeline.embeddings.golden import (
    GOLDEN_TEXT,
    MIN_COSINE,
    golden_picture,
    hold_against,
    read_golden,
)
from fashion_pipeline.embeddings.machine import available_cores
from fashion_pipeline.embeddings.spec import DIMENSION, ModelSpec, read_spec
from fashion_pipeline.embeddings.vectors import EncoderMemoryError, Pixels, Provenance, Vectors, unit_vectors
from fashion_pipeline.errors import ModelError

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

# Below this size of the image tower fp32 is as fast on a CPU (3 million weights at 224 px: 41-45 images/s
# against 34), and the choice must not hang on a measurement: a resumed run has to choose the same.
_BF16_MIN_WEIGHTS = 30_000_000
_PROBE_IMAGES = 4
_CPU_BATCH = 32  # the rate is flat from here on; more only delays the first results
_GPU_BATCH = 256
_TEXT_BATCH = 64
_LIBRARIES = ("open_clip_torch", "pillow", "timm", "torch")


class Encoder:
    """A loaded model. Not for use from two threads at once. Close it to free its memory."""

    def __init__(self, spec: ModelSpec, model: Any, device: "torch.device", precision: str) -> None:
        self._spec = spec
        self._model = model
        self._device = device
        self._precision = precision
        self._tokenizer: Any = None

    @property
    def spec(self) -> ModelSpec:
        """The model's identity."""
        return self._spec

    @property
    def device(self) -> str:
        """`cpu`, or the GPU's name."""
        import torch

        return torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else self._device.type

    @property
    def precision(self) -> str:
        """`fp32`, or `bf16` for matrix products in bfloat16 with float32 weights and sums."""
        return self._precision

    @property
    def batch_size(self) -> int:
        """Images that keep the device busy without filling its memory."""
        return _GPU_BATCH if self._device.type == "cuda" else _CPU_BATCH

    def provenance(self, decode_mode: str = "full") -> Provenance:
        """How this encoder computes, for a shard."""
        return Provenance(self.device, self._precision, decode_mode, library_versions())

    def encode_images(self, pixels: Pixels) -> Vectors:
        """Unit vectors, float32 [n, 768], of uint8 images [n, height, width, 3] at the model's size.

        Raises:
            BadVectorError: some images gave NaN, infinity or zero; it names them.
            EncoderMemoryError: the batch does not fit; a smaller one may.
            ModelError: the images have another size than the model takes.
        """
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (*self._spec.preprocessing.size, 3):
            raise ModelError(
                f"{self._spec.image_model_id} takes uint8 images [n, {self._spec.preprocessing.size}, 3], "
                f"not {pixels.dtype} {pixels.shape}"
            )
        if len(pixels) == 0:
            return np.empty((0, DIMENSION), dtype=np.float32)
        return unit_vectors(self._image_features(pixels, self._precision))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32 [n, 768], of queries, each put into the model's template.

        Raises:
            BadVectorError: as `encode_images`.
            ModelError: the tokenizer is missing or does not fit the model.
        """
        import torch

        if not texts:
            return np.empty((0, DIMENSION), dtype=np.float32)
        queries = [self._spec.text.template.replace("{}", text) for text in texts]
        parts: list[Vectors] = []
        for start in range(0, len(queries), _TEXT_BATCH):
            tokens = self._tokenize(queries[start : start + _TEXT_BATCH])
            with torch.inference_mode():
                features = self._model.encode_text(tokens.to(self._device), normalize=False)
            parts.append(features.float().cpu().numpy())
        return unit_vectors(np.concatenate(parts))

    def check_image_side(self) -> None:
        """Hold the image side against the folder's golden vector, where it has one.

        Raises:
            ModelError: they differ.
        """
        golden = read_golden(self._spec)
        if golden is not None:
            picture = golden_picture(*self._spec.preprocessing.size)
            hold_against(golden.image, self.encode_images(picture[None])[0], "image", self._spec.ref)

    def close(self) -> None:
        """Free the model's memory; the encoder cannot be used afterwards."""
        self._model = self._tokenizer = None
        gc.collect()
        if self._device.type == "cuda":
            import torch

            torch.cuda.empty_cache()

    def _image_features(self, pixels: Pixels, precision: str) -> Vectors:
        import torch

        shape = self._spec.preprocessing
        try:
            with torch.inference_mode():
                # torch warns of arrays that it may not write to, and takes no negative strides.
                batch = torch.from_numpy(np.require(pixels, requirements=("C", "W")))
                if self._device.type == "cuda":
                    batch = batch.pin_memory().to(self._device, non_blocking=True)
                # NHWC bytes seen as NCHW are channels-last already; the arithmetic is torchvision's
                # ToTensor and Normalize, on the device.
                images = batch.permute(0, 3, 1, 2).float().div_(255.0)
                mean = torch.tensor(shape.mean, device=self._device).view(3, 1, 1)
                std = torch.tensor(shape.std, device=self._device).view(3, 1, 1)
                images.sub_(mean).div_(std)
                with torch.autocast(self._device.type, torch.bfloat16, enabled=precision == "bf16"):
                    features = self._model.encode_image(images, normalize=False)
                array: Vectors = features.float().cpu().numpy()
                return array
        except (torch.OutOfMemoryError, MemoryError) as error:
            self._free_cache()
            raise EncoderMemoryError(
                f"{len(pixels)} images do not fit into the memory of {self._device}"
            ) from error
        except RuntimeError as error:
            # The CPU allocator says it in words only (c10/core/impl/alloc_cpu.cpp).
            if "not enough memory" not in str(error) and "can't allocate memory" not in str(error):
                raise
            raise EncoderMemoryError(f"{len(pixels)} images do not fit into memory") from error

    def _free_cache(self) -> None:
        if self._device.type == "cuda":
            import torch

            torch.cuda.empty_cache()

    def _tokenize(self, texts: list[str]) -> "torch.Tensor":
        if self._tokenizer is None:
            self._tokenizer = _load_tokenizer(self._spec)
            golden = read_golden(self._spec)
            if golden is not None:
                hold_against(golden.text, self.encode_texts([GOLDEN_TEXT])[0], "text", self._spec.ref)
        tokens: torch.Tensor = self._tokenizer(texts)
        expected = (len(texts), self._spec.text.context_length)
        if tuple(tokens.shape) != expected:
            raise ModelError(f"the tokenizer of {self._spec.ref} gave {tuple(tokens.shape)}, not {expected}")
        vocabulary = getattr(self._model, "vocab_size", None) or getattr(
            getattr(self._model, "text", None), "vocab_size", None
        )
        if vocabulary is not None and int(tokens.max()) >= vocabulary:
            raise ModelError(
                f"the tokenizer of {self._spec.ref} gives token {int(tokens.max())}, but the model knows "
                f"{vocabulary}: the tokenizer files belong to another model"
            )
        return tokens


def load_encoder(ref: str, *, device: str = "auto", precision: str = "auto") -> Encoder:
    """Load the model in the folder that `ref` (`local-dir:<path>`) names; never touches the network.

    `device` is `auto`, `cpu`, `cuda` or `cuda:<n>`. `precision` is `fp32`, `bf16`, or `auto`: bf16 where the
    processor has it, the model is large enough to gain, and a probe keeps cosine 0.999 to fp32.

    Raises:
        ModelError: the folder is incomplete, or what loads is not what its files describe.
    """
    spec = read_spec(ref)
    if precision not in ("auto", "fp32", "bf16"):
        raise ModelError(f"precision {precision!r}: use auto, fp32 or bf16")
    import torch

    place = _device(device)
    if place.type == "cpu" and torch.get_num_threads() > available_cores():
        # A container may use fewer processors than it sees; more threads than those only wait on each other.
        torch.set_num_threads(available_cores())
    model = _load_model(spec, place)
    encoder = Encoder(spec, model, place, "fp32")
    probe = _probe_images(spec)
    reference = encoder.encode_images(probe)
    if precision == "bf16" or (precision == "auto" and _gains_from_bf16(model, place)):
        cosine = _worst_cosine(reference, Encoder(spec, model, place, "bf16").encode_images(probe))
        if cosine >= MIN_COSINE:
            encoder = Encoder(spec, model, place, "bf16")
        elif precision == "bf16":
            raise ModelError(
                f"{spec.image_model_id} in bf16 keeps only cosine {cosine:.5f} to fp32 "
                f"(at least {MIN_COSINE}): use precision fp32 or auto"
            )
    encoder.check_image_side()
    logger.info("loaded %s on %s in %s", spec.image_model_id, encoder.device, encoder.precision)
    return encoder


def library_versions() -> str:
    """The libraries that shape a vector, as `name=version` joined by blanks."""
    return " ".join(f"{name}={metadata.version(name)}" for name in _LIBRARIES)


def _device(name: str) -> "torch.device":
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"device {name!r} is not known: use auto, cpu, cuda or cuda:<n>") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(
            f"device {name!r} is not there: torch {torch.__version__} sees no CUDA GPU; use auto"
        )
    return device


def _load_model(spec: ModelSpec, device: "torch.device") -> Any:
    import torch

    try:
        with _offline(), _quiet_root_logger():
            import open_clip

            model = open_clip.create_model(
                f"local-dir:{spec.folder}", precision="fp32", device=device, require_pretrained=True
            )
    except (RuntimeError, ValueError, TypeError, KeyError, OSError, AssertionError) as error:
        raise ModelError(
            f"the model in {str(spec.folder)!r} does not load: its weights and config do not fit each other, "
            f"or open_clip does not know it ({str(error)[:500]})"
        ) from error
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    _check_preprocessing(spec, model)
    if device.type == "cuda":
        model = model.to(memory_format=torch.channels_last)
    return model


def _check_preprocessing(spec: ModelSpec, model: Any) -> None:
    """A wrong preprocessor changes every vector without an error: hold open_clip's against the spec."""
    loaded, shape = model.visual.preprocess_cfg, spec.preprocessing
    interpolation = "bilinear" if loaded["interpolation"] == "bilinear" else "bicubic"
    pairs = {
        "image size": (_as_tuple(loaded["size"], 2), shape.size),
        "mean": (_as_tuple(loaded["mean"], 3), shape.mean),
        "std": (_as_tuple(loaded["std"], 3), shape.std),
        "resize mode": (loaded["resize_mode"], shape.resize_mode),
        "interpolation": (interpolation, shape.interpolation),
        "context length": (_context_length(model), spec.text.context_length),
    }
    wrong = [f"{name} {got!r} instead of {want!r}" for name, (got, want) in pairs.items() if got != want]
    if wrong:
        raise ModelError(f"open_clip loads {spec.ref} with {', '.join(wrong)}: its vectors would be wrong")


def _context_length(model: Any) -> Any:
    own = getattr(model, "context_length", None)
    return own if own is not None else getattr(getattr(model, "text", None), "context_length", None)


def _as_tuple(value: Any, length: int) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,) * length


def _load_tokenizer(spec: ModelSpec) -> Any:
    try:
        with _offline(), _quiet_root_logger():
            import open_clip

            tokenizer = open_clip.get_tokenizer(f"local-dir:{spec.folder}")
    except (ImportError, RuntimeError, ValueError, TypeError, KeyError, OSError) as error:
        raise ModelError(
            f"the tokenizer in {str(spec.folder)!r} does not load ({str(error)[:500]})"
        ) from error
    if tokenizer.context_length != spec.text.context_length:
        raise ModelError(
            f"the tokenizer of {spec.ref} cuts at {tokenizer.context_length} tokens, "
            f"the model takes {spec.text.context_length}"
        )
    return tokenizer


def _gains_from_bf16(model: Any, device: "torch.device") -> bool:
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    weights = sum(parameter.numel() for parameter in model.visual.parameters())
    return weights >= _BF16_MIN_WEIGHTS and cpu_has_bf16()


def cpu_has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies bfloat16 itself, as Linux tells; elsewhere False."""
    if platform.system() != "Linux" or not cpuinfo.is_file():
        return False
    words = set(cpuinfo.read_text(encoding="utf-8", errors="replace").split())
    return bool(words & {"avx512_bf16", "amx_bf16", "bf16"})


def _probe_images(spec: ModelSpec) -> Pixels:
    """A few fixed pictures: smooth waves with a little noise, unlike each other."""
    height, width = spec.preprocessing.size
    generator = np.random.default_rng(20261101)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    images = []
    for _ in range(_PROBE_IMAGES):
        waves = [
            127.5 + 110 * np.sin(generator.uniform(2, 40) * (x * np.cos(a) + y * np.sin(a)))
            for a in generator.uniform(0, np.pi, size=3)
        ]
        images.append(np.stack(waves, axis=-1) + generator.normal(0, 8, size=(height, width, 3)))
    return np.clip(np.stack(images), 0, 255).astype(np.uint8)


def _worst_cosine(left: Vectors, right: Vectors) -> float:
    return float(np.min(np.sum(left * right, axis=1)))


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Forbid the Hugging Face client every request: without a network it would retry for half a minute."""
    from huggingface_hub import constants

    # The client reads the variable at its import; other code and child processes read the environment.
    before, constant = os.environ.get("HF_HUB_OFFLINE"), constants.HF_HUB_OFFLINE
    os.environ["HF_HUB_OFFLINE"], constants.HF_HUB_OFFLINE = "1", True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = constant
        if before is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before


@contextlib.contextmanager
def _quiet_root_logger() -> Iterator[None]:
    """open_clip logs through `logging.info`, which gives a bare root logger a handler on stderr for good."""
    root, silent = logging.getLogger(), logging.NullHandler()
    root.addHandler(silent)
    try:
        yield
    finally:
        root.removeHandler(silent)
