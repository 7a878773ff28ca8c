"""Shows what the shipped models make of a fixed set of images, and measures results at the size of the photograph.

    python tests/support/gallery.py FOLDER      writes FOLDER/index.html: source, pose, the network's frame, the result
    python tests/support/gallery.py --measure   prints VGG19 distances of rendered pairs at 768 and 256 pixels
    python tests/support/gallery.py --faces MODEL   prints those of talking faces at 512 pixels
    python tests/support/gallery.py --assets    makes the images of results in the README and on the pages anew

Needs the training material beside the checkout. Rendered people and their ground truth come from `../shared/humans`.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import cv2
import numpy as np
import torch
import typer
from paths import ANNA, BEN, ROOT, SHARED
from typer.testing import CliRunner

from gfla_cli import PoseTransfer, ViewSynthesizer
from gfla_cli.app import app
from gfla_cli.arrays import Image
from gfla_cli.conditioning.face_map import background_edges, face_structure
from gfla_cli.datasets.augment import as_detected_face
from gfla_cli.datasets.render_cache import TEST_SEED
from gfla_cli.errors import GflaError
from gfla_cli.evaluation.metrics import Measures
from gfla_cli.inference.session import open_session, start_clip
from gfla_cli.io.image import load_image, reduced, to_planes, write_image
from gfla_cli.losses.image import load_vgg19
from gfla_cli.person.face import face_crop
from gfla_cli.pipelines.canvas import Canvas
from gfla_cli.pipelines.compositing import composed
from gfla_cli.pipelines.frame_layers import Layers
from gfla_cli.synth.pack import Pack
from gfla_cli.synth.people.people import person_clip, portrait, random_views

SIDE = 768  # pixels of rendered pairs
PORTRAIT = 512  # pixels of rendered portraits
TILE, VIEW = 360, 200  # pixels of the height of an image in the README: of a person, and of a chair
FACE = 167  # pixels of the side of a face there; the whole portrait has 240
AZIMUTHS = (0, 80, 120, 240, 300)  # of that chair
SHOWN = 480  # pixels of the longer side on the page
PAIRS, CLIPS, SMALL = 16, 8, 40
STILL = 0.02  # share of the frame by which joints of a nearly equal pose move at most
BUSY = ("white", "grey", "gradient", "colour", "clutter")
STYLE = "body{font:14px sans-serif;margin:24px}img{max-width:24vw;vertical-align:top}td{padding:4px}"


class Case(NamedTuple):
    """A source and a pose; the truth is known for rendered people alone."""

    name: str
    source: Image
    pose: Image
    truth: Image | None = None


def photographs() -> Iterator[Case]:
    """Images from files: each of them in the pose of another."""
    cleo = ROOT / "assets" / "cleo.jpg"
    files = [ANNA, BEN, cleo, *(SHARED / "media" / f"anyone-{k}.png" for k in (3, 11))]
    for k, source in enumerate(files):
        for pose in (files[(k + 1) % len(files)], files[(k + 2) % len(files)]):
            yield Case(f"{source.stem}, pose of {pose.stem}", load_image(source), load_image(pose))


def rendered() -> Iterator[Case]:
    """Two views of one person on backgrounds of all kinds."""
    pack = Pack.load(SHARED / "humans")
    for k in range(PAIRS):
        mix = {"crops": {"full": 0.8, "three_quarter": 0.2}, "backgrounds": {BUSY[k % len(BUSY)]: 1}}
        one, other = random_views(pack, np.random.default_rng([22, k]), 2, SIDE, **mix)
        yield Case(f"rendered {k}, {BUSY[k % len(BUSY)]}", one.image, other.image, other.image)


def nearly_equal() -> Iterator[Case]:
    """Frames of a moving person whose joints move by at most 2 % of the frame."""
    pack, found = Pack.load(SHARED / "humans"), 0
    for k in count():
        clip = person_clip(pack, np.random.default_rng([23, k]), 3, SIDE)
        first, *_, last = clip.frames
        seen = (first.keypoints[:, 2] > 0) & (last.keypoints[:, 2] > 0)
        moved = np.linalg.norm((last.keypoints - first.keypoints)[seen, :2], axis=1)
        if 0 < moved.max() <= STILL * SIDE:
            found += 1
            yield Case(f"clip {k}", first.image, last.image, last.image)
        if found == CLIPS:
            break


def small() -> Iterator[Case]:
    """Test pairs of people-mini, which are as small as the network's frame."""
    folder = SHARED / "people-mini"
    rows = (folder / "fasion-pairs-test.csv").read_text(encoding="utf-8").split()[1:]
    for number in np.linspace(0, len(rows) - 1, SMALL).astype(int):
        source, target = (load_image(folder / "test" / name) for name in rows[number].split(","))
        yield Case(rows[number], source, target, target)


def enlarged(image: Image, shape: tuple[int, ...]) -> Image:
    """An image at the size (height, width) of another."""
    return np.asarray(cv2.resize(image, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.uint8)


def measure() -> None:
    """Prints the distances of copies, enlarged frames and native results from the truth."""
    vgg = load_vgg19(SHARED / "weights" / "vgg19_to_relu3_4.npz")
    metrics, model = Measures(("vgg",), vgg=vgg).figures, PoseTransfer(device="cpu")

    def distance(made: Image, truth: Image) -> float:
        return metrics(*(torch.from_numpy(to_planes(image)) for image in (made, truth)))[0]["vgg"]

    typer.echo(f"VGG19 distance at {SIDE} px       copy   256 enlarged   native   native/enlarged")
    sets = {
        "people in another pose": rendered(),
        "poses that hardly change": nearly_equal(),
        "people-mini, 256 px": small(),
    }
    for name, cases in sets.items():
        found = []
        for case in cases:
            assert case.truth is not None
            try:
                result = model.transfer(case.source, case.pose, crop=False, align=False, size="source")
            except GflaError as error:
                typer.echo(f"{case.name}: {error}")
                continue
            drawn = enlarged(result.frame.image, case.truth.shape)
            found.append([distance(image, case.truth) for image in (case.source, drawn, result.image)])
        copy, drawn, native = np.mean(found, axis=0)
        typer.echo(f"{name:24} {len(found):3} pairs {copy:8.3f} {drawn:12.3f} {native:10.3f} {native / drawn:12.3f}")


def measure_faces(name: str) -> None:
    """Prints the distances of copies, enlarged frames and native results from the truth, and how detail flickers."""
    session = open_session(name, "face", device="cpu", runtime="torch", precision="fp32")
    pack = Pack.load(SHARED / "humans")
    metrics = Measures(("vgg",), vgg=load_vgg19(SHARED / "weights" / "vgg19_to_relu3_4.npz")).figures
    found, flicker = [], []
    for number in range(CLIPS):
        rng = np.random.default_rng([TEST_SEED, number])
        clip = portrait(pack, rng, 30, 1, PORTRAIT, gestures=number % 2 == 1)
        source, *truths = (view.image for view in (clip.stills[0], *clip.frames[::3]))
        points = [
            np.concatenate([as_detected_face(view.landmarks, 1.0), view.irises])
            for view in (clip.stills[0], *clip.frames[::3])
        ]
        crop = face_crop(points[0], session.config.image_size, inside=source.shape[:2])
        canvas = Canvas.of(source, crop, crop, "source", whole=True, cover=lambda image, scale: None)
        seen = crop.image(source)
        edges = background_edges(seen, crop.points(points[0]))
        channels = session.config.structure_channels
        first, *rest = (face_structure(crop.points(face), crop.size, edges, channels)[None] for face in points)
        drawing = start_clip(session, to_planes(seen), first)
        rows, columns = crop.region(source.shape[:2]) or (slice(None), slice(None))
        before: list[Image] = []
        for structure, truth in zip(rest, truths, strict=True):
            image, layers = drawing.next(structure)
            native = composed(canvas, Layers.unpacked(layers[0]))
            drawn = composed(canvas, only_drawn(image))
            shown = [image[rows, columns] for image in (source, drawn, native, truth)]
            tensors = [torch.from_numpy(to_planes(image)) for image in shown]
            found.append([metrics(image, tensors[-1])[0]["vgg"] for image in tensors[:-1]])
            fine = [image - cv2.GaussianBlur(image, (0, 0), 2) for image in np.float32(shown[1:])]
            if before:
                flicker.append([abs(a - b).mean() / abs(b).mean() for a, b in zip(before, fine, strict=True)])
            before = fine
    copy, drawn, native = np.mean(found, axis=0)
    typer.echo(f"VGG19 distance at {PORTRAIT} px: copy {copy:.3f}, 256 enlarged {drawn:.3f}, native {native:.3f}")
    typer.echo(
        "change of fine detail: enlarged {:.2f}, native {:.2f}, the truth {:.2f}".format(*np.mean(flicker, axis=0))
    )


def only_drawn(image: np.ndarray) -> Layers:
    """A generated frame (1, 3, H, W) as layers without anything of the source."""
    nothing = np.zeros((7, *image.shape[2:]), np.float32)
    nothing[-1] = 1  # the matte
    return Layers.unpacked(np.concatenate([image[0], nothing]))


def assets() -> None:
    """Writes what the README shows: a transfer at full size, four on one image, a turned chair, and a talking face."""
    model, cleo, tiles = PoseTransfer(), ROOT / "assets" / "cleo.jpg", []
    for source, pose in ((ANNA, BEN), (BEN, cleo), (cleo, ANNA), (cleo, BEN)):
        images = [load_image(source), load_image(pose), model.transfer(source, pose).image]
        if not tiles:
            write_image(ROOT / "assets" / "anna-as-ben.jpg", np.hstack(images), overwrite=True)
        tiles.append(np.hstack([enlarged(image, (TILE, TILE * image.shape[1] // image.shape[0])) for image in images]))
    width = max(tile.shape[1] for tile in tiles)
    padded = [np.pad(tile, ((0, 0), (0, width - tile.shape[1]), (0, 0)), constant_values=255) for tile in tiles]
    both = np.vstack([np.hstack(padded[:2]), np.hstack(padded[2:])])
    write_image(ROOT / "assets" / "pose-transfer.jpg", both, overwrite=True)
    chair = ViewSynthesizer().render(ROOT / "assets" / "armchair.jpg", AZIMUTHS)
    turned = [enlarged(image, (VIEW, VIEW)) for image in (chair.source_image, *chair.images)]
    write_image(ROOT / "assets" / "view-synthesis.jpg", np.hstack(turned), overwrite=True)
    with TemporaryDirectory() as folder:
        files = [str(ROOT / "assets" / name) for name in ("eve.jpg", "finn.mp4")]
        how = ["--concat", "--fps", "12.5", "--size", str(FACE)]
        CliRunner().invoke(app, ["animate", *files, "-o", f"{folder}/face.gif", *how], catch_exceptions=False)
        shutil.copyfile(f"{folder}/face_concat.gif", ROOT / "assets" / "animate.gif")


def page(folder: Path) -> None:
    """Writes the page and its images."""
    folder.mkdir(parents=True, exist_ok=True)
    model, rows = PoseTransfer(), []
    for number, case in enumerate([*photographs(), *rendered()]):
        try:
            result = model.transfer(case.source, case.pose)
        except GflaError as error:
            rows.append(f"<tr><td>{case.name}<td colspan=4>{error}")
            continue
        cells = []
        for kind, image in enumerate((case.source, case.pose, result.frame.image, result.image)):
            file = f"{number:02}-{kind}.jpg"
            write_image(folder / file, reduced(image, SHOWN), overwrite=True)
            cells.append(f"<td><img src={file}>")
        rows.append(f"<tr><td>{number} {case.name}<br>{'<br>'.join(result.notes)}{''.join(cells)}")
    head = "<tr><th><th>source<th>pose<th>the network's frame<th>result"
    text = (
        f"<!doctype html><meta charset=utf-8><title>gallery</title><style>{STYLE}</style><table>{head}{''.join(rows)}"
    )
    (folder / "index.html").write_text(text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="where the page goes")
    parser.add_argument("--measure", action="store_true", help="measure instead of showing")
    parser.add_argument("--faces", metavar="MODEL", help="measure a model of faces")
    parser.add_argument("--assets", action="store_true", help="make the images of the README and the pages")
    options = parser.parse_args()
    if options.measure:
        measure()
    elif options.faces:
        measure_faces(options.faces)
    elif options.assets:
        assets()
    elif options.folder is None:
        parser.error("where should the page go?")
    else:
        page(options.folder)
