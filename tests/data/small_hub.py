"""A hub on loopback, with as much of the protocol as huggingface_hub needs, and connections that break."""

import hashlib
import http.server
import re
import threading
from pathlib import Path
from typing import Any


class Hub(http.server.ThreadingHTTPServer):
    """Serves a folder as `/datasets/<repo>/resolve/<revision>/<path>`, and remembers what was asked."""

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.root = root
        self.cut_after: list[int] = []
        """For each of the next GETs: how many bytes to send before the connection is cut."""
        self.hold_after: int | None = None
        """Where not None, each GET stops after so many bytes until `go_on` is set."""
        self.go_on = threading.Event()
        self.status: int | None = None
        self.asked: list[tuple[str, str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def gets(self) -> list[tuple[str, str | None]]:
        return [(path, span) for method, path, span in self.asked if method == "GET"]

    def handle_error(self, request: Any, client_address: Any) -> None:
        return None


class _Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_HEAD(self) -> None:
        self.answer("HEAD")

    def do_GET(self) -> None:
        self.answer("GET")

    def answer(self, method: str) -> None:
        span = self.headers.get("Range")
        found = re.fullmatch(r"/datasets/McAuley-Lab/Amazon-Reviews-2023/resolve/main/(.+)", self.path)
        self.server.asked.append((method, found[1] if found else self.path, span))
        path = self.server.root / found[1] if found else None
        if self.server.status is not None or path is None or not path.is_file():
            self.send_response(self.server.status or 404)
            if self.server.status is None:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = path.read_bytes()
        start = int(span.removeprefix("bytes=").split("-")[0]) if span else 0
        if start >= len(data) > 0:
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = data[start:]
        self.send_response(206 if span else 200)
        if span:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", "a" * 40)
        self.send_header("X-Linked-Size", str(len(data)))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if method == "HEAD":
            return
        if self.server.cut_after:
            self.wfile.write(body[: self.server.cut_after.pop(0)])
            self.wfile.flush()
            self.connection.shutdown(2)
            self.close_connection = True
        elif self.server.hold_after is not None and not self.server.go_on.is_set():
            self.wfile.write(body[: self.server.hold_after])
            self.wfile.flush()
            self.server.go_on.wait()
            self.close_connection = True
        else:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        return None
