"""What happens in a run, as countable events, so that a moment in it can be named and found again.

An event is a statement or a commit on our database, a file of the data folder opened for writing, renamed or
removed, a connection to a server, or a write to the vector store, before and after. Events are counted by stage: the
step of the run, or `start` before the first.
"""

import json
import os
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import dagster as dg
from sqlalchemy import Engine, event

from fashion_pipeline.errors import TransientError
from fashion_pipeline.index import open as index_open
from fashion_pipeline.index.edge import EdgeStore
from fashion_pipeline.index.types import Payload, Point

START = "start"


@dataclass(frozen=True)
class Moment:
    """The `number`-th event of a stage, from 1; with `hold`, the run stands still there until it is told to go on."""

    stage: str
    number: int
    hold: bool


class Watch:
    """Counts the events of this process and tells the crasher, over its socket, when the moment has come."""

    def __init__(self, link: socket.socket, data: str, moment: Moment | None, late_write: int | None) -> None:
        self._link = link
        self._data = data
        self._moment = moment
        self._late_write = late_write
        self._guard = threading.Lock()
        self._inside = threading.local()
        self._stage = START
        self._told = False
        self.counts: Counter[str] = Counter()
        self.vector_writes = 0

    def begin(self) -> None:
        """Count from here on."""
        event.listen(Engine, "before_cursor_execute", self._statement)
        event.listen(Engine, "commit", self._commit)
        sys.addaudithook(self._audit)
        index_open.EdgeStore = self._edge_store()  # type: ignore[misc]

    def follow(self, instance: dg.DagsterInstance, run_id: str) -> None:
        """Know the step that a run is in."""

        def seen(entry: Any) -> None:
            if entry.dagster_event is not None and entry.dagster_event.is_step_start:
                self._stage = entry.dagster_event.step_key

        instance.add_event_listener(run_id, seen)

    def happened(self, what: str) -> None:
        """Count an event; at the moment, tell, and wait where that is asked."""
        if getattr(self._inside, "telling", False):
            return
        with self._guard:
            self.counts[self._stage] += 1
            moment = self._moment
            if self._told or moment is None or moment.stage != self._stage:
                return
            if self.counts[self._stage] != moment.number:
                return
            self._told = True
        self._inside.telling = True
        try:
            self.tell({"moment": what})
            if moment.hold:
                self._link.recv(1)
        finally:
            self._inside.telling = False

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send a line of JSON."""
        self._link.sendall(json.dumps(message).encode() + b"\n")

    def _statement(self, connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        # Dagster's own database is spoken to through psycopg2.
        if connection.engine.dialect.driver == "psycopg":
            self.happened(f"SQL {' '.join(statement.split())[:60]}")

    def _commit(self, connection: Any) -> None:
        if connection.engine.dialect.driver == "psycopg":
            self.happened("commit")

    def _audit(self, name: str, arguments: tuple[Any, ...]) -> None:
        if name == "open":
            path, _, flags = arguments
            if isinstance(path, str) and path.startswith(self._data) and flags & (os.O_WRONLY | os.O_RDWR):
                self.happened("open for writing")
        elif name in {"os.rename", "os.remove"}:
            if str(arguments[0]).startswith(self._data):
                self.happened(name)
        elif name == "socket.connect" and isinstance(arguments[1], tuple):
            self.happened(name)

    def _written(self, what: str) -> None:
        """After a write that the vector store applied; the one that is to be late seems to have failed."""
        self.vector_writes += 1
        self.happened(f"after {what}")
        if self.vector_writes == self._late_write:
            self.tell({"moment": f"late {what}"})
            raise TransientError(f"the vector store did not answer a {what} within 30 s")

    def _edge_store(watch) -> type[EdgeStore]:
        class WatchedStore(EdgeStore):
            """The embedded store; each write is an event before and after."""

            def upsert(self, name: str, points: Iterable[Point], *, wait: bool = True) -> int:
                watch.happened("before upsert")
                written = super().upsert(name, points, wait=wait)
                watch._written("upsert")
                return written

            def set_payload(self, name: str, payloads: Mapping[UUID, Payload]) -> list[UUID]:
                watch.happened("before set_payload")
                absent = super().set_payload(name, payloads)
                watch._written("set_payload")
                return absent

            def delete(self, name: str, ids: Iterable[UUID]) -> None:
                watch.happened("before delete")
                super().delete(name, ids)
                watch._written("delete")

        return WatchedStore
