"""Exported models: they describe themselves, need no torch to run, and what is none of them is named."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import ROOT
from typer.testing import CliRunner

import gfla_cli.runtime.export as export_module
import gfla_cli.runtime.providers as providers
from gfla_cli.app import app
from gfla_cli.bundles.bundle import load_bundle, save_bundle
from gfla_cli.config import preset
from gfla_cli.errors import BundleError, GflaError, UsageError
from gfla_cli.networks.build import build
from gfla_cli.runtime.cache import cached_export
from gfla_cli.runtime.export import export_onnx
from gfla_cli.runtime.onnx_graph import OnnxGraph
from gfla_cli.runtime.onnx_session import OnnxSession, open_exported
from gfla_cli.runtime.session import model_config, open_session

ANNA, BEN = ROOT / "assets" / "anna.jpg", ROOT / "assets" / "ben.jpg"
TINY = replace(preset("pose-people"), image_size=(64, 64), heatmap_sigma=2, width=8, flow_width=8)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_bundle(folder, TINY, build(TINY).state_dict(), dtype=torch.float32, license="MIT")
    return folder


@pytest.fixture(scope="module")
def exported(bundle, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "tiny.onnx"
    return export_onnx(bundle, path)


def inputs(batch, height, width):
    rng = np.random.default_rng(batch * height + width)
    return [rng.random((batch, channels, height, width), np.float32) for channels in (3, 18, 18)]


def refused(result, code, *words):
    """One line of what and a hint, no traceback, the expected exit code, and nothing on stdout."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if " on ONNX Runtime" not in line]
    assert [line[:6] for line in lines] == ["gfla: ", "      "], result.stderr
    for word in words:
        assert word in result.stderr
    return True


def command_without_torch(folder, *arguments):
    """Runs a command in a process of its own, which must not load torch; its output and its lines on stderr."""
    code = (
        "import sys\nfrom gfla_cli.app import app\n"
        f"try:\n    app({[str(argument) for argument in arguments]!r})\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "assert 'onnxruntime' in sys.modules and not {'torch', 'onnx'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout, result.stderr.splitlines()


def test_the_report_compares_several_sizes(exported):
    assert len({(check.batch, check.height) for check in exported.checks}) == 3
    assert all(check.largest_difference < 1e-4 for check in exported.checks)


@pytest.mark.parametrize("size", [(1, 64, 64), (3, 96, 32), (2, 128, 160)])
def test_any_batch_and_frame_size_agrees_with_torch(exported, bundle, size):
    x = inputs(*size)
    with torch.inference_mode():
        expected = load_bundle(bundle).network(*map(torch.from_numpy, x)).image.numpy()
    np.testing.assert_allclose(open_exported(exported.path).image(*x), expected, atol=1e-4)


def test_the_file_says_what_it_is(exported, bundle):
    assert model_config(exported.path) == model_config(bundle) == TINY
    session = open_exported(exported.path)
    assert (session.config, session.name, session.about["license"]) == (TINY, "tiny", "MIT")
    assert open_session(exported.path.parent, "pose").config == TINY  # its folder will do
    with pytest.raises(BundleError, match="task pose"):
        open_session(exported.path, "face")
    with pytest.raises(UsageError, match="torch does not run it"):
        open_session(exported.path, "pose", runtime="torch")


def test_pose_transfer_takes_the_file_and_loads_no_torch(exported, tmp_path):
    arguments = ("pose-transfer", ANNA, "--pose", BEN, "-o", "out.png", "--threads", "1", "--model", exported.path)
    assert command_without_torch(tmp_path, *arguments) == ("out.png\n", ["gfla: tiny on ONNX Runtime, CPU"])
    assert (tmp_path / "out.png").is_file()


def test_runtime_onnx_exports_a_bundle_once(bundle, exported, tmp_path, monkeypatch):
    calls = []

    def quick(model, output, *, half, overwrite):
        calls.append(half)
        shutil.copy(exported.path, output)

    monkeypatch.setattr(export_module, "export_onnx", quick)
    monkeypatch.setenv("GFLA_CACHE", str(tmp_path / "cache"))
    first, again = cached_export(bundle), cached_export(bundle)
    assert first == again
    assert first.is_relative_to(tmp_path / "cache")
    assert calls == [False]
    assert isinstance(open_session(bundle, "pose", runtime="onnx"), OnnxSession)
    assert calls == [False]
    with pytest.raises(UsageError, match="computes in fp32"):  # what the stand-in for the export made
        open_session(bundle, "pose", runtime="onnx", precision="fp16")
    assert calls == [False, True]
    with pytest.raises(UsageError, match="not in bf16"):
        open_session(bundle, "pose", runtime="onnx", precision="bf16")


def test_a_bundle_for_another_task_is_refused_before_it_is_exported(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "export_onnx", lambda *_, **__: pytest.fail("was exported"))
    monkeypatch.setenv("GFLA_CACHE", str(tmp_path))
    with pytest.raises(BundleError, match="task pose, not for face or body"):
        open_session(bundle, "face", "body", runtime="onnx")


def test_half_precision_is_half_the_size_and_says_so(exported, bundle, tmp_path):
    half = export_onnx(bundle, tmp_path / "half.onnx", half=True)
    assert half.megabytes < 0.75 * exported.megabytes  # of this tiny model the graph itself is a good part
    session = open_exported(half.path, precision="fp16")
    assert session.place == "ONNX Runtime, CPU, fp16"
    x = inputs(1, 64, 64)
    assert 0 < np.abs(session.image(*x) - open_exported(exported.path).image(*x)).max() < 1e-2
    with pytest.raises(UsageError, match="computes in fp16, as it was exported, not in fp32"):
        open_session(half.path, "pose", precision="fp32")


def test_a_result_that_differs_fails_and_leaves_nothing(bundle, exported, tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "to_onnx", lambda graph: exported.path.read_bytes())
    monkeypatch.setattr(OnnxSession, "image", lambda self, image, *_: image + 1)
    with pytest.raises(GflaError, match="differs from torch"):
        export_onnx(bundle, tmp_path / "wrong.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_dies_leaves_nothing(bundle, tmp_path, monkeypatch):
    def dies(graph):
        raise KeyboardInterrupt

    monkeypatch.setattr(export_module, "to_onnx", dies)
    with pytest.raises(KeyboardInterrupt):
        export_onnx(bundle, tmp_path / "half-written.onnx")
    assert list(tmp_path.iterdir()) == []


def foreign(path, *, opset=18, metadata=None, operator="Identity"):
    """A model that gfla did not make."""
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(operator, ["x"], ["y"])],
        "identity",
        [value("x", onnx.TensorProto.FLOAT, [1])],
        [value("y", onnx.TensorProto.FLOAT, [1])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)
    onnx.helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
    return path


POSE = json.dumps({"model": TINY.to_json()})


@pytest.mark.parametrize(
    ("make", "said", "hint"),
    [
        (lambda path: path.write_text("hello"), "not a model that ONNX Runtime reads", "export it again"),
        (lambda path: path.write_bytes(b""), "not a model that ONNX Runtime reads", "export it again"),
        (lambda path: None, "no such file", "gfla export-onnx"),
        (lambda path: path.mkdir(), "no such file", "gfla export-onnx"),
        (foreign, "not one of gfla's", "gfla export-onnx"),
        (lambda path: foreign(path, opset=99), "a newer ONNX than onnxruntime", "pip install --upgrade onnxruntime"),
        (lambda path: foreign(path, operator="Nonsense"), "not a model that ONNX Runtime reads", "export it again"),
        (lambda path: foreign(path, metadata={"gfla": '{"model": {"width": 1e9}}'}), "damaged", "export it again"),
        (lambda path: foreign(path, metadata={"gfla": "[" * 9999}), "damaged", "export it again"),
        (lambda path: foreign(path, metadata={"gfla": "[1]"}), "damaged", "export it again"),
        (lambda path: foreign(path, metadata={"gfla": POSE}), "was not made for", "export it again"),
    ],
)
def test_files_that_are_no_model_of_ours_are_named(tmp_path, monkeypatch, make, said, hint):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "odd.onnx")
    before = list(tmp_path.iterdir())
    arguments = ["pose-transfer", str(ANNA), "--pose", str(BEN), "--model", "odd.onnx"]
    assert refused(CliRunner().invoke(app, arguments), 1, said, hint)
    assert list(tmp_path.iterdir()) == before


def test_names_of_strangers_do_not_steer_the_terminal(exported, tmp_path):
    model = onnx.load(exported.path)
    about = json.loads(model.metadata_props[0].value)
    for name, shown in (("\x1b[2Jred\n", "[2Jred"), ("x" * 999, "x" * 80), ("\x07", "odd"), (["a"], "['a']")):
        onnx.helper.set_model_props(model, {"gfla": json.dumps(about | {"name": name})})
        onnx.save(model, tmp_path / "odd.onnx")
        assert open_exported(tmp_path / "odd.onnx").name == shown


def test_bad_requests_are_refused_before_the_export_begins(bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = lambda *arguments: CliRunner().invoke(app, ["export-onnx", "--model", str(bundle), *arguments])  # noqa: E731
    assert refused(run("-o", "model.pt"), 2, "an exported model is an .onnx file")
    assert refused(run("-o", "no/folder/model.onnx"), 2, "does not exist")
    (tmp_path / "there.onnx").touch()
    assert refused(run("-o", "there.onnx"), 2, "--overwrite")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    assert refused(run("-o", "locked.onnx"), 1, "no permission to write there")


def test_damaged_bundles_and_missing_packages_are_named(bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    damaged = tmp_path / "damaged"
    shutil.copytree(bundle, damaged)
    os.truncate(damaged / "model.safetensors", 100)
    run = lambda model: CliRunner().invoke(app, ["export-onnx", "-q", "--model", str(model), "-o", "o.onnx"])  # noqa: E731
    assert refused(run(damaged), 1, "damaged")
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert refused(run(bundle), 1, "exporting to ONNX needs onnx", 'pip install "gfla[export]"')
    assert not (tmp_path / "o.onnx").exists()


# --- where it runs

GPU = ["TensorrtExecutionProvider", "CUDAExecutionProvider"]


def test_a_provider_that_cannot_be_used_is_not_tried(monkeypatch):
    built_for = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: built_for)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(providers, "_has_nvidia_gpu", lambda: False)
    assert providers.providers_for("auto") == ["CPUExecutionProvider"]
    with pytest.raises(UsageError, match="no NVIDIA GPU"):
        providers.providers_for("cuda")
    with pytest.raises(UsageError, match="no CoreML"):
        providers.providers_for("mps")
    monkeypatch.setattr(providers, "_has_nvidia_gpu", lambda: True)
    monkeypatch.setattr(providers, "_loads", lambda library: False)
    assert providers.providers_for("auto") == built_for[1:]
    monkeypatch.setattr(providers, "_loads", lambda library: True)
    assert providers.providers_for("cuda") == built_for
    assert providers.providers_for("cpu") == ["CPUExecutionProvider"]


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_gpu_without_its_libraries_is_said_in_one_line(exported, monkeypatch, capfd):
    monkeypatch.setattr("gfla_cli.runtime.onnx_graph.providers_for", lambda _: ["NoExecutionProvider", providers.CPU])
    session = open_exported(exported.path)
    assert session.place == "ONNX Runtime, CPU (the GPU's libraries are missing)"
    assert session.image(*inputs(1, 64, 64)).shape == (1, 3, 64, 64)
    with pytest.raises(UsageError, match="--device cuda: ONNX Runtime cannot use it"):
        open_exported(exported.path, "cuda")
    assert capfd.readouterr() == ("", "")


@pytest.mark.filterwarnings("ignore:Specified provider")
@pytest.mark.parametrize(("local_rank", "gpus", "taken"), [(1, 2, 1), (5, 2, 0)])
def test_several_processes_of_a_machine_take_a_gpu_each(exported, monkeypatch, local_rank, gpus, taken):
    asked, start = [], onnxruntime.InferenceSession

    def noted(*args, **options):
        asked.append(options["providers"])
        return start(*args, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", noted)
    monkeypatch.setattr("gfla_cli.runtime.onnx_graph.providers_for", lambda _: [*GPU, providers.CPU])
    monkeypatch.setattr(providers, "_gpus", lambda: gpus)
    OnnxGraph(exported.path, "tiny")
    assert asked[0] == [*GPU, providers.CPU]  # of one process alone
    names = {"RANK": 7, "WORLD_SIZE": 8, "LOCAL_RANK": local_rank, "MASTER_PORT": 1, "MASTER_ADDR": "localhost"}
    for name, value in names.items():
        monkeypatch.setenv(name, str(value))
    asked.clear()
    OnnxGraph(exported.path, "tiny")
    assert asked[0] == [*((name, {"device_id": taken}) for name in GPU), providers.CPU]


def test_no_more_threads_than_allowed(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert (providers.cpu_threads(None), providers.cpu_threads(5)) == (3, 5)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert providers.cpu_threads(None) == 0


def test_memory_that_runs_out_is_said(exported):
    graph = OnnxGraph(exported.path, "tiny")

    class Full:
        def run(self, *_):
            raise RuntimeError("Failed to allocate memory for requested buffer of size 17179869184")

    graph._session = Full()
    with pytest.raises(GflaError, match="tiny: out of memory on CPU"):
        graph.run(dict(zip(("source_image", "source_structure", "target_structure"), inputs(1, 64, 64), strict=True)))


# --- how fast


def test_the_benchmark_starts_every_runtime_in_a_process_of_its_own(bundle, monkeypatch):
    commands = []

    def run(command, **_):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    arguments = ["benchmark", "pose-transfer", "--model", str(bundle), "--rounds", "1", "--threads", "1"]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    speeds = json.loads(result.stdout)["transfers"]
    assert [speed["name"] for speed in speeds] == ["torch", "torch, fp32", "ONNX Runtime"]
    assert speeds[0]["cold_ratio"] == speeds[0]["warm_ratio"] == 1
    assert all(0 < speed["network_milliseconds"] < speed["warm_milliseconds"] for speed in speeds)
    assert len(commands) == 6  # each once to warm the disk, once to be measured
    models = [command[command.index("--model") + 1] for command in commands[:3]]
    assert models[:2] == [str(bundle)] * 2
    assert models[2].endswith(".onnx")
    assert all(command[1:4] == ["-m", "gfla_cli", "pose-transfer"] for command in commands)


def test_a_run_that_fails_is_not_measured(bundle, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "gfla: no person found")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    result = CliRunner().invoke(app, ["benchmark", "pose-transfer", "--model", str(bundle), "--rounds", "1"])
    assert result.exit_code == 1
    assert "was to be measured failed: gfla: no person found" in result.stderr
