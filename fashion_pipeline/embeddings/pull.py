"""`model pull`: a model folder from a hub, whole or not at all, with a lock file that pins every byte.

Weights and config lie in one repository, the tokenizer in the one that the config names. The lock file
records the commit of both and the SHA-256 of each file; pulling by it anywhere gives the same folder.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from fashion_pipeline.embeddings.checks import make_golden
from fashion_pipeline.embeddings.draft import hard_photos, measure_draft, write_draft
from fashion_pipeline.embeddings.encoder import Encoder
from fashion_pipeline.embeddings.golden import GOLDEN_FILE
from fashion_pipeline.embeddings.hub import Hub, Progress, Revision
from fashion_pipeline.embeddings.lock import LOCK_FILE, Lock, LockedFile, differing, read_lock
from fashion_pipeline.embeddings.spec import (
    CONFIG_FILE,
    LOCAL_DIR,
    OPTIONAL_TOKENIZER_FILES,
    TOKENIZER_FILES,
    WEIGHTS_FILE,
    ModelSpec,
    read_spec,
)
from fashion_pipeline.errors import ModelError

FASHION_SIGLIP = "Marqo/marqo-fashionSigLIP"


@dataclass(frozen=True)
class Expected:
    """What a model's card says of it, and a changed config would change in silence."""

    size: tuple[int, int]
    mean: float
    std: float
    resize_mode: str
    interpolation: str
    context_length: int


#: By repository. What is not here is taken as its own config says.
EXPECTED = {FASHION_SIGLIP: Expected((224, 224), 0.5, 0.5, "squash", "bicubic", 64)}


@dataclass(frozen=True)
class PullReport:
    """What a pull did. `downloaded` is empty where the folder was complete."""

    spec: ModelSpec
    lock: Path
    downloaded: tuple[str, ...]


def pull_model(
    folder: Path,
    hub: Hub,
    *,
    load: Callable[[str], Encoder],
    repo: str = FASHION_SIGLIP,
    revision: str = "main",
    lock: Path | None = None,
    progress: Progress | None = None,
) -> PullReport:
    """Have `folder` hold a model in open_clip's layout, with its golden vectors and its draft measure.

    A folder that has a lock file is held against that; one that is complete needs no network.

    Args:
        load: loads a model by its reference, in fp32, on the CPU.
        repo: repository of weights and config.
        revision: a branch, tag or commit, where there is no lock file.
        lock: the lock file of a folder that was pulled before, to get the same bytes.

    Raises:
        ModelError: the hub cannot be reached, a digest differs, the model is not what it should be, or
            `folder` holds something else. Nothing is changed then.
    """
    own = folder / LOCK_FILE
    known = read_lock(lock or own) if lock is not None or own.is_file() else None
    if folder.is_dir() and any(folder.iterdir()):
        if not own.is_file():
            raise ModelError(
                f"{str(folder)!r} holds files that were not pulled: name an empty or a new folder"
            )
        if (
            read_lock(own) == known
            and not differing(folder, known or {})
            and (folder / GOLDEN_FILE).is_file()
        ):
            return PullReport(read_spec(f"{LOCAL_DIR}{folder}"), own, ())
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        new = Path(scratch) / folder.name
        new.mkdir()
        locked = (
            _fetch_locked(new, hub, known, progress)
            if known is not None
            else _fetch(new, hub, repo, revision, progress)
        )
        _check_expected(read_spec(f"{LOCAL_DIR}{new}"), locked[CONFIG_FILE].repo)
        encoder = load(f"{LOCAL_DIR}{new}")
        try:
            make_golden(encoder)
            write_draft(encoder.spec, measure_draft(encoder, hard_photos()))
        finally:
            encoder.close()
        content = {name: asdict(each) for name, each in sorted(locked.items())}
        (new / LOCK_FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        _swap(new, folder, Path(scratch) / "old")
    return PullReport(read_spec(f"{LOCAL_DIR}{folder}"), own, tuple(sorted(locked)))


def _fetch(
    folder: Path, hub: Hub, repo: str, revision: str, progress: Progress | None
) -> dict[str, LockedFile]:
    weights = hub.revision(repo, revision)
    locked = _download(folder, hub, weights, (CONFIG_FILE, WEIGHTS_FILE), progress)
    tokenizer_repo = _tokenizer_repo(folder)
    if tokenizer_repo is not None:
        tokenizer = hub.revision(tokenizer_repo, "main")
        optional = tuple(name for name in OPTIONAL_TOKENIZER_FILES if name in tokenizer.files)
        locked |= _download(folder, hub, tokenizer, (*TOKENIZER_FILES, *optional), progress)
    return locked


def _fetch_locked(folder: Path, hub: Hub, lock: Lock, progress: Progress | None) -> dict[str, LockedFile]:
    revisions = {each: hub.revision(*each) for each in {(file.repo, file.commit) for file in lock.values()}}
    found: dict[str, LockedFile] = {}
    for name, each in lock.items():
        if Path(name).name != name:
            raise ModelError(f"the lock file names {name!r}, which is no plain file name")
        found |= _download(folder, hub, revisions[each.repo, each.commit], (name,), progress)
        if found[name].sha256 != each.sha256:
            raise ModelError(
                f"{name} of {each.repo} at {each.commit} has SHA-256 {found[name].sha256}, and the lock file "
                f"says {each.sha256}: it is not the file that was pinned"
            )
    return found


def _download(
    folder: Path, hub: Hub, revision: Revision, names: tuple[str, ...], progress: Progress | None
) -> dict[str, LockedFile]:
    missing = [name for name in names if name not in revision.files]
    if missing:
        raise ModelError(
            f"{revision.repo} at {revision.commit} has no {', '.join(missing)}: only safetensors in open_clip's "
            "layout are loaded"
        )
    return {
        name: LockedFile(
            revision.repo, revision.commit, hub.download(revision, name, folder / name, progress)
        )
        for name in names
    }


def _tokenizer_repo(folder: Path) -> str | None:
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        name = config["model_cfg"]["text_cfg"].get("hf_tokenizer_name")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"the {CONFIG_FILE} that was pulled is not open_clip's ({error!r})") from error
    return str(name) if name else None


def _check_expected(spec: ModelSpec, repo: str) -> None:
    wanted = EXPECTED.get(repo)
    if wanted is None:
        return
    shape = spec.preprocessing
    pairs = {
        "image size": (shape.size, wanted.size),
        "mean": (shape.mean, (wanted.mean,) * 3),
        "std": (shape.std, (wanted.std,) * 3),
        "resize mode": (shape.resize_mode, wanted.resize_mode),
        "interpolation": (shape.interpolation, wanted.interpolation),
        "context length": (spec.text.context_length, wanted.context_length),
    }
    wrong = [f"{name} {got!r} instead of {want!r}" for name, (got, want) in pairs.items() if got != want]
    if wrong:
        raise ModelError(f"{repo} comes with {', '.join(wrong)}: its vectors would not be those of its card")


def _swap(new: Path, folder: Path, old: Path) -> None:
    if folder.is_dir():
        os.rename(folder, old)
    try:
        os.rename(new, folder)
    except OSError:
        if old.is_dir():
            os.rename(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
