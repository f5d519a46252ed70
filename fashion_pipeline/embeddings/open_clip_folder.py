"""Opening an open_clip model folder: off the network, and held against what its files describe."""

import atexit
import contextlib
import gc
import logging
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fashion_pipeline.embeddings.spec import ModelSpec
from fashion_pipeline.errors import ModelError

if TYPE_CHECKING:
    import torch


def import_libraries() -> None:
    """Import torch and open_clip, which takes a process four seconds, and a fifth more with garbage looked for.

    Their objects stay as long as the process: they are left out when garbage is looked for, now and later.
    """
    if "open_clip" in sys.modules:
        return
    enabled = gc.isenabled()
    gc.disable()
    try:
        with _offline(), _quiet_root_logger():
            import open_clip  # noqa: F401
        gc.freeze()
        # Bindings complain of what is left at the process's end.
        atexit.register(gc.unfreeze)
    finally:
        if enabled:
            gc.enable()


def load_model(spec: ModelSpec, device: "torch.device") -> Any:
    """The model of a folder on `device`, in float32.

    Raises:
        ModelError: its files do not fit each other, or what loads is not what they describe.
    """
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
    check_preprocessing(spec, model)
    if device.type == "cuda":
        model = model.to(memory_format=torch.channels_last)
    return model


def check_preprocessing(spec: ModelSpec, model: Any) -> None:
    """A wrong preprocessor changes every vector without an error: hold open_clip's against the spec.

    Raises:
        ModelError: they differ.
    """
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


def load_tokenizer(spec: ModelSpec) -> Any:
    """The tokenizer of a folder.

    Raises:
        ModelError: it does not load, or cuts at another length than the model takes.
    """
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
