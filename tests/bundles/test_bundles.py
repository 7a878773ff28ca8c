"""Bundles on disk: written whole, read back exactly, refused clearly when damaged; the authors' checkpoints come in."""

from __future__ import annotations

import json
import os
import zipfile

import pytest
import torch
from paths import GOLDEN
from tiny_models import save_tiny, tiny
from typer.testing import CliRunner

import gfla_cli
from gfla_cli.app import app
from gfla_cli.bundles.bundle import load_bundle, save_bundle
from gfla_cli.bundles.convert import (
    aliases,
    export_checkpoint,
    import_checkpoint,
    names_from_authors,
    to_authors,
    translate,
)
from gfla_cli.bundles.shelf import bundle_names, find_bundle
from gfla_cli.config import preset
from gfla_cli.errors import BundleError, MediaError, UsageError
from gfla_cli.networks.build import build

TINY = tiny()
TASKS = [
    ("pose_fashion", "pose-fashion"),
    ("pose_market", "pose-market"),
    ("face", "face"),
    ("dance", "body"),
    ("shapenet", "view-chair"),
]


@pytest.fixture
def bundle(tmp_path):
    return save_tiny(tmp_path / "tiny", TINY, license="MIT", card="# tiny\n")


def test_a_saved_bundle_comes_back_as_it_was(tmp_path):
    network = build(TINY).eval()
    save_bundle(tmp_path / "b", TINY, network.state_dict(), dtype=torch.float32, license="MIT")
    loaded = load_bundle(tmp_path / "b")
    assert (loaded.config, loaded.name, loaded.about["license"]) == (TINY, "b", "MIT")
    assert not loaded.network.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], tensor)


def test_a_bundle_has_no_place_in_a_file(tmp_path):
    (tmp_path / "file").write_text("precious")
    for folder in (tmp_path / "file", tmp_path / "file" / "b"):
        with pytest.raises(MediaError, match="cannot be made"):
            save_bundle(folder, TINY, {})


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_everybody_may_read_a_bundle(bundle):
    modes = {path.stat().st_mode & 0o777 for path in bundle.iterdir()}
    mask = os.umask(0)
    os.umask(mask)
    assert modes == {0o666 & ~mask}


def test_the_public_loader_is_the_same(bundle):
    made = gfla_cli.load_bundle(str(bundle)).network(torch.zeros(1, 3, 64, 64), *torch.zeros(2, 1, 36, 64, 64))
    assert made.image.shape == (1, 3, 64, 64)
    assert len(made.flows) == len(TINY.levels)
    assert made.flows[0].offset.shape == (1, 2, 8, 8)


def test_a_shelf_of_ones_own_comes_first(bundle, monkeypatch):
    monkeypatch.setenv("GFLA_MODELS", str(bundle.parent))
    assert "tiny" in bundle_names()
    assert find_bundle("tiny") == bundle


def test_an_unknown_name_lists_the_known_ones(bundle, monkeypatch):
    monkeypatch.setenv("GFLA_MODELS", str(bundle.parent))
    with pytest.raises(BundleError, match="unknown model: nobody") as caught:
        find_bundle("nobody")
    assert "tiny" in caught.value.hint


def damage_weights(folder):
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-10] ^= 0xFF
    path.write_bytes(content)


def cut_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def lose_weights(folder):
    (folder / "model.safetensors").unlink()


def garble_config(folder):
    (folder / "config.json").write_text("{")


def foreign_config(folder):
    (folder / "config.json").write_text('{"architecture": "resnet"}')


def change_model(folder):
    path = folder / "config.json"
    content = json.loads(path.read_text())
    content["model"]["width"] = 16
    path.write_text(json.dumps(content))


def ask_for_the_moon(folder):
    path = folder / "config.json"
    content = json.loads(path.read_text())
    content["model"]["width"] = 10**9
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "harm",
    [damage_weights, cut_weights, lose_weights, garble_config, foreign_config, change_model, ask_for_the_moon],
)
def test_a_damaged_bundle_is_refused_in_one_line(bundle, harm):
    harm(bundle)
    with pytest.raises(BundleError) as caught:
        load_bundle(bundle)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("task", "name"), TASKS)
def test_the_table_of_names_covers_every_released_tensor_once(task, name):
    config = preset(name)
    released = [entry for entry, _ in json.loads((GOLDEN / f"{task}.tensors.json").read_text())]
    doubled = aliases(config)
    table = names_from_authors(config)
    assert all(entry in table or entry in doubled for entry in released)
    assert all(original in released for double, original in doubled.items() if double in released)
    with torch.device("meta"):
        ours = set(build(config).state_dict())
    assert {table[entry] for entry in released if entry not in doubled} == ours
    assert len(set(table.values())) == len(table)


@pytest.mark.shared
@pytest.mark.parametrize("task", [task for task, _ in TASKS])
def test_the_lists_of_names_are_those_of_the_released_files(shared, task):
    theirs, ours = (folder / f"{task}.tensors.json" for folder in (shared / "parity", GOLDEN))
    assert json.loads(theirs.read_text()) == json.loads(ours.read_text())


def doubled_alike(state, config):
    """As in a real checkpoint, where both names of a tensor hold the same values."""
    return state | {double: state[name] for double, name in aliases(config).items() if name in state}


@pytest.mark.parametrize(("task", "name"), TASKS)
def test_names_go_to_ours_and_back_without_loss(seeded, task, name):
    config = preset(name)
    released = doubled_alike(seeded.state(task), config)
    back = to_authors(translate(released, config), config)
    assert back.keys() == released.keys()
    assert all(torch.equal(back[entry], released[entry]) for entry in released)


@pytest.mark.parametrize(("task", "name"), [*TASKS, ("shapenet", "view-car")])
def test_every_flow_estimator_is_imported_by_itself(seeded, task, name):
    config = preset(name)
    released = doubled_alike(seeded.state(task), config)
    flow = {entry: tensor for entry, tensor in released.items() if entry.startswith("flow_net")}
    ours = translate(flow, config)
    assert 0 < len(ours) < len(translate(released, config))
    assert to_authors(ours, config).keys() == flow.keys()


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_checkpoint_comes_back_from_a_bundle_to_the_last_bit(seeded, tmp_path):
    released = doubled_alike(seeded.state("pose_market"), preset("pose-market"))
    torch.save({f"module.{name}": tensor for name, tensor in released.items()}, tmp_path / "g.pth")
    assert run("models", "import", tmp_path / "g.pth", "--preset", "pose-market", "-o", tmp_path / "b").exit_code == 0
    result = run("models", "export-pth", tmp_path / "b", "-o", tmp_path / "back.pth")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [str(tmp_path / "back.pth")]
    assert "CC BY-NC 4.0" in result.stderr
    assert not zipfile.is_zipfile(tmp_path / "back.pth")  # the authors' torch 1.0 reads no archives
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert back.keys() == released.keys()
    assert all(torch.equal(back[name], released[name]) for name in released)
    again = run("models", "export-pth", tmp_path / "b", "-o", tmp_path / "back.pth")
    assert (again.exit_code, "--overwrite" in again.stderr) == (2, True)


def test_the_licence_of_imported_weights_is_shown(seeded, tmp_path):
    torch.save(seeded.state("pose_market"), tmp_path / "g.pth")
    result = run("models", "import", tmp_path / "g.pth", "--preset", "pose-market", "-o", tmp_path / "b")
    assert "CC BY-NC 4.0" in result.stderr
    assert "license: cc-by-nc-4.0" in (tmp_path / "b" / "README.md").read_text()
    shown = run("models", "show", tmp_path / "b").stdout
    assert "CC BY-NC 4.0" in shown
    assert "commercial use is not allowed" in shown


def test_a_flow_estimator_alone_is_a_bundle_that_draws_nothing(seeded, tmp_path):
    released = doubled_alike(seeded.state("pose_market"), preset("pose-market"))
    flow = {name: tensor for name, tensor in released.items() if name.startswith("flow_net.")}
    torch.save({name.removeprefix("flow_net."): tensor for name, tensor in flow.items()}, tmp_path / "flow.pth")
    folder = import_checkpoint(tmp_path / "flow.pth", "pose-market", tmp_path / "flow")
    with pytest.raises(BundleError, match="only a flow estimator"):
        load_bundle(folder)
    assert "flow estimator alone" in (folder / "README.md").read_text()
    assert export_checkpoint(folder, tmp_path / "back.pth") == len(flow)
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert all(torch.equal(back[name], flow[name]) for name in flow)


def test_the_flow_estimator_of_a_whole_generator_can_be_exported_alone(seeded, tmp_path):
    torch.save(seeded.state("pose_market"), tmp_path / "g.pth")
    folder = import_checkpoint(tmp_path / "g.pth", "pose-market", tmp_path / "b")
    result = run("models", "export-pth", folder, "-o", tmp_path / "flow.pth", "--flow-only")
    assert result.exit_code == 0, result.output
    assert {name.split(".")[0] for name in torch.load(tmp_path / "flow.pth", weights_only=True)} == {"flow_net"}


def test_a_network_that_the_authors_do_not_have_is_not_exported(bundle, tmp_path):
    with pytest.raises(UsageError, match=r"no such network: it differs in .*source_norm"):
        export_checkpoint(bundle, tmp_path / "out.pth")
    assert not (tmp_path / "out.pth").exists()


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_released_checkpoint_becomes_a_bundle(seeded, tmp_path, prefix):
    state = {prefix + name: tensor for name, tensor in seeded.state("pose_market").items()}
    torch.save(state, tmp_path / "latest_net_G.pth")
    folder = import_checkpoint(tmp_path / "latest_net_G.pth", "pose-market", tmp_path / "market")
    bundle = load_bundle(folder)
    assert bundle.config == preset("pose-market")
    assert bundle.about["license"] == "CC BY-NC 4.0"
    expected = seeded.state("pose_market")["source.block0.model.2.weight"]
    assert torch.equal(bundle.network.source_encoder.down[0].down.weight, expected)


def test_a_checkpoint_that_does_not_fit_is_refused_with_a_list(seeded, tmp_path):
    torch.save(seeded.state("pose_fashion"), tmp_path / "fashion.pth")
    with pytest.raises(BundleError) as caught:
        import_checkpoint(tmp_path / "fashion.pth", "pose-market", tmp_path / "market")
    message = str(caught.value)
    assert "8 unknown" in message
    assert "target.attn0.fully_connect_layer.0.weight" in message
    assert "(128, 256, 5, 5) instead of (128, 256, 3, 3)" in message
    assert not (tmp_path / "market").exists()


def test_missing_tensors_are_named(seeded, tmp_path):
    state = seeded.state("pose_market")
    del state["flow_net.mask2.0.bias"]
    torch.save(state, tmp_path / "short.pth")
    with pytest.raises(BundleError, match=r"1 missing: flow_net\.mask2\.0\.bias"):
        import_checkpoint(tmp_path / "short.pth", "pose-market", tmp_path / "out")


def test_a_text_file_is_not_a_checkpoint(tmp_path):
    (tmp_path / "x.pth").write_text("hello")
    with pytest.raises(BundleError, match=r"x\.pth"):
        import_checkpoint(tmp_path / "x.pth", "pose-market", tmp_path / "out")


def test_import_does_not_write_over_other_files(seeded, tmp_path):
    torch.save(seeded.state("pose_market"), tmp_path / "g.pth")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="not empty"):
        import_checkpoint(tmp_path / "g.pth", "pose-market", tmp_path / "out")
