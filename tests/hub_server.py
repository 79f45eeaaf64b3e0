"""A Hugging Face Hub on 127.0.0.1: enough of its download protocol for huggingface_hub and transformers."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
import threading
import weakref
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

LFS_THRESHOLD = 1024  # larger files are served from the "CDN", as are *.onnx and *.onnx_data of any size
FLIPPED = bytes(255 - value for value in range(256))
# A branch such as refs/pr/1 arrives as one quoted segment, so paths are matched before they are unquoted.
REPO = r"(?P<repo>[^/]+(?:/[^/]+)?)"
RESOLVE = re.compile(rf"/{REPO}/resolve/(?P<rev>[^/]+)/(?P<path>.+)")
API = re.compile(rf"/api/models/{REPO}(?:/(?P<kind>revision|tree)/(?P<rev>[^/]+)(?:/(?P<path>.+))?)?")
RANGE = re.compile(r"bytes=(?=\d|-\d)(\d*)-(\d*)")


@dataclass
class Fault:
    """What goes wrong with the next `times` body GETs of a file; offsets are in that response's body."""

    times: int = 1
    status: int | None = None  # answer this instead of the body
    cut: int | None = None  # close the connection there, the whole Content-Length having been announced
    stall: float = 0.0  # pause this many seconds, after `stall_at` bytes
    go_on: threading.Event | None = None  # or until this is set
    stall_at: int = 0
    corrupt: bool = False  # same length, every byte wrong
    circle: bool = False  # redirect to itself
    delta: int = 0  # so many bytes more or fewer than X-Linked-Size says, in a well-formed response


class Blob:
    """A file's content and its identities: `oid` is git's, of the file or of the LFS pointer to it."""

    def __init__(self, name: str, source: bytes | Path) -> None:
        self.data = stored = source if isinstance(source, bytes) else source.read_bytes()
        self.size, self.sha256 = len(self.data), hashlib.sha256(self.data).hexdigest()
        self.lfs: dict[str, Any] = {}
        if self.size > LFS_THRESHOLD or name.endswith((".onnx", ".onnx_data")):
            version = "version https://git-lfs.github.com/spec/v1"
            stored = f"{version}\noid sha256:{self.sha256}\nsize {self.size}\n".encode()
            ids = {"oid": self.sha256, "sha256": self.sha256}  # as tree and model info call it, respectively
            self.lfs = {"lfs": ids | {"size": self.size, "pointerSize": len(stored)}}
        self.oid = hashlib.sha1(b"blob %d\0" % len(stored) + stored).hexdigest()


@dataclass
class Repo:
    gated: bool = False
    token: str | None = None
    license: str = "other"
    refs: dict[str, str] = field(default_factory=dict)  # branches and tags
    commits: dict[str, dict[str, Blob]] = field(default_factory=dict)


class HubServer:
    """The server: a context manager, up between `start` and `stop`, on one port for its whole life."""

    def __init__(self) -> None:
        # Each request's method, path with query, and headers, their names in title case.
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.faults: dict[str, Fault] = {}
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, Blob] = {}
        self.lock = threading.Lock()
        self.stopping = threading.Event()  # ends stalls, and with them the response
        self.connections: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self.port = 0
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> HubServer:
        """Listen, on the same port as before if there was one."""
        if self._server is None:
            self.stopping.clear()
            handler = type("Handler", (_Handler,), {"hub": self})
            self._server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
            self.port = self._server.server_address[1]
            threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self, *_: object) -> None:
        """Refuse connections and break those kept alive, as when the network goes away."""
        if self._server is not None:
            self.stopping.set()
            self._server.shutdown()
            self._server.server_close()  # does not wait for handlers: their threads are daemons
            for connection in list(self.connections):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._server = None

    __enter__, __exit__ = start, stop
    online, offline = start, stop

    @property
    def url(self) -> str:
        """The endpoint, also while offline."""
        return f"http://127.0.0.1:{self.port}"

    def add_repo(
        self,
        repo_id: str,
        files: dict[str, bytes | Path],
        *,
        gated: bool = False,
        token: str | None = None,
        license: str = "other",
        revision: str = "main",
    ) -> str:
        """Commit exactly `files` to branch or tag `revision` and return the sha.

        It depends on the repository, the files and the commits before on that branch. `token` is the one that
        may read: alone it makes the repository private; with `gated` it is that of somebody let in.
        """
        tree = {name: Blob(name, source) for name, source in sorted(files.items())}
        with self.lock:
            repo = self.repos.setdefault(repo_id, Repo())
            repo.gated, repo.token, repo.license = gated, token, license
            identity = [repo_id, repo.refs.get(revision), {name: blob.oid for name, blob in tree.items()}]
            sha = hashlib.sha1(json.dumps(identity).encode()).hexdigest()
            repo.commits[sha], repo.refs[revision] = tree, sha
            self.blobs |= {blob.sha256: blob for blob in tree.values()}
        return sha

    def clear(self) -> None:
        """Forget the requests recorded so far."""
        with self.lock:
            self.requests.clear()

    # Faults: `suffix` is one or more whole trailing components of "owner/name/path/in/repo". See Fault.

    def fail(self, suffix: str, status: int = 500, times: int = 1) -> None:
        self.faults[suffix] = Fault(times, status=status)

    def cut(self, suffix: str, after: int, times: int = 1) -> None:
        self.faults[suffix] = Fault(times, cut=after)

    def stall(self, suffix: str, seconds: float, after: int = 0, times: int = 1) -> None:
        self.faults[suffix] = Fault(times, stall=seconds, stall_at=after)

    def hold(self, suffix: str, after: int) -> threading.Event:
        """Pause the next response after so many bytes, until the event that is returned is set."""
        self.faults[suffix] = Fault(stall_at=after, go_on=threading.Event())
        return self.faults[suffix].go_on  # type: ignore[return-value]

    def corrupt(self, suffix: str, times: int = 1) -> None:
        self.faults[suffix] = Fault(times, corrupt=True)

    def wrong_length(self, suffix: str, delta: int = -1, times: int = 1) -> None:
        self.faults[suffix] = Fault(times, delta=delta)

    def redirect_for_ever(self, suffix: str) -> None:
        self.faults[suffix] = Fault(10**6, circle=True)

    def take_fault(self, name: str) -> Fault:
        """Consume one use of the fault set for file `name`; the longest suffix wins."""
        with self.lock:
            for suffix in sorted(self.faults, key=len, reverse=True):
                fault = self.faults[suffix]
                if fault.times > 0 and f"/{name}".endswith(f"/{suffix}"):
                    fault.times -= 1
                    return fault
        return Fault()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    hub: HubServer

    def log_message(self, format: str, *args: object) -> None:
        pass

    def handle(self) -> None:
        self.hub.connections.add(self.connection)
        with contextlib.suppress(OSError):  # a client that hung up is no news
            super().handle()

    def do_GET(self) -> None:
        with self.hub.lock:
            self.hub.requests.append((self.command, self.path, {k.title(): v for k, v in self.headers.items()}))
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query))
        if url.path.startswith("/cdn/") and (blob := self.hub.blobs.get(url.path.removeprefix("/cdn/"))):
            self.send_blob(query.get("file", ""), blob, {"ETag": f'"{blob.sha256}"'})
        elif match := RESOLVE.fullmatch(url.path) or API.fullmatch(url.path):
            part = {name: unquote(value or "") for name, value in match.groupdict().items()}
            repo, sha = self.find(part["repo"], part["rev"] or "main")
            if repo is None:
                pass  # the error has been sent
            elif match.re is RESOLVE:
                self.resolve(repo, sha, part["repo"], part["path"])
            elif part["kind"] == "tree":
                self.tree(repo.commits[sha], part["path"], query.get("recursive") in ("True", "true", "1"))
            else:
                self.info(repo, sha, part["repo"], "blobs" in query)
        else:
            self.error(404, "", "Not Found")

    do_HEAD = do_GET  # `send` leaves the body out

    def find(self, repo_id: str, rev: str) -> tuple[Repo | None, str]:
        repo = self.hub.repos.get(repo_id)
        private = repo is not None and repo.token is not None and not repo.gated
        if repo is None or (private and self.bearer() != repo.token):
            # The Hub does not tell private from missing: who sends no token is asked for one.
            if private or self.bearer() is None:
                self.error(401, "RepoNotFound", "Invalid username or password.")
            else:
                self.error(404, "RepoNotFound", "Repository not found")
        elif (sha := repo.refs.get(rev, rev)) in repo.commits:
            return repo, sha
        else:
            self.error(404, "RevisionNotFound", f"Invalid rev id: {rev}")
        return None, ""

    def resolve(self, repo: Repo, sha: str, repo_id: str, path: str) -> None:
        blob = repo.commits[sha].get(path)
        headers = {"X-Repo-Commit": sha}  # with a 404 too: clients then cache that the file does not exist
        # Gates close the files only: anyone may list a gated repository.
        if repo.gated and (repo.token is None or self.bearer() != repo.token):
            status = 401 if self.bearer() is None else 403
            self.error(status, "GatedRepo", f"Access to model {repo_id} is restricted.")
        elif blob is None:
            self.error(404, "EntryNotFound", "Entry not found", headers)
        elif not blob.lfs:
            self.send_blob(f"{repo_id}/{path}", blob, headers | {"ETag": f'"{blob.oid}"'})
        else:
            # X-Linked-* describe the file; ETag and Content-Length, the redirect. That is to another host, as
            # clients follow others even with HEAD; its query tells files of equal content apart.
            linked = {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(blob.size)}
            location = f"http://localhost:{self.hub.port}/cdn/{blob.sha256}?file={quote(f'{repo_id}/{path}')}"
            self.send(302, b"", headers | linked | {"ETag": f'"{blob.oid}"', "Location": location})

    def info(self, repo: Repo, sha: str, repo_id: str, blobs: bool) -> None:
        siblings: list[dict[str, Any]] = []
        for name, blob in repo.commits[sha].items():
            more = {"size": blob.size, "blobId": blob.oid} | blob.lfs if blobs else {}
            siblings.append({"rfilename": name} | more)
        info = {"id": repo_id, "sha": sha, "siblings": siblings, "cardData": {"license": repo.license}}
        access = {"private": bool(repo.token and not repo.gated), "gated": "auto" if repo.gated else False}
        self.send(200, info | access | {"tags": [f"license:{repo.license}"]})

    def tree(self, files: dict[str, Blob], folder: str, recursive: bool) -> None:
        entries: dict[str, dict[str, Any]] = {}
        for name, blob in files.items():
            for parent in map(str, PurePosixPath(name).parents[:-1]):
                oid = hashlib.sha1(parent.encode()).hexdigest()
                entries[parent] = {"type": "directory", "path": parent, "size": 0, "oid": oid}
            entries[name] = {"type": "file", "path": name, "size": blob.size, "oid": blob.oid} | blob.lfs
        prefix = f"{folder}/" if folder else ""
        inside = {path: path.removeprefix(prefix) for path in sorted(entries) if path.startswith(prefix)}
        listed = [entries[path] for path, rest in inside.items() if recursive or "/" not in rest]
        if folder and not listed:
            self.error(404, "EntryNotFound", f"{folder} does not exist")
        else:
            self.send(200, listed)

    def bearer(self) -> str | None:
        return self.headers.get("Authorization", "").partition("Bearer ")[2] or None

    def send_blob(self, name: str, blob: Blob, headers: dict[str, str]) -> None:
        fault = self.hub.take_fault(name) if self.command == "GET" else Fault()
        headers |= {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        status, start, end = fault.status or 200, 0, blob.size
        if match := RANGE.fullmatch(self.headers.get("Range", "")):  # else the whole file, as HTTP allows
            first, last = match.groups()
            start = int(first) if first else max(0, end - int(last))
            end = min(int(last) + 1, end) if first and last else end
            status = fault.status or (206 if start < end else 416)
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{blob.size}"
        if status == 416:
            self.error(416, "", "Range Not Satisfiable", {"Content-Range": f"bytes */{blob.size}"})
        elif fault.circle:
            self.send(302, b"", {"Location": f"{self.hub.url}{urlsplit(self.path).path}?{urlsplit(self.path).query}"})
        elif fault.status:
            self.error(status, "", "Simulated failure")
        else:
            body = blob.data[start:end].translate(FLIPPED if fault.corrupt else None)
            body = body[: max(0, len(body) + fault.delta)] + b"\0" * fault.delta
            self.send(status, body, headers, fault)

    def error(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        # Clients choose the exception by X-Error-Code: the status is ambiguous (401 for a missing repo).
        about = ({"X-Error-Code": code} if code else {}) | {"X-Error-Message": message}
        self.send(status, {"error": message}, about | (headers or {}))

    def send(self, status: int, body: Any, headers: dict[str, str] | None = None, fault: Fault | None = None) -> None:
        headers, fault = headers or {}, fault or Fault()
        if not isinstance(body, bytes):
            body, headers = json.dumps(body).encode(), {"Content-Type": "application/json"} | headers
        self.send_response(status)
        # Always a Content-Length, or clients that keep the connection alive would wait for more.
        for item in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(*item)
        self.end_headers()
        if self.command == "GET":
            stop = len(body) if fault.cut is None else fault.cut
            self.wfile.write(body[: min(fault.stall_at, stop)])
            if fault.go_on:
                fault.go_on.wait(60)
            if not (gone := self.hub.stopping.wait(fault.stall)):
                self.wfile.write(body[fault.stall_at : stop])
            self.close_connection |= gone or stop < len(body)
