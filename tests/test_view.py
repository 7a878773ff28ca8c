"""View synthesis: codes, cut-outs, framing, ShapeNet files, training, the command and its errors, evaluation."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from commands import refused
from conftest import ROOT
from PIL import Image
from typer.testing import CliRunner

from gfla_cli import ViewSynthesizer
from gfla_cli.app import app
from gfla_cli.bundles.bundle import load_bundle, save_bundle
from gfla_cli.bundles.importing import import_checkpoint
from gfla_cli.commands._view_scores import print_view_scores
from gfla_cli.config import preset
from gfla_cli.data.sample import ViewPair, unknown_correspondence
from gfla_cli.data.shapenet import ShapeNetPairs, find_file
from gfla_cli.errors import BundleError, ConfigError, DataError, DetectionError, MediaError, UsageError
from gfla_cli.landmarks.object_framing import frame_object
from gfla_cli.media.cutout import cut_out, read_cutout
from gfla_cli.media.image import read_image, write_image
from gfla_cli.media.video import probe
from gfla_cli.networks.build import build, initialise
from gfla_cli.networks.view_estimator import averaged
from gfla_cli.pipelines.evaluate_views import ViewAccuracy, ViewScore, evaluate_views
from gfla_cli.pipelines.train import RunOptions, run_training
from gfla_cli.runtime.device import Placement
from gfla_cli.structure.view import AZIMUTHS, ViewAngles, azimuth_difference, nearest_view, view_angles, view_code
from gfla_cli.training.recipe import LossWeights, Recipe, Stage, recipe, with_sampler
from gfla_cli.training.trainer import Trainer
from gfla_cli.training.view import ViewTask, view_batch

CPU = Placement(torch.device("cpu"), torch.float32, "test")
TINY = replace(preset("view-chairs"), image_size=(64, 64), width=8, flow_width=8, view_width=4)


def fresh(config):
    torch.manual_seed(0)
    network = build(config)
    initialise(network, "kaiming")
    return network


def code(azimuth, elevation=10):
    return torch.from_numpy(view_code(ViewAngles(azimuth, elevation)))[None, :, None, None]


def draw_chair(size=256, ground=(255, 255, 255), at=(0.3, 0.2, 0.7, 0.85)):
    """A brown L on a ground: back, seat, two legs."""
    picture = np.empty((size, size, 3), np.uint8)
    picture[:] = ground
    left, top, right, bottom = (round(share * size) for share in at)
    thick, middle = max(size // 20, 2), (top + bottom) // 2
    for box in (
        (left, top, left + thick, bottom),
        (left, middle, right, middle + thick),
        (right - thick, middle, right, bottom),
    ):
        picture[box[1] : box[3], box[0] : box[2]] = 120, 70, 40
    return picture


# --- codes


def test_codes_are_one_hot_and_blend_between_trained_angles():
    exact = view_code(ViewAngles(340, 20))
    assert np.flatnonzero(exact).tolist() == [17, 20]
    blended = view_code(ViewAngles(350, 5), "blend")
    assert {i: blended[i] for i in np.flatnonzero(blended)} == {0: 0.5, 17: 0.5, 18: 0.5, 19: 0.5}
    assert np.array_equal(view_code(ViewAngles(40, 10), "blend"), view_code(ViewAngles(40, 10)))


def test_the_nearest_trained_view_goes_around_the_circle():
    assert nearest_view(ViewAngles(355, 14)) == (0, 10)
    assert nearest_view(ViewAngles(50, 16)) == (40, 20)
    assert nearest_view(view_angles(-25, 0)) == (340, 0)
    assert azimuth_difference(350, 10) == 20
    assert azimuth_difference(0, 180) == 180


@pytest.mark.parametrize(("azimuth", "elevation"), [(361, 0), (-400, 0), (float("nan"), 0), (0, 21), (0, -1)])
def test_angles_out_of_range_are_refused(azimuth, elevation):
    with pytest.raises(UsageError, match="out of range"):
        view_angles(azimuth, elevation)


# --- networks


@pytest.mark.parametrize("size", [64, 128, 96])
def test_the_view_generator_takes_any_frame_and_encodes_the_source_once(size):
    network = fresh(TINY).eval()
    picture = torch.rand(1, 3, size, size) * 2 - 1
    made = network(picture, code(0), code(60))
    assert made.image.shape == (1, 3, size, size)
    encoded = network.encode_source(picture)
    for module in (*network.flow_estimator.down, network.source_encoder):
        module.register_forward_hook(lambda *_: pytest.fail("the source was encoded again"))
    assert torch.equal(made.image, network(picture, code(0), code(60), encoded).image)
    assert network.estimate_view(picture).shape == (1, 21)


@pytest.mark.parametrize("size", [(256, 256), (160, 96), (64, 128)])
def test_the_view_estimator_pools_as_torch_does(size):
    picture = torch.rand(2, 3, *size)
    torch.testing.assert_close(averaged(picture, 128), F.adaptive_avg_pool2d(picture, 128), atol=1e-6, rtol=0)


def test_another_code_gives_another_picture():
    network = fresh(TINY).eval()
    picture = torch.rand(1, 3, 64, 64) * 2 - 1
    assert not torch.allclose(network(picture, code(0), code(60)).image, network(picture, code(0), code(80)).image)


@pytest.mark.parametrize("sampler", ["local", "bilinear", "global", "pixels"])
def test_every_sampler_of_view_models_trains_all_its_parameters(sampler):
    config = with_sampler(replace(recipe("chairs"), model=TINY), sampler).model
    network = fresh(config)
    made = network(torch.rand(1, 3, 64, 64), code(0), code(60))
    terms = made.image.square().mean() + sum(flow.mask.mean() for flow in made.flows)
    terms = terms + sum(flow.offset.square().mean() for flow in made.flows)
    if config.view_width:
        terms = terms + network.estimate_view(torch.rand(1, 3, 64, 64)).square().mean()
    terms.backward()
    assert not [name for name, parameter in network.named_parameters() if parameter.grad is None]


def test_appearance_flow_moves_pixels_and_nothing_else():
    network = fresh(with_sampler(replace(recipe("chairs"), model=TINY), "pixels").model)
    picture = torch.full((1, 3, 64, 64), 0.25)
    torch.testing.assert_close(network(picture, code(0), code(60)).image, picture)


def test_samplers_that_make_no_sense_are_refused():
    with pytest.raises(ConfigError, match="none"):
        with_sampler(recipe("chairs"), "none")
    with pytest.raises(ConfigError, match="pixels"):
        with_sampler(recipe("people"), "pixels")


def test_the_default_view_model_fits_its_bundle():
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in build(preset("view-chairs")).parameters())
    assert count * 2 <= 9.9e6  # float16 bytes; the card and the header need room too


def test_recipes_of_the_paper_and_ours():
    flow, joint = recipe("shapenet").stages
    assert recipe("shapenet").model == preset("view-chair")
    assert (flow.weights.correctness, joint.weights.style, joint.learning_rate) == (20, 500, 1e-4)
    ours = recipe("chairs")
    assert [stage.train for stage in ours.stages] == ["flow", "joint", "joint"]
    assert ours.stages[0].weights.view > 0
    pixels = with_sampler(ours, "pixels")
    assert all(stage.weights.content == stage.weights.adversarial == 0 for stage in pixels.stages)


# --- own pictures


@pytest.mark.parametrize("ground", [(255, 255, 255), (140, 150, 160), (30, 30, 30)])
def test_an_object_on_plain_paper_is_cut_out_middle_and_gaps(ground):
    picture = draw_chair(ground=ground).astype(float) + np.random.default_rng(0).normal(0, 2, (256, 256, 3))
    shade = np.linspace(1, 0.85, 256)[:, None, None]
    cutout = cut_out((picture * shade).clip(0, 255).astype(np.uint8))
    true = (draw_chair() != 255).any(axis=2)
    found = cutout.cover > 127
    assert (found & true).sum() / (found | true).sum() > 0.8
    assert not cutout.guessed
    assert (cutout.on_white[~cv2.dilate(true.astype(np.uint8), np.ones((7, 7))).astype(bool)] == 255).all()


def test_a_soft_shadow_goes_with_the_background_and_so_do_wall_and_floor():
    picture = np.full((256, 256, 3), 225.0)
    y, x = np.mgrid[:256, :256]
    picture -= 60 * np.exp(-(((x - 128) / 60) ** 2 + ((y - 215) / 14) ** 2))[..., None]
    true = (draw_chair() != 255).any(axis=2)
    for scene in (picture, np.where(y[..., None] < 150, 225, (150, 120, 90))):
        pasted = np.where(true[..., None], draw_chair(), scene).astype(np.uint8)
        found = cut_out(pasted).cover > 127
        assert (found & true).sum() / (found | true).sum() > 0.75


def test_transparency_is_used_and_turned_with_the_picture(tmp_path):
    alpha = np.zeros((80, 100), np.uint8)
    alpha[10:30, 20:90] = 255
    colour = np.full((80, 100, 3), 90, np.uint8)
    image = Image.fromarray(np.dstack([colour, alpha]))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    image.save(tmp_path / "turned.png", exif=exif)
    cutout = read_cutout(tmp_path / "turned.png")
    assert cutout.cover.shape == (100, 80)
    assert cutout.cover[20:90, 50:70].min() == 255
    assert cutout.cover[:15].max() == 0
    assert (cutout.on_white[cutout.cover == 0] == 255).all()
    opaque = Image.fromarray(np.dstack([draw_chair(), np.full((256, 256), 255, np.uint8)]))
    opaque.save(tmp_path / "opaque.png")
    assert 0.02 < (read_cutout(tmp_path / "opaque.png").cover > 127).mean() < 0.3


def test_the_object_is_framed_as_training_pictures_are():
    notes = []
    framed = frame_object(cut_out(draw_chair(400, at=(0.05, 0.1, 0.3, 0.5))), (128, 128), "chair", notes)
    ys, xs = np.nonzero((framed < 200).any(axis=2))
    assert notes == []
    assert 0.7 < max(np.ptp(ys), np.ptp(xs)) / 128 < 0.8
    assert abs((ys.min() + ys.max()) / 2 - 63.5) < 2
    assert abs((xs.min() + xs.max()) / 2 - 63.5) < 2


def test_a_cut_off_object_and_a_busy_background_are_said():
    notes = []
    frame_object(cut_out(draw_chair(at=(0.3, 0.4, 0.7, 1.0))), (64, 64), "chair", notes)
    assert "cut off at the bottom" in notes[0]
    busy = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    busy = cv2.resize(busy, (256, 256), interpolation=cv2.INTER_NEAREST)
    true = (draw_chair() != 255).any(axis=2)
    assert cut_out(np.where(true[..., None], draw_chair(), busy)).guessed


# --- ShapeNet


def write_shapenet(root, *, azimuths=(0, 2, 4), pose=None, drop=None, group="{name}_{azimuth}_{elevation}"):
    h5py = pytest.importorskip("h5py")
    root.mkdir(exist_ok=True)
    with h5py.File(root / "data_chair.hdf5", "w") as file:
        for name in ("a1", "b2"):
            for azimuth in azimuths:
                for elevation in (0, 1):
                    entry = file.create_group(group.format(name=name, azimuth=azimuth, elevation=elevation))
                    entry["image"] = np.full((256, 256, 3), 40 * azimuth + elevation, np.uint8)
                    entry["pose"] = np.array(pose or [azimuth, 10 * elevation])
                    if drop:
                        del entry[drop]
    (root / "id_chair_train.txt").write_text("a1\n")
    (root / "id_chair_test.txt").write_text("b2_0_0\nb2_2_0\n")
    return root / "data_chair.hdf5"


def test_shapenet_pairs_share_object_and_elevation(tmp_path):
    file = write_shapenet(tmp_path / "set")
    assert find_file(tmp_path / "set") == file
    pairs = ShapeNetPairs(file, "train", (128, 128))
    assert len(pairs) == 2 * 3 * 2
    for pair in (pairs[i] for i in range(20)):
        assert pair.source_image.shape == (128, 128, 3)
        source, target = pair.source_code, pair.target_code
        assert source[18:].argmax() == target[18:].argmax() == pair.source_image[0, 0, 0] % 40
        assert source[:18].argmax() * 2 == pair.source_image[0, 0, 0] // 40
        assert source[:18].argmax() != target[:18].argmax()
    pickle.loads(pickle.dumps(pairs))[0]  # as a worker gets it
    assert {name for name, _ in ShapeNetPairs(file, "test", (64, 64)).keys} == {"b2"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"group": "object-{name}/{azimuth}-{elevation}"}, "no group such as a1_0_1"),
        ({"azimuths": (0,)}, "no group such as"),
        ({"drop": "pose"}, "no `pose`"),
        ({"drop": "image"}, "no `image`"),
        ({"pose": [3, 10]}, "`pose` of a1_0_0"),
        ({"pose": [2, 15]}, "`pose` of a1_0_0"),
    ],
)
def test_hdf5_files_that_say_something_else_are_named_with_what_was_looked_for(tmp_path, options, said):
    file = write_shapenet(tmp_path, **options)
    with pytest.raises(DataError, match=said) as caught:
        ShapeNetPairs(file, "train", (64, 64))
    assert "data_chair.hdf5" in str(caught.value)
    assert "expected" in caught.value.hint


def test_missing_and_ambiguous_shapenet_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no \.hdf5"):
        find_file(tmp_path)
    file = write_shapenet(tmp_path)
    (tmp_path / "id_chair_train.txt").unlink()
    with pytest.raises(DataError, match=r"id_chair_train\.txt: not found"):
        ShapeNetPairs(file, "train", (64, 64))
    other = tmp_path / "data_car.hdf5"
    other.write_bytes(b"not hdf5")
    with pytest.raises(UsageError, match="several HDF5 files"):
        find_file(tmp_path)
    (tmp_path / "id_car_train.txt").write_text("x\n")
    with pytest.raises(DataError, match="not a readable HDF5"):
        ShapeNetPairs(other, "train", (64, 64))
    (tmp_path / "id_chair_train.txt").write_text("x\n")
    with pytest.raises(UsageError, match="chairs or cars"):
        ShapeNetPairs(other.rename(tmp_path / "data.hdf5"), "train", (64, 64))


# --- training


class TwoViews(torch.utils.data.Dataset):
    """A square that moves to the right with the azimuth: two views of it."""

    def __getitem__(self, index):
        first, second = np.random.default_rng(index).choice(4, 2, replace=False)

        def view(k):
            picture = np.full((64, 64, 3), 255, np.uint8)
            picture[24:40, 4 + 12 * k : 20 + 12 * k] = 200, 40, 40
            return picture

        mask = np.full((64, 64), 255, np.uint8)
        codes = (view_code(ViewAngles(20.0 * k, 10)) for k in (first, second))
        return ViewPair(view(first), view(second), *codes, mask, unknown_correspondence(32))


def plan(*, flow=1, joint=2, weights=None, model=TINY):
    first = LossWeights(affine=0.1, correspondence=1, visibility=0.3, view=1)
    fast = {"learning_rate": 2e-3, "betas": (0.9, 0.999)}
    stage = Stage(name="flow", train="flow", steps=flow, image_size=(64, 64), batch=4, weights=first, **fast)
    joint_weights = weights or LossWeights(l1=5, adversarial=1, affine=0.001, view=1, person=1)
    stages = (stage, replace(stage, name="joint", train="joint", steps=joint, weights=joint_weights))
    return Recipe(dataset="chairs", model=model, stages=stages, initial="kaiming")


def trainer(plan, folder):
    return Trainer(plan, ViewTask(plan, lambda stage: TwoViews(), None), folder, CPU, workers=0)


def test_both_stages_run_with_their_losses(tmp_path):
    seen = []
    trainer(plan(), tmp_path).run(seen.append)
    assert set(seen[0].losses) == {"affine", "correspondence", "visibility", "view", "total"}
    assert set(seen[-1].losses) >= {"l1", "adversarial", "discriminator", "view", "affine", "total"}


def test_a_few_steps_lower_the_losses_of_pictures_and_views(tmp_path):
    seen = []
    run = trainer(plan(flow=1, joint=25, weights=LossWeights(l1=5, view=1)), tmp_path)
    run.run(seen.append)
    parts = (seen[1:6], seen[-5:])
    first, last = ({name: np.mean([p.losses[name] for p in part]) for name in ("l1", "view")} for part in parts)
    assert last["l1"] < 0.6 * first["l1"]
    assert last["view"] < 0.9 * first["view"]


def test_appearance_flow_trains_on_pixels_and_flows(tmp_path):
    seen = []
    trainer(with_sampler(plan(), "pixels"), tmp_path).run(seen.append)
    assert set(seen[-1].losses) == {"l1", "affine", "total"}


def test_a_view_batch_is_what_the_network_takes():
    batch = view_batch(torch.utils.data.default_collate([TwoViews()[0], TwoViews()[1]]), torch.device("cpu"))
    assert batch.source_code.shape == (2, 21, 1, 1)
    assert batch.source_image.max() == 1
    assert batch.target_mask.shape == (2, 1, 64, 64)
    weight = replace(batch, target_mask=(batch.target_image[:, 1:2] < 0).float()).pixel_weight(2)
    assert weight.mean() == pytest.approx(1)
    assert weight.max() == pytest.approx(3 * float(weight.min()))


@pytest.mark.parametrize("dataset", ["chairs", "shapenet"])
def test_the_pipeline_ends_in_a_bundle_that_loads(tmp_path, dataset, monkeypatch):
    if dataset == "chairs":
        pytest.importorskip("numba")
        import gfla_cli.data.chairs as chairs

        small = chairs.ChairPlan(objects=1, elevations=1, azimuths=2, size=64)
        monkeypatch.setattr(chairs, "plan_with", lambda extras: small)
    root = None if dataset == "chairs" else write_shapenet(tmp_path / "set")
    options = {"resume": False, "vgg": None, "cache": None, "options": RunOptions(workers=0), "placement": CPU}
    tiny = replace(plan(flow=1, joint=1, weights=LossWeights(l1=5)), dataset=dataset)
    folder = run_training(tiny, root, output=tmp_path / "run", **options)
    assert load_bundle(folder).config == TINY


def test_a_run_from_before_a_setting_existed_can_be_resumed(tmp_path):
    run = trainer(plan(), tmp_path)
    run.save()
    state = torch.load(run.checkpoint)
    old = json.loads(state["recipe"])
    old["model"] = {k: v for k, v in old["model"].items() if k != "frame_aspect"}
    torch.save(state | {"recipe": json.dumps(old)}, run.checkpoint)
    trainer(plan(), tmp_path).resume()


def test_a_released_checkpoint_does_not_fit_our_own_preset(tmp_path):
    torch.save({"source.block0.model.0.weight": torch.zeros(3)}, tmp_path / "latest_net_G.pth")
    with pytest.raises(BundleError, match="does not fit the preset"):
        import_checkpoint(tmp_path / "latest_net_G.pth", "view-chairs", tmp_path / "out")


# --- the library and the command


@pytest.fixture(scope="session")
def view_shelf(tmp_path_factory):
    folder = tmp_path_factory.mktemp("views")
    save_bundle(folder / "tiny-view", TINY, fresh(TINY).state_dict(), license="MIT")
    pixels = replace(TINY, sampler="pixels", view_width=0)
    save_bundle(folder / "tiny-pixels", pixels, fresh(pixels).state_dict())
    authors = replace(preset("view-chair"), image_size=(64, 64), width=8, flow_width=8)
    save_bundle(folder / "tiny-authors", authors, fresh(authors).state_dict())
    pose = replace(preset("pose-people"), image_size=(64, 64), width=8, flow_width=8)
    save_bundle(folder / "tiny-pose", pose, fresh(pose).state_dict())
    return folder


@pytest.fixture
def gfla(view_shelf, monkeypatch, tmp_path):
    """Runs a command in a folder with one picture of a chair, and returns its result."""
    monkeypatch.setenv("GFLA_MODELS", str(view_shelf))
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "chair.png", draw_chair())
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def synthesis(gfla):
    return lambda *arguments: gfla("view-synthesis", *arguments, "--model", "tiny-view")


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_one_picture_in_several_views_out(synthesis, tmp_path):
    result = synthesis("chair.png", "--azimuth", "60", "-o", "out.png")
    assert result.exit_code == 0, result.output
    assert result.stdout == "out.png\n"
    assert read_image(tmp_path / "out.png").shape == (64, 64, 3)
    assert "seems to be taken from azimuth" in result.stderr
    many = synthesis("chair.png", "--azimuth", "60", "--azimuth", "120", "--quiet")
    assert many.stdout == "chair--60.png\nchair--120.png\n"
    assert many.stderr == ""
    folder = synthesis("chair.png", "--azimuth", "60", "--azimuth", "-20", "-o", "views", "--quiet")
    assert folder.stdout == "views/chair--60.png\nviews/chair---20.png\n"


def test_turntable_and_contact_sheet(synthesis, tmp_path):
    result = synthesis("chair.png", "--turntable", "turn.mp4", "--grid", "sheet.png", "--source-azimuth", "40")
    assert result.exit_code == 0, result.output
    assert result.stdout == "turn.mp4\nsheet.png\n"
    assert read_image(tmp_path / "sheet.png").shape == (3 * 64, 6 * 64, 3)
    info = probe(tmp_path / "turn.mp4")
    assert info.size == (64, 64)
    assert float(info.fps) == pytest.approx(6)
    assert synthesis("chair.png", "--turntable", "turn.gif", "--between", "blend").exit_code == 0
    with Image.open(tmp_path / "turn.gif") as gif:
        assert gif.n_frames == 36


def test_angles_between_the_trained_ones_are_said_or_blended(synthesis):
    result = synthesis("chair.png", "--azimuth", "50", "-o", "a.png", "--source-azimuth", "0", "--elevation", "7")
    assert "azimuth 50 became 40" in result.stderr
    assert "elevation 7 became 10" in result.stderr
    blended = synthesis("chair.png", "--azimuth", "50", "-o", "b.png", "--source-azimuth", "0", "--between", "blend")
    assert "became" not in blended.stderr


def test_the_report_says_where_the_source_was_seen_from(synthesis):
    known = ("--source-azimuth", "-40", "--source-elevation", "20")
    result = synthesis("chair.png", "--azimuth", "60", "--json", *known)
    assert json.loads(result.stdout) == {
        "written": ["chair--60.png"],
        "source_view": {"azimuth": 320.0, "elevation": 20.0, "estimated": False},
        "notes": [],
    }


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--azimuth", "400"), 2, ["azimuth 400", "-360 to 360"]),
        (("--azimuth", "nan"), 2, ["azimuth nan"]),
        (("--azimuth", "60", "--elevation", "25"), 2, ["elevation 25", "0 to 20"]),
        (("--azimuth", "60", "--source-elevation", "-3"), 2, ["elevation -3"]),
        (("--azimuth", "60", "--source-azimuth", "999"), 2, ["azimuth 999"]),
        ((), 2, ["which views?", "--turntable"]),
        (("-o", "x.png"), 2, ["x.png", "--azimuth"]),
        (("--azimuth", "60", "-o", "x.xyz"), 2, ["x.xyz", ".png"]),
        (("--azimuth", "60", "--azimuth", "80", "-o", "x.png"), 2, ["2 views", "folder"]),
        (("--turntable", "turn.xyz"), 2, ["turn.xyz", ".mp4"]),
        (("--grid", "chair.png"), 2, ["chair.png", "--overwrite"]),
        (("--grid", "a.png", "--azimuth", "0", "-o", "a.png"), 2, ["named twice"]),
        (("--grid", "no/such/folder.png"), 2, ["does not exist"]),
    ],
)
def test_what_cannot_be_done_is_refused_before_any_work(synthesis, tmp_path, arguments, code, words):
    assert refused(synthesis("chair.png", *arguments), code, *words)
    assert names_in(tmp_path) == ["chair.png"]


def test_an_azimuth_that_is_no_number_is_a_usage_error(synthesis, tmp_path):
    result = synthesis("chair.png", "--azimuth", "sideways")
    assert result.exit_code == 2
    assert "azimuth" in result.stderr
    assert names_in(tmp_path) == ["chair.png"]


def bad_pictures():
    """Name, picture, and words that its message has."""
    texture = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    framed = np.full((200, 200, 3), 250, np.uint8)
    framed[:, 60:140] = framed[60:140] = 120, 60, 30  # a cross from border to border
    return {
        "paper": (np.full((200, 200, 3), 230, np.uint8), ["no object"]),
        "tiny": (draw_chair(40), ["40x40", "too small"]),
        "strip": (draw_chair(200)[60:77], ["200x17", "too narrow"]),
        "speck": (draw_chair(400, at=(0.5, 0.5, 0.54, 0.55)), ["object is only"]),
        "cross": (framed, ["all four borders"]),
        "noise": (texture, []),
    }


@pytest.mark.parametrize("name", [name for name in bad_pictures() if name != "noise"])
def test_pictures_without_a_usable_object_are_refused(gfla, tmp_path, name):
    picture, words = bad_pictures()[name]
    if name == "cross":  # its paper is visible in the corners only, which no border rule could tell from an object
        alpha = np.where((picture == 250).all(axis=2), 0, 255).astype(np.uint8)
        Image.fromarray(np.dstack([picture, alpha])).save(tmp_path / "bad.png")
    else:
        write_image(tmp_path / "bad.png", picture)
    result = gfla("view-synthesis", "bad.png", "--azimuth", "60", "-o", "out.png", "--model", "tiny-view")
    lines = [line for line in result.stderr.splitlines() if not line.startswith("gfla: tiny-view on ")]
    assert result.exit_code == 1
    assert len(lines) == 2
    assert all(word in lines[0] for word in ["bad.png", *words])
    assert names_in(tmp_path) == ["bad.png", "chair.png"]


def test_a_busy_picture_is_warned_about_or_refused(gfla, tmp_path):
    write_image(tmp_path / "noise.png", bad_pictures()["noise"][0])
    result = gfla("view-synthesis", "noise.png", "--azimuth", "60", "-o", "out.png", "--model", "tiny-view")
    assert "busy" in result.stderr if result.exit_code == 0 else "no object" in result.stderr


def test_missing_files_folders_and_models(synthesis, gfla, tmp_path):
    assert refused(synthesis("nothing.png", "--azimuth", "60"), 1, "nothing.png", "no such file")
    (tmp_path / "text.png").write_text("dear diary")
    result = synthesis("text.png", "--azimuth", "60")
    assert result.exit_code == 1
    assert "text.png holds text" in result.stderr
    run = lambda model: gfla("view-synthesis", "chair.png", "--azimuth", "60", "--model", model)  # noqa: E731
    assert refused(run("nobody"), 1, "unknown model: nobody")
    assert refused(run("tiny-pose"), 1, "for the task pose", "--task view")
    assert "chair--60.png" not in names_in(tmp_path)


def test_a_model_without_a_view_estimator_asks_for_the_view(gfla):
    for model in ("tiny-authors", "tiny-pixels"):
        run = ("view-synthesis", "chair.png", "--azimuth", "60", "--model", model, "-o", f"{model}.png")
        result = gfla(*run)
        assert result.exit_code == 2
        assert "--source-azimuth" in result.stderr
        assert gfla(*run, "--source-azimuth", "20", "--source-elevation", "0").exit_code == 0


def test_the_library_renders_from_an_array_and_says_what_it_did(view_shelf):
    model = ViewSynthesizer(view_shelf / "tiny-view", device="cpu", precision="fp32")
    result = model.render(draw_chair(), [0, 50], source_azimuth=20)
    assert [image.shape for image in result.images] == [(64, 64, 3)] * 2
    assert result.views[1] == (40, result.source_view.angles.elevation)
    assert result.source_view.angles.azimuth == 20
    assert result.source_view.estimated  # the elevation was
    assert result.source_image.shape == (64, 64, 3)
    turn = model.render(draw_chair(), AZIMUTHS, 20, 0).images
    assert len(turn) == 18
    assert not np.array_equal(turn[0], turn[9])
    with pytest.raises(MediaError, match="uint8 RGB"):
        model.render(np.zeros((64, 64), np.uint8), [0])
    with pytest.raises(DetectionError, match="no object"):
        model.render(np.full((100, 100, 3), 200, np.uint8), [0])


# --- evaluation


def test_view_models_are_measured_by_angle_beside_copying(view_shelf):
    pytest.importorskip("numba")
    pytest.importorskip("torchmetrics")
    models = [view_shelf / "tiny-view", view_shelf / "tiny-pixels"]
    scores, shown = evaluate_views(models, None, vgg=None, placement=CPU, limit=9, examples=2)
    assert [score.name for score in scores] == ["copy of the source", "tiny-view (local)", "tiny-pixels (pixels)"]
    assert scores[0].differences == list(range(20, 181, 20))
    assert [score.accuracy is None for score in scores] == [True, False, True]
    report = scores[1].to_json()
    assert report["pairs"] == report["view_accuracy"]["pictures"] == 9
    assert 0 < report["l1"] < 1
    assert -1 < report["ssim"] < 1
    assert list(report["by_difference"]) == [str(k) for k in range(20, 181, 20)]
    assert 0 <= report["view_accuracy"]["azimuth"] <= report["view_accuracy"]["neighbour"] <= 1
    assert [list(pictures) for pictures in shown] == [[score.name for score in scores] + ["target"]] * 2
    assert shown[0]["target"].shape == (64, 64, 3)


def test_two_models_of_one_name_are_told_apart(view_shelf, tmp_path):
    pytest.importorskip("numba")
    pytest.importorskip("torchmetrics")
    save_bundle(tmp_path / "other" / "tiny-view", TINY, fresh(TINY).state_dict())
    models = [view_shelf / "tiny-view", tmp_path / "other" / "tiny-view"]
    scores, _ = evaluate_views(models, None, vgg=None, placement=CPU, limit=1)
    assert [len(score.pairs) for score in scores] == [1, 1, 1]
    assert scores[2].name == "other/tiny-view (local)"


def test_shapenets_test_list_is_measured_too(view_shelf, tmp_path):
    pytest.importorskip("torchmetrics")
    write_shapenet(tmp_path)
    scores, _ = evaluate_views([view_shelf / "tiny-view"], tmp_path, vgg=None, placement=CPU, limit=2)
    assert scores[0].differences
    with pytest.raises(DataError, match="no such file"):
        evaluate_views([view_shelf / "tiny-view"], tmp_path / "nothing", vgg=None, placement=CPU)
    with pytest.raises(BundleError, match="only view models"):
        evaluate_views([view_shelf / "tiny-pose"], tmp_path, vgg=None, placement=CPU)


def test_view_scores_are_shown_as_tables(capsys):
    accuracy = ViewAccuracy(pictures=2, azimuth=0.5, neighbour=1.0, elevation=1.0)
    pairs = [(20, {"l1": 0.1}), (180, {"l1": 0.3})]
    print_view_scores([ViewScore("copy", pairs), ViewScore("mine", pairs, accuracy)])
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("180", "0.2000", "azimuth right", "50.0%"))


def test_evaluate_takes_view_models(gfla, tmp_path):
    pytest.importorskip("numba")
    pytest.importorskip("torchmetrics")
    result = gfla("evaluate", "tiny-view", "--limit", "9", "--json", "--sheet", "with-json.png")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (tmp_path / "with-json.png").is_file()
    assert report[1]["name"] == "tiny-view (local)"
    assert report[1]["view_accuracy"]["pictures"] == 9
    table = gfla("evaluate", "tiny-view", "tiny-pixels", "--limit", "9", "--sheet", "sheet.png")
    assert "180" in table.stdout
    assert "azimuth right" in table.stdout
    assert read_image(tmp_path / "sheet.png").shape[1] == 2 * 4 * 64
    assert refused(gfla("evaluate", "tiny-pose"), 2, "--data-root")


def test_help_of_view_synthesis_loads_no_torch():
    import subprocess
    import sys

    check = "import sys, gfla_cli.app as a\n"
    check += "from typer.testing import CliRunner as R\nR().invoke(a.app, ['view-synthesis', '--help'])\n"
    check += "sys.exit(bool({'torch', 'cv2', 'mediapipe', 'numba', 'h5py'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0


def test_models_of_two_tasks_are_not_put_in_one_table(gfla):
    result = gfla("evaluate", "tiny-view", "tiny-pose")
    assert result.exit_code == 1
    assert "pose and view" in result.stderr
