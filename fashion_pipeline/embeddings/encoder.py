"""Loading a model and turning pixels and texts into unit vectors. torch is imported inside functions only."""

import gc
import logging
import platform
import weakref
from collections.abc import Callable, Sequence
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
from fashion_pipeline.embeddings.open_clip_folder import import_libraries, load_model, load_tokenizer
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
# Compiling takes about a minute and is taken to save a tenth. On a CPU it saves nothing worth having: 6.8
# images/s against 6.5 (ViT-B-16-SigLIP, bf16, 2 cores).
_COMPILE_PAYS_AFTER = 600.0
_LIBRARIES = ("open_clip_torch", "pillow", "timm", "torch")


class Encoder:
    """A loaded model. Not for use from two threads at once. Close it to free its memory."""

    def __init__(self, spec: ModelSpec, model: Any, device: "torch.device", precision: str) -> None:
        self._spec = spec
        self._model = model
        self._device = device
        self._precision = precision
        self._tokenizer: Any = None
        self._compiled: Any = None
        self._padded_to = 0
        # Made once: a copy to a GPU from memory that is not pinned waits for all that is under way there.
        self._mean = _per_channel(spec.preprocessing.mean, device)
        self._std = _per_channel(spec.preprocessing.std, device)

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

    @property
    def overlap(self) -> int:
        """A GPU works on a batch while the next is put together."""
        return 1 if self._device.type == "cuda" else 0

    @property
    def compile_pays_after(self) -> float | None:
        """Seconds of remaining work beyond which `compile` is worth its time; None where it never is."""
        return _COMPILE_PAYS_AFTER if self._device.type == "cuda" else None

    @property
    def device_peak_memory(self) -> int:
        """Most bytes of the GPU's memory in use so far; 0 without one."""
        if self._device.type != "cuda":
            return 0
        import torch

        return int(torch.cuda.max_memory_allocated(self._device))

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
        return unit_vectors(self.start(pixels)())

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
        model = None if self._model is None else weakref.ref(self._model)
        self._model = self._tokenizer = self._compiled = None
        if model is not None and model() is not None:
            # Something refers to it in a circle. Looking for circles takes half a second once torch is imported.
            gc.collect()
        if self._device.type == "cuda":
            import torch

            torch.cuda.empty_cache()

    def buffer(self, images: int) -> Pixels:
        """Memory for a batch, uint8 [images, height, width, 3]: pinned where a GPU reads it."""
        shape = (images, *self._spec.preprocessing.size, 3)
        if self._device.type != "cuda":
            return np.empty(shape, dtype=np.uint8)
        import torch

        pinned: Pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=True).numpy()
        return pinned

    def start(self, pixels: Pixels) -> Callable[[], Vectors]:
        """Begin a batch, uint8 [n, height, width, 3], which must stay as it is until it is finished.

        Returns:
            What waits for the features, float32 [n, 768], not yet scaled to unit length. A GPU computes
            meanwhile; a CPU has computed by then.

        Raises:
            EncoderMemoryError: the batch does not fit; a smaller one may.
        """
        import torch

        try:
            with torch.inference_mode():
                features = self._forward(pixels)
                if self._device.type != "cuda":
                    array: Vectors = features.numpy()
                    return lambda: array
                return self._fetch(features)
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

    def compile(self, batch_size: int) -> bool:
        """Let torch.compile build the image side for batches of one size.

        Returns:
            Whether it is used from here on: it did compile, and its vectors keep cosine 0.999.
        """
        import torch

        probe = _probe_images(self._spec)[:batch_size]
        before = self.encode_images(probe)
        self._compiled, self._padded_to = torch.compile(self._model.encode_image, dynamic=False), batch_size
        try:
            cosine = _worst_cosine(before, self.encode_images(probe))
        except Exception as error:  # noqa: BLE001 - whatever the compiler raised, the model works without it
            logger.warning("torch.compile failed, going on without it: %s", str(error)[:500])
            cosine = 0.0
        if cosine < MIN_COSINE:
            logger.warning("compiled vectors keep cosine %.5f only: going on without torch.compile", cosine)
            self._forget_compiled()
        return self._compiled is not None

    def _forget_compiled(self) -> None:
        self._compiled, self._padded_to = None, 0

    def _forward(self, pixels: Pixels) -> "torch.Tensor":
        import torch

        # torch warns of arrays that it may not write to, and takes no negative strides.
        batch = torch.from_numpy(np.require(pixels, requirements=("C", "W")))
        count = len(batch)
        batch = batch.to(self._device, non_blocking=True)
        if 0 < count < self._padded_to:
            # A compiled model is for one size; another would be compiled anew.
            batch = torch.cat([batch, batch.new_zeros((self._padded_to - count, *batch.shape[1:]))])
        # NHWC bytes seen as NCHW are channels-last already; the arithmetic is torchvision's ToTensor and
        # Normalize, on the device.
        images = batch.permute(0, 3, 1, 2).float().div_(255.0)
        images.sub_(self._mean).div_(self._std)
        encode = self._compiled or self._model.encode_image
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._precision == "bf16"):
            features: torch.Tensor = encode(images, normalize=False)
        return features[:count].float()

    def _fetch(self, features: "torch.Tensor") -> Callable[[], Vectors]:
        """Copy to pinned memory behind the computation; the event tells when it has come."""
        import torch

        target = torch.empty(features.shape, dtype=features.dtype, pin_memory=True)
        target.copy_(features, non_blocking=True)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrived.record(torch.cuda.current_stream(self._device))

        def finish() -> Vectors:
            arrived.synchronize()
            array: Vectors = target.numpy().copy()
            return array

        return finish

    def _free_cache(self) -> None:
        self._forget_compiled()  # it pads to a size that does not fit
        if self._device.type == "cuda":
            import torch

            torch.cuda.empty_cache()

    def _tokenize(self, texts: list[str]) -> "torch.Tensor":
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self._spec)
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
    import_libraries()
    import torch

    place = _device(device)
    if place.type == "cpu" and torch.get_num_threads() > available_cores():
        # A container may use fewer processors than it sees; more threads than those only wait on each other.
        torch.set_num_threads(available_cores())
    model = load_model(spec, place)
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


def _per_channel(values: tuple[float, float, float], device: "torch.device") -> "torch.Tensor":
    import torch

    return torch.tensor(values, device=device).view(3, 1, 1)


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
