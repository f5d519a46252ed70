"""The one vector store of this process, by settings."""

import os
import threading
from pathlib import Path

from fashion_pipeline.errors import SettingsError
from fashion_pipeline.index.edge import EdgeStore
from fashion_pipeline.index.store import VectorStore
from fashion_pipeline.index.tuning import Tuning

_stores: dict[tuple[object, ...], VectorStore] = {}
_guard = threading.Lock()


def open_store(
    *,
    url: str | None = None,
    api_key: str | None = None,
    folder: Path | None = None,
    prefer_grpc: bool = False,
    grpc_port: int = 6334,
    timeout: float = 30.0,
    tuning: Tuning | None = None,
) -> VectorStore:
    """The store at `url`, or the embedded one in `folder`; the same object for the same arguments.

    Connects to nothing yet. `timeout` is in seconds per request to a server; `tuning` says how it is searched,
    and how a put-off index is turned on. A forked child gets its own.

    Raises:
        SettingsError: neither or both of `url` and `folder` are given, or the URL cannot be one.
    """
    if bool(url) == (folder is not None):
        raise SettingsError(
            "give either the URL of a Qdrant server (QDRANT_URL) or a folder for the embedded store, not "
            f"{'both' if url else 'neither'}"
        )
    folder = None if folder is None else folder.absolute()
    key = (os.getpid(), url, api_key, folder, prefer_grpc, grpc_port, timeout, tuning)
    with _guard:
        store = _stores.get(key)
        if store is None:
            if folder is not None:
                store = EdgeStore(folder)
            else:
                # qdrant_client takes a second to import, which the embedded store need not pay.
                from fashion_pipeline.index.server import connect

                store = connect(
                    url or "",
                    api_key=api_key,
                    prefer_grpc=prefer_grpc,
                    grpc_port=grpc_port,
                    timeout=timeout,
                    tuning=tuning,
                )
            _stores[key] = store
        return store


def close_stores() -> None:
    """Close every store that this process opened; the next `open_store` opens anew."""
    with _guard:
        for store in _stores.values():
            store.close()
        _stores.clear()
