"""A Hugging Face hub on localhost: the part of the protocol that its client uses for one model."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = hashlib.sha1(b"first").hexdigest()


class LocalHub:
    """Serves `files` as the repository somebody/model, with optional faults, and records all requests."""

    def __init__(self, files=()):
        self.files = dict(files)  # name -> bytes
        self.commit = COMMIT
        self.asked = []  # (method, path, token)
        self.cut = {}  # file -> lengths in bytes at which its next answers are cut off; the last length is kept
        self.swapped = {}  # file -> other bytes of the same length, served instead
        self.sizes = {}  # file -> size in the listing
        self.committed = []
        self._uploads = {}
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    @property
    def downloads(self):
        """Names of the files that were downloaded."""
        return [path.rsplit("/", 1)[-1] for method, path, _ in self.asked if method == "GET" and "/resolve/" in path]

    def etag(self, name):
        content = self.files[name]
        if name.endswith(".safetensors"):
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def listing(self):
        siblings = []
        for name, content in self.files.items():
            entry = {"rfilename": name, "size": self.sizes.get(name, len(content)), "blobId": self.etag(name)}
            if name.endswith(".safetensors"):
                entry["lfs"] = {"sha256": self.etag(name), "size": entry["size"], "pointerSize": 134}
            siblings.append(entry)
        return {"id": "somebody/model", "sha": self.commit, "siblings": siblings}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: LocalHub

    def log_message(self, *_):
        pass

    def _remember(self):
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, path, self.headers.get("Authorization")))
        return path

    def _json(self, value, status=200, **headers):
        self._bytes(json.dumps(value).encode(), status, **headers)

    def _bytes(self, body, status=200, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self._remember()
        if re.fullmatch(r"/api/models/somebody/model(/revision/(main|v1|[0-9a-f]{40}))?", path):
            self._json(self.hub.listing())
        elif path.startswith("/api/models/somebody/model/"):
            self._json({"error": "no such revision"}, 404, X_Error_Code="RevisionNotFound")
        elif match := re.fullmatch(r"/somebody/model/resolve/(main|v1|[0-9a-f]{40})/(.+)", path):
            self._file(match[2])
        else:
            self._json({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")

    def _file(self, name):
        if name not in self.hub.files:
            self._json({"error": "no"}, 404, X_Error_Code="EntryNotFound", X_Repo_Commit=self.hub.commit)
            return
        content = self.hub.swapped.get(name, self.hub.files[name])
        start = int(match[1]) if (match := re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))) else 0
        cuts = self.hub.cut.get(name)
        status = 206 if start else 200
        self.send_response(status)
        self.send_header("X-Repo-Commit", self.hub.commit)
        self.send_header("ETag", f'"{self.hub.etag(name)}"')
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        body = content[start:]
        if cuts:
            body = body[: cuts.pop(0) if len(cuts) > 1 else cuts[0]]
            self.close_connection = True
        with suppress(OSError):
            self.wfile.write(body)

    def do_PUT(self):
        path = self._remember()
        self.hub._uploads[path.rsplit("/", 1)[-1]] = self.rfile.read(int(self.headers["Content-Length"]))
        self._bytes(b"")

    def do_POST(self):
        path = self._remember()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if path == "/api/repos/create":
            self._json({"url": f"{self.hub.url}/somebody/model"})
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif "/preupload/" in path:
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": n, "uploadMode": "lfs" if n.endswith(".safetensors") else "regular"} for n in names]
            self._json({"files": [{**mode, "shouldIgnore": False} for mode in modes]})
        elif path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**one, "actions": {"upload": {"href": f"{self.hub.url}/upload/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            self._json({"transfer": "basic", "objects": objects})
        elif "/commit/" in path:
            self._commit([json.loads(line) for line in body.splitlines()])
        else:
            self._json({"error": "unknown"}, 404)

    def _commit(self, lines):
        self.hub.committed.append(lines[0]["value"]["summary"])
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "lfsFile":
                self.hub.files[value["path"]] = self.hub._uploads[value["oid"]]
            else:
                self.hub.files[value["path"]] = base64.b64decode(value["content"])
        self.hub.commit = hashlib.sha1(self.hub.commit.encode()).hexdigest()
        self._json(
            {"commitUrl": f"{self.hub.url}/somebody/model/commit/{self.hub.commit}", "commitOid": self.hub.commit}
        )
