"""A model hub as a plain file server: what a revision holds, and its files, each held against its digest.

The Hugging Face client retries for half a minute where there is no network and keeps a cache of its own;
two requests of its API are all that is needed (huggingface.co/docs/hub/api).
"""

import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fashion_pipeline.errors import ModelError

DEFAULT_ENDPOINT = "https://huggingface.co"
_TIMEOUT = 15.0  # seconds of silence
_PIECE = 1 << 20

Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class HubFile:
    """A file of a revision. Large files are known by SHA-256, small ones by their Git object id (SHA-1)."""

    name: str
    size: int | None
    sha256: str | None
    git_sha1: str | None


@dataclass(frozen=True)
class Revision:
    """A repository at one commit."""

    repo: str
    commit: str
    files: Mapping[str, HubFile]


@dataclass(frozen=True)
class Hub:
    """Where models come from. `token` goes to the hub only, not to where it redirects."""

    endpoint: str = DEFAULT_ENDPOINT
    token: str | None = None

    def revision(self, repo: str, revision: str) -> Revision:
        """What `repo` holds at a branch, tag or commit.

        Raises:
            ModelError: the hub cannot be reached, or does not know it.
        """
        url = f"{self.endpoint}/api/models/{quote(repo)}/revision/{quote(revision, safe='')}?blobs=true"
        with self._open(url, f"revision {revision!r} of {repo}") as answer:
            try:
                content: dict[str, Any] = json.load(answer)
                files = {each["rfilename"]: _file(each) for each in content["siblings"]}
                return Revision(repo, str(content["sha"]), files)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ModelError(f"{url} does not answer as a model hub does ({error!r})") from error

    def download(self, revision: Revision, name: str, target: Path, progress: Progress | None = None) -> str:
        """Write a file of a revision to `target`; its SHA-256.

        Raises:
            ModelError: it cannot be had, was cut short, or has another digest than the hub says.
        """
        about = revision.files[name]
        url = f"{self.endpoint}/{quote(revision.repo)}/resolve/{revision.commit}/{quote(name)}"
        sha256, done = hashlib.sha256(), 0
        git = hashlib.sha1(f"blob {about.size}\0".encode(), usedforsecurity=False)
        with self._open(url, f"{name} of {revision.repo}") as answer, target.open("wb") as stream:
            try:
                while piece := answer.read(_PIECE):
                    stream.write(piece)
                    sha256.update(piece)
                    git.update(piece)
                    done += len(piece)
                    if progress is not None:
                        progress(name, done, about.size)
            except OSError as error:
                raise ModelError(
                    f"{name} of {revision.repo} broke off after {done} bytes: run it again"
                ) from error
        if about.size is not None and done != about.size:
            raise ModelError(
                f"{name} of {revision.repo} has {done} bytes instead of {about.size}: run it again"
            )
        if about.sha256 is not None:
            _equal(name, revision.repo, sha256.hexdigest(), about.sha256)
        elif about.git_sha1 is not None and about.size is not None:
            _equal(name, revision.repo, git.hexdigest(), about.git_sha1)
        return sha256.hexdigest()

    def _open(self, url: str, what: str) -> Any:
        request = urllib.request.Request(url, headers={"User-Agent": "fashion-pipeline"})  # noqa: S310
        if self.token:
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        if request.type not in ("http", "https"):
            raise ModelError(f"the hub {self.endpoint!r} is no http(s) address")
        try:
            return urllib.request.urlopen(request, timeout=_TIMEOUT)  # noqa: S310 - checked above
        except urllib.error.HTTPError as error:
            advice = {
                401: ": it needs HF_TOKEN",
                403: ": this token may not",
                404: ": there is no such thing",
            }
            raise ModelError(
                f"{self.endpoint} answers {error.code} for {what}{advice.get(error.code, '')}"
            ) from error
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise ModelError(
                f"the hub {self.endpoint} cannot be reached ({reason}): run `fashion-pipeline model pull` where it "
                "can, and copy the folder here; nothing else needs the hub"
            ) from error


def _file(sibling: Mapping[str, Any]) -> HubFile:
    lfs = sibling.get("lfs") or {}
    return HubFile(
        sibling["rfilename"], sibling.get("size"), lfs.get("sha256"), None if lfs else sibling.get("blobId")
    )


def _equal(name: str, repo: str, found: str, wanted: str) -> None:
    if found != wanted:
        raise ModelError(
            f"{name} of {repo} has the digest {found} instead of {wanted}: it was altered on its way"
        )
