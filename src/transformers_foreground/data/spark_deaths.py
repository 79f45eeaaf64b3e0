"""Images that kill Spark's workers: the driver keeps the record, and notices a death by the broken connection."""

from __future__ import annotations

import hmac
import logging
import secrets
import socket
import socketserver
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import Any, Final

from transformers_foreground.data.deaths import Memory, Record

_TIMEOUT: Final = 5.0  # seconds that a worker waits for the driver
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recorder:
    """Where the record is kept; can be sent to workers.

    Attributes:
        host: The driver's, as the workers know it.
        port: The port it listens at.
        token: What a worker must send first.
    """

    host: str
    port: int
    token: str

    @contextmanager
    def connected(self) -> Iterator[Record]:
        """Connect a worker for as long as its task takes; without an answer, log that deaths are not counted."""
        try:
            connection = socket.create_connection((self.host, self.port), _TIMEOUT)
        except OSError as error:
            _logger.warning("Deaths are not counted: no answer from %s:%d (%s)", self.host, self.port, error)
            yield Memory()
            return
        with connection, connection.makefile("rw", encoding="utf-8", newline="\n") as stream:
            stream.write(f"{self.token}\n")
            yield _Remote(stream)


class _Remote:
    """A worker's side of the record."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def begin(self, work: str) -> int:
        self._say("begin", work)
        return int(self._stream.readline())

    def end(self, work: str) -> None:
        self._say("end", work)

    def _say(self, *words: str) -> None:
        self._stream.write(" ".join(words) + "\n")
        self._stream.flush()


def record_at(host: str, bind_to: str) -> Recorder | None:
    """Keep a record in this process until it ends, and return where; `None` if this process is not the driver.

    Args:
        host: This machine's address, as workers know it.
        bind_to: The address to listen at.
    """
    token = secrets.token_hex(16)
    deaths: Counter[str] = Counter()

    class Worker(socketserver.StreamRequestHandler):
        """The driver's side of one worker's connection, on a thread of its own."""

        def handle(self) -> None:
            if not hmac.compare_digest(self.rfile.readline(100).strip(), token.encode()):
                return
            begun: list[str] = []
            try:
                for line in self.rfile:
                    order, work = line.decode().strip().split(" ", 1)
                    if order == "begin":
                        begun.append(work)
                        self.wfile.write(b"%d\n" % deaths[work])
                    else:
                        begun.remove(work)
            except OSError:  # the connection was reset
                pass
            deaths.update(begun)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 128

    try:
        server = Server((bind_to, 0), Worker)
    except OSError:
        return None
    Thread(target=server.serve_forever, daemon=True).start()
    return Recorder(host, server.server_address[1], token)
