"""`fashion-pipeline model pull | keep | check`: get a model folder, complete it, say what it is and does here."""

import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fashion_pipeline.commands.console import wide_console
from fashion_pipeline.embeddings.checks import make_golden, self_check
from fashion_pipeline.embeddings.draft import hard_photos, measure_draft, write_draft
from fashion_pipeline.embeddings.encoder import Encoder, load_encoder
from fashion_pipeline.embeddings.hub import DEFAULT_ENDPOINT, Hub
from fashion_pipeline.embeddings.pull import pull_model
from fashion_pipeline.errors import ModelError
from fashion_pipeline.parts import open_encoder
from fashion_pipeline.settings import PREFIX, Settings

_PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg"})


def pull(folder: Path, *, repo: str, revision: str, lock: Path | None) -> int:
    """Pull a model into `folder`; the exit code."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise ModelError("HF_HUB_OFFLINE forbids the network: unset it for `fashion-pipeline model pull`")
    hub = Hub(
        (os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/"), os.environ.get("HF_TOKEN") or None
    )
    with Console().status("asking the hub") as status:
        report = pull_model(
            folder,
            hub,
            load=_load_exactly,
            repo=repo,
            revision=revision,
            lock=lock,
            progress=lambda name, done, total: status.update(
                f"{name}: {done / 1e6:,.0f} of {(total or done) / 1e6:,.0f} MB"
            ),
        )
    if not report.downloaded:
        print(f"{folder} holds {report.spec.image_model_id} as its lock file says: nothing to do")
    else:
        print(f"{folder} holds {report.spec.image_model_id}: {', '.join(report.downloaded)}")
        print(f"every digest agrees; {report.lock} pins them: give it with --lock to get the same elsewhere")
    print(f"use it with {PREFIX}MODEL={report.spec.ref}")
    return 0


def keep(settings: Settings, photos: Path | None) -> int:
    """Write golden vectors and the draft measure into the model's folder; the exit code."""
    encoder = _load_exactly(settings.model_ref)
    try:
        golden = make_golden(encoder)
        measure = measure_draft(encoder, _photos(photos) if photos is not None else hard_photos())
        draft = write_draft(encoder.spec, measure)
    finally:
        encoder.close()
    print(f"{golden} keeps the vectors of a built-in picture and text")
    print(
        f"{draft}: over {measure.pictures} pictures draft decoding keeps cosine {measure.worst_cosine:.6f} at worst; "
        + ("it is used from now on" if measure.admitted else "it is not used")
    )
    return 0


def check_model(settings: Settings) -> int:
    """Load the candidate model, embed a built-in picture and text, print what it is; the exit code."""
    encoder = open_encoder(settings, settings.model_ref)
    try:
        report = self_check(encoder)
    finally:
        encoder.close()
    table = Table(show_header=False)
    for each in fields(report):
        table.add_row(each.name.replace("_", " "), escape(_shown(getattr(report, each.name))))
    wide_console().print(table)
    return 0


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(_shown, value))
    return f"{value:,.5g}" if isinstance(value, float) else str(value)


def _load_exactly(ref: str) -> Encoder:
    return load_encoder(ref, device="cpu", precision="fp32")


def _photos(folder: Path) -> Iterator[bytes]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _PHOTO_SUFFIXES)
    if not found:
        raise ModelError(f"there are no JPEGs in {str(folder)!r}")
    return (path.read_bytes() for path in found)
