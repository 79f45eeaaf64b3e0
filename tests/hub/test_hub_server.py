"""The local Hub serves huggingface_hub's own client, faults included."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.client import IncompleteRead
from pathlib import Path
from typing import Any

import pytest
from hub_server import HubServer
from huggingface_hub import (
    HfApi,
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    snapshot_download,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

REPO = "briaai/RMBG-1.4"
MODEL = random.Random(0).randbytes(5000)
FILES: dict[str, bytes | Path] = {
    "config.json": b'{"a": 1}',
    "onnx/model.onnx": MODEL,
    "onnx/model_fp16.onnx": MODEL,  # equal content: faults still tell the two apart
}
Fetch = Callable[..., Path]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the client's pauses between attempts
    with HubServer() as hub:
        hub.add_repo(REPO, FILES)
        yield hub


@pytest.fixture
def fetch(hub: HubServer, tmp_path: Path) -> Fetch:
    def fetch(name: str, repo: str = REPO, **options: object) -> Path:
        return Path(hf_hub_download(repo, name, endpoint=hub.url, cache_dir=tmp_path, **options))

    return fetch


def ask(url: str, **headers: str) -> tuple[int, Any, bytes]:
    """GET without huggingface_hub; give status, headers and body."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def test_small_and_lfs_files_land_in_the_cache(hub: HubServer, fetch: Fetch):
    sha = hub.repos[REPO].refs["main"]
    small, large = fetch("config.json"), fetch("onnx/model.onnx")
    assert small.read_bytes() == FILES["config.json"]
    assert large.read_bytes() == MODEL
    assert small.parent.name == large.parent.parent.name == sha
    assert small.resolve().name == hashlib.sha1(b'blob 8\0{"a": 1}').hexdigest()
    assert large.resolve().name == hashlib.sha256(MODEL).hexdigest()
    hub.clear()
    fetch("onnx/model.onnx")
    assert [method for method, _, _ in hub.requests] == ["HEAD"]


def test_file_metadata(hub: HubServer, tmp_path: Path):
    (tmp_path / "weights").write_bytes(MODEL)
    sha = hub.add_repo("owner/paths", {"weights.bin": tmp_path / "weights"})
    found = get_hf_file_metadata(hf_hub_url("owner/paths", "weights.bin", endpoint=hub.url))
    digest = hashlib.sha256(MODEL).hexdigest()
    assert (found.commit_hash, found.etag, found.size) == (sha, digest, len(MODEL))
    assert found.location.startswith(f"http://localhost:{hub.port}/cdn/{digest}")
    # Without huggingface_hub: GET follows the redirect.
    assert ask(hf_hub_url("owner/paths", "weights.bin", endpoint=hub.url))[2] == MODEL


def test_listings(hub: HubServer, tmp_path: Path):
    api = HfApi(endpoint=hub.url)
    assert api.list_repo_files(REPO) == sorted(FILES)
    assert [entry.path for entry in api.list_repo_tree(REPO)] == ["config.json", "onnx"]
    assert [entry.path for entry in api.list_repo_tree(REPO, "onnx")] == sorted(FILES)[1:]
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree(REPO, "nowhere"))
    info = api.model_info(REPO, files_metadata=True)
    assert info.sha == hub.repos[REPO].refs["main"]
    assert info.card_data.license == "other"
    assert info.siblings[1].lfs.sha256 == hashlib.sha256(MODEL).hexdigest()
    folder = Path(snapshot_download(REPO, endpoint=hub.url, cache_dir=tmp_path))
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES


def test_commits_branches_and_tags(hub: HubServer, fetch: Fetch):
    old = hub.repos[REPO].refs["main"]
    tag = hub.add_repo(REPO, {"config.json": b"tagged"}, revision="refs/pr/1")
    new = hub.add_repo(REPO, {"config.json": b"new"})
    assert len({old, tag, new}) == 3
    assert all(len(sha) == 40 for sha in (old, tag, new))
    assert fetch("config.json").read_bytes() == b"new"
    assert fetch("config.json", revision="refs/pr/1").read_bytes() == b"tagged"
    assert fetch("config.json", revision=old).read_bytes() == FILES["config.json"]
    assert fetch("onnx/model.onnx", revision=old).read_bytes() == MODEL
    with HubServer() as other:
        assert other.add_repo(REPO, FILES) == old


def test_what_is_not_there(hub: HubServer, fetch: Fetch, tmp_path: Path):
    with pytest.raises(EntryNotFoundError):
        fetch("missing.json")
    assert list(tmp_path.glob("*/.no_exist/*/missing.json"))
    with pytest.raises(RevisionNotFoundError):
        fetch("config.json", revision="nowhere")
    for token, status in ((False, 401), ("hf_any", 404)):
        with pytest.raises(RepositoryNotFoundError) as caught:
            fetch("config.json", repo="nobody/nothing", token=token)
        assert caught.value.response.status_code == status
    with pytest.raises(RepositoryNotFoundError):
        HfApi(endpoint=hub.url).model_info("nobody/nothing", token=False)


def test_gated_and_private(hub: HubServer, fetch: Fetch):
    hub.add_repo("briaai/RMBG-2.0", FILES, gated=True, token="hf_in")
    for token, status in ((False, 401), ("hf_out", 403)):
        with pytest.raises(GatedRepoError) as caught:
            fetch("config.json", repo="briaai/RMBG-2.0", token=token)
        assert caught.value.response.status_code == status
    assert HfApi(endpoint=hub.url).model_info("briaai/RMBG-2.0", token=False).gated == "auto"
    assert fetch("config.json", repo="briaai/RMBG-2.0", token="hf_in").is_file()

    hub.add_repo("owner/private", FILES, token="hf_in")
    for token in (False, "hf_out"):
        with pytest.raises(RepositoryNotFoundError):
            fetch("config.json", repo="owner/private", token=token)
    assert fetch("onnx/model.onnx", repo="owner/private", token="hf_in").read_bytes() == MODEL


def test_faults(hub: HubServer):
    url = hf_hub_url(REPO, "onnx/model.onnx", endpoint=hub.url)
    hub.fail("onnx/model.onnx", status=503)
    assert ask(url)[0] == 503
    hub.cut("onnx/model.onnx", after=1200)
    with pytest.raises(IncompleteRead) as caught:
        ask(url)
    assert caught.value.partial == MODEL[:1200]
    hub.redirect_for_ever("onnx/model.onnx")
    assert ask(url)[0] == 302
    hub.faults.clear()
    assert ask(url)[2] == MODEL


def test_bad_bodies(hub: HubServer, fetch: Fetch):
    hub.corrupt("onnx/model.onnx")
    assert fetch("onnx/model_fp16.onnx").read_bytes() == MODEL  # another file, if of equal content
    wrong = fetch("onnx/model.onnx", force_download=True).read_bytes()  # the client checks the length alone
    assert len(wrong) == len(MODEL)
    assert wrong != MODEL
    for delta in (-7, 7):
        hub.wrong_length("onnx/model.onnx", delta=delta)
        with pytest.raises(OSError, match=f"size {len(MODEL)} but has size {len(MODEL) + delta}"):
            fetch("onnx/model.onnx", force_download=True)
    assert fetch("onnx/model.onnx", force_download=True).read_bytes() == MODEL


@pytest.mark.parametrize("name", ["config.json", "onnx/model.onnx"])
def test_ranges(hub: HubServer, name: str):
    url, content = hf_hub_url(REPO, name, endpoint=hub.url), FILES[name]
    size = len(content)
    for asked, part in {"2-4": slice(2, 5), "3-": slice(3, None), "-2": slice(-2, None)}.items():
        status, headers, body = ask(url, Range=f"bytes={asked}")
        start, stop, _ = part.indices(size)
        assert (status, body) == (206, content[part])
        assert headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
    status, headers, _ = ask(url, Range=f"bytes={size}-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{size}")
    for ignored in ("bytes=-", "bytes=0-1,3-4"):
        assert ask(url, Range=ignored)[2] == content


def test_offline_and_back(hub: HubServer, fetch: Fetch):
    path, url = fetch("config.json"), hub.url
    hub.offline()
    with pytest.raises(OSError, match="refused"):
        ask(f"{url}/api/models/{REPO}")
    assert fetch("config.json") == fetch("config.json", local_files_only=True) == path
    with pytest.raises(LocalEntryNotFoundError):
        fetch("onnx/model.onnx", local_files_only=True)
    hub.online()
    assert hub.url == url
    assert fetch("onnx/model.onnx").read_bytes() == MODEL


def test_transformers_by_hf_endpoint(hub: HubServer, tmp_path: Path):
    code = f"from transformers.utils import cached_file; print(cached_file({REPO!r}, 'onnx/model.onnx'))"
    env = os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).read_bytes() == MODEL
