"""Untrusted weights: only tensors are read, and never more than the file holds."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch
from tiny_models import save_tiny, tiny

import gfla_cli.bundles.files as bundle_files
from gfla_cli.arrays import read_npz
from gfla_cli.bundles.bundle import load_bundle
from gfla_cli.bundles.convert import import_checkpoint, read_tensors
from gfla_cli.errors import BundleError
from gfla_cli.losses.image import load_vgg19


@pytest.fixture
def bundle(tmp_path):
    """A bundle that does not say which hash its weights have."""
    folder = save_tiny(tmp_path / "tiny", tiny())
    content = json.loads((folder / "config.json").read_text())
    del content["sha256"]
    (folder / "config.json").write_text(json.dumps(content))
    return folder


def claiming(shape, stop):
    header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, stop]}}).encode()
    return struct.pack("<Q", len(header)) + header + b"\0" * 64


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    "content",
    [claiming([10**12], 4 * 10**12), claiming([16], 10**13), claiming([2**62, 4], 64), struct.pack("<Q", 2**62) + b"{}",
     claiming([-1, -16], 64), claiming([16], 64)],
    ids=["terabytes", "beyond the end", "overflow", "a header of exabytes", "negative", "another tensor"],
)  # fmt: skip
def test_safetensors_are_as_large_as_they_are_not_as_they_say(bundle, content):
    (bundle / "model.safetensors").write_bytes(content)
    with pytest.raises(BundleError):
        load_bundle(bundle)


def test_a_bundle_s_files_have_a_largest_size(bundle, monkeypatch):
    monkeypatch.setitem(bundle_files.LARGEST, "model.safetensors", 1000)
    with pytest.raises(BundleError, match="too much"):
        load_bundle(bundle)


def test_a_config_of_nested_lists_is_refused(bundle):
    (bundle / "config.json").write_text("[" * 100_000)
    with pytest.raises(BundleError, match="not readable"):
        load_bundle(bundle)


def bomb(path, name, megabytes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, bytes(megabytes << 20))


@pytest.mark.usefixtures("little_memory")
def test_archives_that_unpack_to_more_than_they_are_are_refused(tmp_path, monkeypatch):
    bomb(tmp_path / "g.pth", "archive/data/0", 50)
    with pytest.raises(BundleError, match="unpacks to 52 MB"):
        read_tensors(tmp_path / "g.pth")
    monkeypatch.setattr("gfla_cli.arrays._LARGEST", 10 << 20)
    bomb(tmp_path / "a.npz", "a.npy", 50)
    with pytest.raises(ValueError, match="GB of arrays"):
        read_npz(tmp_path / "a.npz")


class Surprise:
    """Pickles to a call; loading it as code would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_no_reader_runs_what_a_pickle_asks_for(tmp_path):
    surprise = Surprise(tmp_path / "ran")
    torch.save({"a": surprise}, tmp_path / "evil.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"a": surprise}))
    np.savez(tmp_path / "evil.npz", a=np.array([surprise], object))
    for name in ("evil.pth", "plain.pth", "evil.npz"):
        with pytest.raises(BundleError):
            load_vgg19(tmp_path / name)
    for name in ("evil.pth", "plain.pth"):
        with pytest.raises(BundleError, match="plain tensors"):
            import_checkpoint(tmp_path / name, "pose-market", tmp_path / "out")
    assert not (tmp_path / "ran").exists()


@pytest.mark.usefixtures("little_memory")
def test_an_array_is_no_larger_than_its_archive(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**7)})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("features.0.weight.npy", header.getvalue() + b"\0" * 100)
    with pytest.raises(BundleError, match="not readable as a VGG19"):
        load_vgg19(tmp_path / "a.npz")


@pytest.mark.parametrize("tensor", [torch.zeros(1).expand(10**9, 10**9), torch.zeros(3, 3).to_sparse()])
def test_tensors_that_are_more_than_their_numbers_are_not_copied(tmp_path, tensor):
    torch.save({"features.0.weight": tensor, "features.0.bias": torch.zeros(64)}, tmp_path / "vgg.pth")
    with pytest.raises(BundleError):
        load_vgg19(tmp_path / "vgg.pth")
    torch.save({"source.block0.model.2.weight": tensor}, tmp_path / "g.pth")
    with pytest.raises(BundleError):
        import_checkpoint(tmp_path / "g.pth", "pose-market", tmp_path / "out")
