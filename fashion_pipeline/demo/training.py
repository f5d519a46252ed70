"""Train and measure the demo's dual encoder: `python -m fashion_pipeline.demo.training --out DIR`.

An open_clip model of FashionSigLIP's outer shape (768 dimensions, the same preprocessing, the same files),
small enough to train on two cores. It knows the demo's drawings and nothing else.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fashion_pipeline.demo import tokenizer
from fashion_pipeline.demo.garments import draw
from fashion_pipeline.demo.training_data import IMAGE_SIZE, Batches, choose, draw_all, training_caption
from fashion_pipeline.demo.wording import caption

if TYPE_CHECKING:
    import torch

_EVALUATION_SEED = 1 << 40
"""Far from the seeds of training, which count from 0: no evaluated drawing was seen in any pose."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and on what to train. The schedule follows steps, or time where `minutes` runs out first.

    Until `dropping_until` of the way half of the patches are left out (Li et al. 2023, FLIP): patterns
    repeat, so little is lost, and a step takes two thirds of the time.
    """

    steps: int = 900
    minutes: float = 44.0
    drawings: int = 40_000
    batch: int = 256
    rate: float = 1e-3
    warm_up: int = 60
    seed: int = 7
    save_every: int = 100
    dropped_patches: float = 0.5
    dropping_until: float = 0.7
    image_layers: int = 6
    image_width: int = 192
    text_layers: int = 3
    text_width: int = 128


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Text to image retrieval over `count` looks that were never trained on, each with one drawing."""

    count: int
    recall_at_1: float
    recall_at_10: float
    paraphrased_recall_at_1: float
    paraphrased_recall_at_10: float


def write_config(folder: Path, plan: Plan) -> dict[str, Any]:
    """Write the tokenizer's files and `open_clip_config.json`; return the model's configuration."""
    vocabulary = tokenizer.save(folder)
    model = {
        "embed_dim": 768,
        "vision_cfg": {
            "image_size": IMAGE_SIZE,
            "layers": plan.image_layers,
            "width": plan.image_width,
            "head_width": 64,
            "patch_size": 16,
            "pool_type": "avg",
        },
        "text_cfg": {
            "context_length": tokenizer.CONTEXT_LENGTH,
            "vocab_size": vocabulary,
            # Any name will do: with `local-dir:` open_clip reads the tokenizer from the folder itself.
            "hf_tokenizer_name": "fashion-pipeline-demo",
            "tokenizer_kwargs": {"clean": "canonicalize"},
            "width": plan.text_width,
            "heads": plan.text_width // 64,
            "layers": plan.text_layers,
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
    content = json.dumps({"model_cfg": model, "preprocess_cfg": preprocess}, indent=2)
    (folder / "open_clip_config.json").write_text(content + "\n", encoding="utf-8")
    return model


def train(out: Path, plan: Plan, *, say: Callable[[str], None] = print) -> list[float]:
    """Train by `plan` and leave the model's folder at `out`; return the loss of every step.

    The folder is whole after every `save_every` steps. Takes about 1.5 GB of temporary disk for 40,000
    drawings.
    """
    import torch
    import torch.nn.attention

    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fashion-drawings-") as scratch:
        garments = choose(plan.drawings, seed=plan.seed, holdout=False)
        pictures = draw_all(
            garments,
            Path(scratch) / "pictures.u8",
            workers=os.cpu_count() or 1,
            progress=_every(4096, lambda done: say(f"drawn {done} of {plan.drawings}, {_clock(started)}")),
        )
        torch.manual_seed(plan.seed)
        model, tokenize = _fresh_model(out, plan)
        optimizers = _optimizers(model, plan)
        rng = random.Random(plan.seed)
        batches = Batches(garments, plan.batch, rng)
        losses: list[float] = []
        for step, progress in _steps(plan, started):
            rate = min(1.0, (step + 1) / plan.warm_up) * (1 + math.cos(math.pi * progress)) / 2
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = group["initial_lr"] * rate
            model.visual.patch_dropout.prob = plan.dropped_patches if progress < plan.dropping_until else 0.0
            alike = (None, "kind", "color")[step % 3] if step > plan.warm_up * 3 else None
            places = sorted(batches.next(alike))
            images = _augment(torch.from_numpy(pictures[places]), rng)
            texts = tokenize([training_caption(garments[place], rng) for place in places])
            loss = _contrastive_loss(model, images, texts)
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, math.log(100))
            losses.append(loss.item())
            if step % 20 == 0:
                recent = sum(losses[-20:]) / len(losses[-20:])
                say(f"step {step} of {plan.steps}, loss {recent:.3f}, rate {rate:.2f}, {_clock(started)}")
            if step % plan.save_every == plan.save_every - 1:
                _save(model, out)
        _save(model, out)
    say(f"trained {len(losses)} steps, {_clock(started)}")
    return losses


def _clock(started: float) -> str:
    used = os.times()
    cpu = used.user + used.system + used.children_user + used.children_system
    return f"{(time.monotonic() - started) / 60:.1f} min wall, {cpu / 60:.1f} min CPU"


def _every(interval: int, call: Callable[[int], None]) -> Callable[[int], None]:
    return lambda done: call(done) if done % interval == 0 else None


def _steps(plan: Plan, started: float) -> Iterator[tuple[int, float]]:
    """Steps with the share of the training that is behind: by steps or by time, whichever is further."""
    for step in range(plan.steps):
        progress = max(step / plan.steps, (time.monotonic() - started) / 60 / plan.minutes)
        if progress >= 1:
            return
        yield step, progress


def _fresh_model(out: Path, plan: Plan) -> tuple[Any, Callable[[list[str]], torch.Tensor]]:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import open_clip

    config = write_config(out, plan)
    config["vision_cfg"]["patch_dropout"] = plan.dropped_patches
    model = open_clip.CLIP(**config)
    model.train()
    return model, open_clip.get_tokenizer(f"local-dir:{out}")


def _optimizers(model: torch.nn.Module, plan: Plan) -> list[torch.optim.Optimizer]:
    import torch

    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        hidden = parameter.ndim == 2 and "resblocks" in name
        (matrices if hidden else others).append(parameter)
    adam = torch.optim.AdamW(
        [
            {"params": [p for p in others if p.ndim >= 2], "weight_decay": 0.05},
            {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=plan.rate,
        betas=(0.9, 0.98),
        fused=True,
    )
    # Muon (Jordan et al. 2024) for the hidden matrices. After 140 steps, recall@1 and @10 of paraphrases:
    # 0.22 and 0.85, against 0.17 and 0.82 with AdamW alone.
    muon = torch.optim.Muon(matrices, lr=plan.rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")
    found: list[torch.optim.Optimizer] = [adam, muon]
    for optimizer in found:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return found


def _augment(pictures: torch.Tensor, rng: random.Random) -> torch.Tensor:
    """uint8 (n, 112, 112, 3) to normalized float (n, 3, 112, 112): mirrored, shifted, lighter or darker."""
    import torch

    images = pictures.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
    count = len(images)
    flipped = torch.tensor([rng.random() < 0.5 for _ in range(count)])
    images[flipped] = images[flipped].flip(-1)
    dx, dy = rng.randint(-5, 5), rng.randint(-5, 5)
    padded = torch.nn.functional.pad(images, (5, 5, 5, 5), mode="replicate")
    images = padded[:, :, 5 + dy : 5 + dy + IMAGE_SIZE, 5 + dx : 5 + dx + IMAGE_SIZE]
    gain = 1 + torch.randn(count, 3, 1, 1) * 0.015 + torch.randn(count, 1, 1, 1) * 0.04
    return (images + 1) * gain - 1 + torch.randn(count, 1, 1, 1) * 0.02


def _contrastive_loss(model: Any, images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
    """CLIP's symmetric cross-entropy over the batch (Radford et al. 2021)."""
    import torch

    # Over 50 patches plain attention takes half the time of the fused one on a CPU, backward above all.
    attention = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
    with attention, torch.autocast("cpu", dtype=torch.bfloat16):
        seen, read, scale = model(images, texts)[:3]
    logits = scale.float() * seen.float() @ read.float().T
    target = torch.arange(len(logits))
    entropy = torch.nn.functional.cross_entropy
    return (entropy(logits, target) + entropy(logits.T, target)) / 2


def _save(model: torch.nn.Module, out: Path) -> None:
    import torch
    from safetensors.torch import save

    weights = {name: tensor.to(torch.float16).contiguous() for name, tensor in model.state_dict().items()}
    aside = out / "open_clip_model.safetensors.part"
    aside.write_bytes(save(weights))
    aside.replace(out / "open_clip_model.safetensors")


def evaluate(folder: Path, *, count: int = 1000, seed: int = 0) -> Retrieval:
    """Retrieve each of `count` held-out drawings by its own caption among all of them."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import open_clip
    import torch

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")
    garments = choose(count, seed=seed, holdout=True)
    with torch.inference_mode():
        seen = []
        for start in range(0, count, 100):
            pictures = [draw(g, seed=_EVALUATION_SEED + start) for g in garments[start : start + 100]]
            seen.append(model.encode_image(torch.stack([preprocess(p) for p in pictures]), normalize=True))
        images = torch.cat(seen)

        def recalls(variant: int) -> tuple[float, float]:
            read = model.encode_text(
                tokenize([caption(g, variant=variant) for g in garments]), normalize=True
            )
            scores = read @ images.T
            better = (scores > scores.diagonal().unsqueeze(1)).sum(1)
            return float((better < 1).float().mean()), float((better < 10).float().mean())

        return Retrieval(count, *recalls(0), *recalls(1))


def main() -> None:
    """Train into `--out`, or measure the folder given by `--evaluate`."""
    plan = Plan()
    parser = argparse.ArgumentParser(prog="python -m fashion_pipeline.demo.training", description=__doc__)
    parser.add_argument("--out", type=Path, help="folder to leave the trained model in")
    parser.add_argument("--evaluate", type=Path, metavar="DIR", help="measure this model folder instead")
    parser.add_argument("--steps", type=int, default=plan.steps)
    parser.add_argument(
        "--minutes", type=float, default=plan.minutes, help="wall-clock limit, drawing included"
    )
    parser.add_argument("--drawings", type=int, default=plan.drawings)
    given = parser.parse_args()
    if given.evaluate is None and given.out is None:
        parser.error("one of --out and --evaluate is needed")
    if given.out is not None:
        train(given.out, Plan(steps=given.steps, minutes=given.minutes, drawings=given.drawings))
    found = evaluate(given.evaluate or given.out)
    print(
        f"{found.count} held-out looks, text to image: "
        f"recall@1 {found.recall_at_1:.3f}, recall@10 {found.recall_at_10:.3f}; paraphrased captions: "
        f"recall@1 {found.paraphrased_recall_at_1:.3f}, recall@10 {found.paraphrased_recall_at_10:.3f}"
    )


if __name__ == "__main__":
    main()
