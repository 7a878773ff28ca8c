"""Where the weights of judging networks come from, and which files hold any."""

from __future__ import annotations

from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
import torch
from huggingface_hub import constants

from gfla_cli.bundles.convert import read_state
from gfla_cli.errors import BundleError
from gfla_cli.evaluation import weights
from gfla_cli.evaluation.weights import ALEXNET, find_weights

pytest.importorskip("torchmetrics")


def test_weights_are_found_in_torchs_cache_and_missing_ones_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(BundleError, match="alexnet-owt-7be5be79") as error:
        find_weights(ALEXNET)
    assert "https://" in error.value.hint
    assert "--lpips-backbone" in error.value.hint
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "alexnet-owt-4df8aa71.pth").write_bytes(b"abc")
    found = find_weights(ALEXNET)
    assert found == folder / "alexnet-owt-4df8aa71.pth"
    assert find_weights(ALEXNET, folder / "alexnet-owt-4df8aa71.pth") == found
    with pytest.raises(BundleError, match="no such file"):
        find_weights(ALEXNET, tmp_path / "nothing.pth")


@pytest.fixture
def online(tmp_path, monkeypatch):
    """AlexNet's weights, published by a server on this machine: sets its answer, and gives the requests."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        content = b"abc"

        def do_GET(self):
            asked.append(self.path)
            if self.content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.content)))
            self.end_headers()
            self.wfile.write(self.content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/alexnet-ba7816bf.pth"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    known = replace(ALEXNET, names=("alexnet-ba7816bf.pth",), url=url)
    yield known, Handler, asked
    server.shutdown()
    server.server_close()


def test_missing_weights_are_downloaded_once_and_said(online, tmp_path):
    known, _, asked = online
    said = []
    found = find_weights(known, say=said.append)
    assert found == tmp_path / "hub" / "checkpoints" / "alexnet-ba7816bf.pth"
    assert found.read_bytes() == b"abc"
    assert len(said) == 1
    assert "downloading AlexNet's weights (0 MB) from 127.0.0.1" in said[0]
    assert find_weights(known, say=said.append) == found
    assert (len(asked), len(said)) == (1, 1)


@pytest.mark.parametrize(("content", "reason"), [(b"abd", "not what its hash says"), (None, "Not Found")])
def test_a_download_that_fails_leaves_nothing_and_says_how_to_do_it_by_hand(online, tmp_path, content, reason):
    known, handler, _ = online
    handler.content = content
    with pytest.raises(BundleError, match=f"cannot be downloaded from 127.0.0.1 .*{reason}") as error:
        find_weights(known)
    assert known.url in error.value.hint
    assert "--lpips-backbone" in error.value.hint
    assert list(tmp_path.rglob("*.pth")) == []


def test_nothing_is_downloaded_offline(online, monkeypatch):
    known, _, asked = online
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BundleError, match="HF_HUB_OFFLINE is set") as error:
        find_weights(known)
    assert known.url in error.value.hint  # what it would download
    assert asked == []


def test_torchs_cache_is_where_torch_says(monkeypatch, tmp_path):
    for name, value in (("TORCH_HOME", None), ("XDG_CACHE_HOME", str(tmp_path)), ("TORCH_HOME", str(tmp_path / "t"))):
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
        assert weights.torch_cache() == type(tmp_path)(torch.hub.get_dir()) / "checkpoints"


def test_state_files_of_three_kinds_are_read_and_others_refused(tmp_path):
    from safetensors.torch import save_file

    tensor = torch.arange(6.0).reshape(2, 3)
    np.savez(tmp_path / "a.npz", x=tensor.numpy())
    save_file({"x": tensor}, tmp_path / "a.safetensors")
    torch.save({"x": tensor}, tmp_path / "a.pth")
    for suffix in ("npz", "safetensors", "pth"):
        assert torch.equal(read_state(tmp_path / f"a.{suffix}", "anything")["x"], tensor)
    torch.save([tensor], tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:40])
    for name in ("list.pth", "text.pth", "cut.npz"):
        with pytest.raises(BundleError, match=f"{name}: not ") as error:
            read_state(tmp_path / name, "weights of mine")
        assert "\n" not in str(error.value)
    with pytest.raises(BundleError, match="no such file"):
        read_state(tmp_path / "b.pth", "weights")
