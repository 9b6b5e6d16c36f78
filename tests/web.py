"""A web server on this machine, so that downloads are tested against a real one and nothing leaves it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Web(ThreadingHTTPServer):
    """Answers every request with `body`, or as a test sets it otherwise.

    Attributes:
        hits: the requests so far.
        status: of the answer.
        announced: the Content-Length; None leaves it out, by default it is the body's.
        after_body: called while the client may wait for more.
    """

    daemon_threads = True

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body = body
        self.hits = 0
        self.status = 200
        self.announced: int | str | None = len(body)
        self.after_body: Callable[[], object] = lambda: None

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class _Handler(BaseHTTPRequestHandler):
    server: Web

    def do_GET(self) -> None:
        self.server.hits += 1
        self.send_response(self.server.status)
        if self.server.announced is not None:
            self.send_header("Content-Length", str(self.server.announced))
        self.end_headers()
        self.wfile.write(self.server.body)
        self.server.after_body()

    def log_message(self, *_: object) -> None:
        """Silent."""


@contextmanager
def serving(body: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """Runs a server while the block runs."""
    for name in ("no_proxy", "NO_PROXY"):  # a proxy would be asked for 127.0.0.1 too
        monkeypatch.setenv(name, "127.0.0.1")
    with Web(body) as web:
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield web
        web.shutdown()
        thread.join()
