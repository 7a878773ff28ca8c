"""Models of the hub are checked, cached and limited in size, and no failure leaves an incomplete file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from local_hub import LocalHub
from tiny_models import save_tiny, tiny
from typer.testing import CliRunner

from gfla_cli.app import app
from gfla_cli.bundles.bundle import load_bundle
from gfla_cli.bundles.files import LARGEST
from gfla_cli.bundles.hub import HubName, fetch, hub_bundle, parse_hub_name
from gfla_cli.errors import BundleError, UsageError

MODEL = "hf:somebody/model"
TINY = tiny()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny", TINY, license="MIT", card="# tiny\n")


@pytest.fixture(scope="module")
def files(bundle):
    return {path.name: path.read_bytes() for path in bundle.iterdir()}


@pytest.fixture
def hub(files, tmp_path, monkeypatch):
    """A hub with one model among other files, and an empty cache."""
    extra = {"training_args.bin": b"\x80\x04.", "onnx/model.onnx": b"x", "model.bin": b"\x80\x04."}
    with LocalHub({**files, **extra}) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # another protocol than HTTP
        monkeypatch.setattr("time.sleep", lambda seconds: None)  # between two tries
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        yield server


def cached(tmp_path):
    """Every file of the cache that holds anything of a repository, finished or not."""
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file() and "blobs" in path.parts)


def run(*arguments, **options):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], **options)


def test_only_the_files_of_a_bundle_are_fetched_and_they_are_those_of_the_hub(hub, files):
    folder = hub_bundle(MODEL)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    assert sorted(hub.downloads) == sorted(files)


def test_a_model_of_the_hub_loads_by_its_name_and_is_asked_for_once(hub, bundle):
    loaded = load_bundle(MODEL)
    assert (loaded.name, loaded.config, loaded.about["license"]) == ("model", TINY, "MIT")
    asked = len(hub.asked)
    assert torch.equal(load_bundle(MODEL).network.state_dict()["decoder.to_image.conv.weight"],
                       load_bundle(bundle).network.state_dict()["decoder.to_image.conv.weight"])  # fmt: skip
    assert len(hub.asked) == asked


def test_a_cached_model_needs_no_network(hub, monkeypatch):
    folder = hub_bundle(MODEL)
    asked = len(hub.asked)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub_bundle(MODEL) == folder
    assert len(hub.asked) == asked
    with pytest.raises(BundleError, match="HF_HUB_OFFLINE"):
        hub_bundle("hf:somebody/other")


def test_a_download_that_is_cut_goes_on_where_it_stopped(hub, files):
    hub.cut["model.safetensors"] = [5000, 7000, 10**9]
    folder = hub_bundle(MODEL)
    assert (folder / "model.safetensors").read_bytes() == files["model.safetensors"]
    assert hub.downloads.count("model.safetensors") == 3


def test_a_download_that_never_ends_leaves_nothing_and_says_what_to_do(hub, tmp_path):
    hub.cut["model.safetensors"] = [5000, 0]
    result = run("models", "pull", MODEL)
    assert result.exit_code == 1
    assert "cannot be downloaded" in result.stderr
    assert "try again" in result.stderr
    assert cached(tmp_path) == []
    hub.cut.clear()
    assert run("models", "pull", MODEL).exit_code == 0


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "README.md"])
def test_a_file_with_another_hash_is_refused_and_removed(hub, files, tmp_path, name):
    changed = bytearray(files[name])
    changed[-3] ^= 1
    hub.swapped[name] = bytes(changed)
    with pytest.raises(BundleError, match=f"{name} is not what the hub's hash says"):
        hub_bundle(MODEL)
    assert hub.etag(name) not in cached(tmp_path)
    assert all(path.name != name for path in (tmp_path / "cache").rglob("*"))
    with pytest.raises(BundleError):
        hub_bundle(MODEL)  # nor does the cache take the rest for a model
    hub.swapped.clear()
    assert (hub_bundle(MODEL) / name).read_bytes() == files[name]


def test_a_cached_file_that_rots_is_found_out(hub):
    weights = hub_bundle(MODEL) / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.resolve().write_bytes(content)
    with pytest.raises(BundleError, match="damaged"):
        load_bundle(MODEL)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "README.md"])
def test_what_is_too_large_is_not_even_begun(hub, name):
    hub.sizes[name] = LARGEST[name] + 1
    with pytest.raises(BundleError, match=f"{name} is .* at most"):
        hub_bundle(MODEL)
    assert hub.downloads == []


def test_pickles_are_no_bundle(hub):
    del hub.files["model.safetensors"]
    with pytest.raises(BundleError, match=r"no model\.safetensors") as caught:
        hub_bundle(MODEL)
    assert "pickles are never read" in caught.value.hint
    assert hub.downloads == []


def test_a_newer_version_comes_with_pull_and_a_revision_is_kept_to(hub, files, tmp_path):
    first = hub_bundle(MODEL)
    pinned = hub.commit
    hub.files["README.md"] = b"# better\n"
    hub.commit = "b" * 40
    assert hub_bundle(MODEL) == first
    assert run("models", "pull", MODEL).exit_code == 0
    assert (hub_bundle(MODEL) / "README.md").read_bytes() == b"# better\n"
    asked = len(hub.asked)
    assert hub_bundle(f"{MODEL}@{pinned}") == first
    assert len(hub.asked) == asked


@pytest.mark.parametrize(
    ("name", "said"),
    [("hf:somebody/nothing", "no such model"), ("hf:somebody/model@elsewhere", "no such revision")],
)
def test_what_the_hub_does_not_have_is_named(hub, name, said):
    result = run("export-onnx", "--model", name)
    assert result.exit_code == 1
    assert f"{name}: {said}" in result.stderr


@pytest.mark.parametrize(
    "name", ["hf:model", "hf:a/b/c", "hf:../b", "hf:a/..", "hf:a/b@../../x", "hf:a/b@", "hf:/etc/passwd", "hf:a/b c"]
)
def test_names_that_are_none_are_refused(name):
    with pytest.raises(UsageError, match="not a name of a model"):
        parse_hub_name(name)


def test_names_come_back_as_they_were_written():
    assert str(parse_hub_name("hf:a-b/c.d_e")) == "hf:a-b/c.d_e"
    assert parse_hub_name("hf:a/b@refs/pr/1") == HubName("a/b", "refs/pr/1")


@pytest.mark.parametrize(
    "written", ["somebody/model", "https://huggingface.co/somebody/model", "huggingface.co/somebody/model/tree/main"]
)
def test_a_model_is_pulled_by_what_people_copy(hub, written, files):
    result = run("models", "pull", written)
    assert result.exit_code == 0, result.output
    assert sorted(hub.downloads) == sorted(files)


def test_models_that_come_with_gfla_need_no_download(hub, tmp_path):
    result = run("models", "pull", "pose-people", "-o", tmp_path / "copy")
    assert result.exit_code == 0, result.output
    assert "pose-people is installed" in result.stderr
    assert (tmp_path / "copy" / "model.safetensors").is_file()
    assert hub.asked == []


def test_a_repository_without_a_bundle_says_what_it_holds(hub):
    del hub.files["config.json"]
    result = run("models", "pull", MODEL)
    assert result.exit_code == 1
    assert "no bundle, it has no config.json" in result.stderr
    assert "it holds README.md, model.bin, model.safetensors, onnx/model.onnx, training_args.bin" in result.stderr


def test_networks_of_training_and_evaluation_can_be_pulled(hub, tmp_path, monkeypatch):
    hub.files = {"model.safetensors": b"abc"}
    monkeypatch.setattr("gfla_cli.losses.image._HUB", ("somebody/model", "model.safetensors"))
    result = run("models", "pull", "vgg19")
    assert result.exit_code == 0, result.output
    assert Path(result.stdout.strip()).read_bytes() == b"abc"
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (folder / "vgg16-397923af.pth").write_bytes(b"abc")
    assert run("models", "pull", "vgg16").stdout.strip() == str(folder / "vgg16-397923af.pth")
    assert run("models", "pull", "vgg16", "-o", tmp_path / "copy").exit_code == 2


def test_a_name_without_hf_gets_a_hint(hub):
    result = run("models", "show", "somebody/model")
    assert result.exit_code == 1
    assert "hf:somebody/model for one of the hub" in result.stderr


def test_one_file_is_fetched_and_checked_too(hub, files):
    assert fetch("somebody/model", "model.safetensors").read_bytes() == files["model.safetensors"]
    assert hub.downloads == ["model.safetensors"]
    with pytest.raises(BundleError, match="no file"):
        fetch("somebody/model", "other.safetensors")


def test_pull_copies_and_list_and_show_know_the_model(hub, files, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    shown = run("models", "show", MODEL)
    assert "licence: MIT" in shown.stdout
    assert "# tiny" in shown.stdout
    assert "model.safetensors" not in hub.downloads
    result = run("models", "pull", MODEL, "-o", tmp_path / "mine")
    assert result.stdout.splitlines() == [str(tmp_path / "mine")]
    assert "licence: MIT" in result.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "mine").iterdir()} == files
    assert not (tmp_path / "mine" / "config.json").is_symlink()
    assert MODEL in run("models", "list").stdout
    assert run("models", "pull", MODEL, "-o", tmp_path / "mine").exit_code == 2


def test_an_untrusted_card_cannot_control_the_terminal(hub):
    hub.files["README.md"] = b"safe \x1b]0;owned\x07\x1b[2J \xe2\x80\xaetext\r\n"
    shown = run("models", "show", MODEL).stdout
    assert "safe ]0;owned[2J text\n" in shown


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of the hub's client, about itself
def test_push_shows_what_it_sends_asks_and_sends_a_bundle(hub, bundle, files, monkeypatch, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "thesis.txt").write_text("private")
    hub.files.clear()
    refused = run("models", "push", folder, MODEL)
    assert refused.exit_code == 2
    assert "hf auth login" in refused.stderr
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    asked = run("models", "push", folder, MODEL, input="n\n")
    assert asked.exit_code == 1
    assert all(name in asked.stderr for name in files)
    assert "MIT" in asked.stderr
    assert hub.asked == []
    sent = run("models", "push", folder, MODEL, "--yes")
    assert sent.exit_code == 0, sent.output
    assert hub.files == files
    assert "/commit/" in sent.stdout
    assert {token for method, _, token in hub.asked if method == "POST"} == {"Bearer hf_secret"}
    assert "hf_secret" not in asked.output + sent.output
    assert load_bundle(MODEL).config == TINY


def test_a_damaged_bundle_is_not_sent(hub, files, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    for name, content in files.items():
        (tmp_path / name).write_bytes(content[:-1] if name == "model.safetensors" else content)
    result = run("models", "push", tmp_path, MODEL, "--yes")
    assert "damaged" in result.stderr
    assert hub.asked == []


def test_the_command_obeys_hf_endpoint_and_hf_home(hub, tmp_path):
    switched = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    environment = {**os.environ, **switched, "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-m", "gfla_cli", "models", "pull", MODEL]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    assert folder.is_relative_to(tmp_path / "home")
    assert json.loads((folder / "config.json").read_text())["license"] == "MIT"
