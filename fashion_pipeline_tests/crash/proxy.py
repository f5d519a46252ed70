"""A TCP proxy in front of PostgreSQL that can cut every connection in the middle of a transaction."""

import socket
import struct
import threading
from contextlib import suppress
from pathlib import Path

#: Type of PostgreSQL's message ReadyForQuery, and its status inside of a transaction.
READY, IN_TRANSACTION = ord("Z"), ord("T")
#: SO_LINGER: closing sends a reset.
RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Takes connections on loopback and passes them on to the server's Unix socket."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._guard = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._left = 0
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, after: int) -> None:
        """Cut everything when the server has said so many times more (1 at least) that it is in a transaction."""
        with self._guard:
            self._left = after

    def close(self) -> None:
        """Take no more connections, and end those that are open."""
        self._listener.close()
        self._cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                try:
                    server.connect(str(self._target))
                except OSError:
                    client.close()
                    continue
                pair = (client, server)
                with self._guard:
                    self._pairs.add(pair)
                threading.Thread(target=self._pump, args=(client, server, pair), daemon=True).start()
                threading.Thread(target=self._follow, args=(server, client, pair), daemon=True).start()

    def _pump(
        self, source: socket.socket, sink: socket.socket, pair: tuple[socket.socket, socket.socket]
    ) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
        self._end(pair)

    def _follow(
        self, source: socket.socket, sink: socket.socket, pair: tuple[socket.socket, socket.socket]
    ) -> None:
        """Pass on what the server says, and read its state from it."""
        pending = b""
        with suppress(OSError):
            while data := source.recv(65_536):
                pending += data
                while len(pending) >= 5 and len(pending) > (size := int.from_bytes(pending[1:5], "big")):
                    if pending[0] == READY and pending[5] == IN_TRANSACTION and self._is_time():
                        self._cut()
                        return
                    pending = pending[size + 1 :]
                sink.sendall(data)
        self._end(pair)

    def _is_time(self) -> bool:
        with self._guard:
            if self._left == 0:
                return False
            self._left -= 1
            return self._left == 0

    def _cut(self) -> None:
        with self._guard:
            pairs, self._pairs = self._pairs, set()
            self.cuts += 1
        for client, server in pairs:
            with suppress(OSError):
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            for each in (client, server):
                _shut(each)

    def _end(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with self._guard:
            self._pairs.discard(pair)
        for each in pair:
            _shut(each)


def _shut(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
