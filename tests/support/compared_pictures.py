"""Images to be compared: real ones, generated ones, a set with poses, and metrics that need no weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from judges import Colours
from keypoints import STANDING
from tiny_models import CPU, save_tiny, tiny

from gfla_cli.datasets.tables import SQUARE, write_tables
from gfla_cli.io.image import write_image

SEEDS = {"a_0": 0, "a_1": 1, "b_0": 2, "b_1": 3}


def picture(seed, size=(64, 64)):
    """Soft colours, different for every seed."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, 4, 4)))
    smooth = torch.nn.functional.interpolate(coarse, size, mode="bilinear")
    return smooth[0].permute(1, 2, 0).numpy().astype(np.uint8)


@pytest.fixture
def result_folders(tmp_path):
    """`real` with four pictures, and a function that writes a folder of generated ones."""
    (tmp_path / "real").mkdir()
    for name, seed in SEEDS.items():
        write_image(tmp_path / "real" / f"{name}.jpg", picture(seed))

    def write(folder, **pictures):
        (tmp_path / folder).mkdir(parents=True)
        for name, image in pictures.items():
            write_image(tmp_path / folder / name.replace("__", "--").replace("_DOT_", "."), image)
        return tmp_path / folder

    return write


@pytest.fixture(scope="session")
def pose_shelf(tmp_path_factory):
    """Tiny pose models, and a data set of two people in two poses each."""
    folder = tmp_path_factory.mktemp("poses")
    for sampler in ("local", "none"):
        trained = {"samples": 1200, "dataset": "people"}
        save_tiny(folder / f"tiny-{sampler}", tiny(sampler=sampler), trained=trained)
    for split in ("train", "test"):
        (folder / "set" / split).mkdir(parents=True)
        for name, seed in SEEDS.items():
            write_image(folder / "set" / split / f"{name}.jpg", picture(seed + 10 * (split == "train")))
    standing = (STANDING + np.array([40, 0])).astype(int).tolist()
    moved = [[x + 9 * (k % 3), y] for k, (x, y) in enumerate(standing)]
    poses = {f"{name}.jpg": moved if name.endswith("1") else standing for name in SEEDS}
    write_tables(folder / "set", SQUARE, "test", poses, [("a_0.jpg", "a_1.jpg"), ("b_0.jpg", "b_1.jpg")])
    return folder


def pose_pairs(models, root, layout=SQUARE, *rest, **options):
    """The test pairs of a set with the models in these folders, opened on the CPU."""
    from gfla_cli.evaluation.poses import PosePairs
    from gfla_cli.evaluation.run import open_compared

    return PosePairs(open_compared(models, CPU, "pose"), root, layout, CPU, *rest, **options)


def plain_measures(*metrics, **networks):
    """These metrics, else those that need no network."""
    from gfla_cli.evaluation.metrics import Measures

    return Measures(metrics or ("ssim", "psnr", "l1"), CPU.device, **networks)


def colour_fid(*others):
    """Measures whose FID is that of colours."""
    from gfla_cli.evaluation.metrics import Measures

    names = ("ssim", "psnr", "l1", *others, "fid")
    return Measures(names, CPU.device, inception=Colours(), described={"fid": {"sha256": "0" * 64}})


def empty_pack(folder):
    """A folder with the names of a pack of synthetic people, but nothing in them."""
    for name in ("humans.npz", "poses.npz"):
        (folder / name).touch()
    (folder / "textures").mkdir()
    return folder
