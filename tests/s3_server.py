"""A store on 127.0.0.1 that speaks enough of S3 to read files: HEAD, and GET with a range."""

from __future__ import annotations

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow.fs


class S3Server:
    """A store with these objects, by bucket and key (`"bucket/key"`), until the `with` block ends."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def answer(self, body: bool) -> None:
                data = objects.get(unquote(urlsplit(self.path).path).lstrip("/"))
                asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
                part = data if data is None or not asked else data[int(asked[1]) : int(asked[2]) + 1]
                self.send_response(404 if data is None else 206 if asked else 200)
                if asked and data is not None:
                    self.send_header("Content-Range", f"bytes {asked[1]}-{asked[2]}/{len(data)}")
                self.send_header("Content-Length", str(len(part or b"")))
                self.end_headers()
                if body and part:
                    self.wfile.write(part)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def filesystem(self) -> Any:
        """Return pyarrow's client of this store."""
        host = f"127.0.0.1:{self.server.server_port}"
        return pyarrow.fs.S3FileSystem(anonymous=True, scheme="http", endpoint_override=host, region="us-east-1")

    def __enter__(self) -> S3Server:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
