"""What is measured of generated images: which metrics, with which networks, and the figures of single images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from gfla_cli.arrays import Image, Points
from gfla_cli.bundles.files import sha256_of
from gfla_cli.datasets.augment import as_detected
from gfla_cli.errors import DataError, GflaError, MissingExtraError, UsageError
from gfla_cli.evaluation.features import FEATURES, SIDE, VERSION, FidInception, Lpips, load_inception, load_lpips
from gfla_cli.evaluation.protocols import Size, padding
from gfla_cli.evaluation.scores import BY_PAIR, MASKED, METRICS, metric_of
from gfla_cli.io.background import Say, silent
from gfla_cli.io.image import find_images, read_image
from gfla_cli.losses.image import PerceptualLoss, Vgg19, load_vgg19
from gfla_cli.person.detect import PersonDetector
from gfla_cli.person.pose import FACE, LIMBS, MIRRORED

if TYPE_CHECKING:
    from gfla_cli.evaluation.run import Request

try:
    from torchmetrics.functional.image import structural_similarity_index_measure
except ImportError as error:
    raise MissingExtraError("evaluation needs torchmetrics", "metrics") from error

# Stated with every figure: VGG distances of other layers or other weights cannot be compared.
_VGG_LAYERS = ("relu1_1", "relu2_1", "relu3_1")
_MOST_DB = 100.0  # of equal images, so that means stay finite
_WHITE = 128  # of 255; from there on a pixel of a mask file belongs to the person
_TORSO = (2, 5, 11, 8)  # around it: right shoulder, left shoulder, left hip, right hip
_CONTRAST = 48 / 255  # mean difference from white below which a hole in an object could not be seen
_NEAR_WHITE = 225  # of 255, the darkest channel of a pixel of the background
_HOLE_RIM, _LEAST_HOLE = 2, 8  # pixels: the outline may lie this far off; smaller spots are no hole
_PCK_SHARE = 0.1  # of the body's size: a joint that is found this near is correct
_CPU = torch.device("cpu")
_MIRRORED_LEAD = 0.2  # share of joints: a pose that fits this much better with left and right exchanged is mirrored


@dataclass(slots=True)
class Measures:
    """The metrics to take and their networks on their device; `skipped` holds why a metric is not taken.

    ssim: window 11, sigma 1.5, range [0, 1], mean over RGB (torchmetrics). psnr: in dB over RGB, at most 100. l1: mean
    absolute difference of values in [-1, 1]. vgg: sum over `_VGG_LAYERS` of the mean absolute difference of VGG19
    activations. lpips: as in the package of its authors. mask-ssim and mask-lpips: the same with everything outside a
    mask black in both images; NaN where the mask is empty.
    """

    metrics: tuple[str, ...]  # in the order of every table
    device: torch.device = _CPU
    vgg: Vgg19 | None = None
    lpips: Lpips | None = None
    inception: FidInception | None = None
    mask_files: MaskFiles | None = None
    padded: Size | None = None  # what images are padded to with white before SSIM
    named: frozenset[str] = frozenset()  # must be possible
    skipped: dict[str, str] = field(default_factory=dict)
    described: dict[str, Any] = field(default_factory=dict)  # name -> how and with which weights it is measured

    @property
    def masked(self) -> bool:
        """Whether any metric needs a mask."""
        return bool(set(MASKED) & set(self.metrics))

    @property
    def paired(self) -> bool:
        """Whether any metric needs the real image of a generated one; FID alone compares two sets."""
        return self.metrics != ("fid",)

    def masks(self, real: Tensor | None, names: Sequence[str], joints: Sequence[Points | None]) -> Tensor | None:
        """(B, 1, H, W) on the device, 1 on the person of each real image, from its file or from (18, 3) joints.

        None where no metric needs a mask, or without real images (B, 3, H, W).
        """
        if real is None or not self.masked:
            return None
        size, masks = (real.shape[2], real.shape[3]), []
        for name, points in zip(names, joints, strict=True):
            if self.mask_files is not None:
                masks.append(self.mask_files(name, size))
            elif points is not None:
                masks.append(body_mask(points, size))
            else:
                raise ValueError(f"{name}: neither a mask nor a pose")
        return torch.from_numpy(np.stack(masks)).float()[:, None].to(self.device)

    @torch.inference_mode()
    def figures(self, made: Tensor, real: Tensor, masks: Tensor | None = None) -> list[dict[str, float]]:
        """Name -> figure, of the metrics that compare pairs, for each of B pairs of (B, 3, H, W) images in [-1, 1].

        `masks` (B, 1, H, W), 1 on the person; without them masked metrics are left out.
        """
        made, real, columns = made.to(self.device), real.to(self.device), {}
        for name in BY_PAIR:
            if name not in self.metrics:
                continue
            if name not in MASKED:
                columns[name] = self._column(name, made, real).tolist()
            elif masks is not None:
                inside = [(image + 1) * masks - 1 for image in (made, real)]
                figures = self._column(name.removeprefix("mask-"), *inside)
                columns[name] = figures.masked_fill(masks.amax(dim=(1, 2, 3)) == 0, math.nan).tolist()
        return [{name: values[k] for name, values in columns.items()} for k in range(len(made))]

    def _column(self, name: str, made: Tensor, real: Tensor) -> Tensor:
        """(B,) figures of one name."""
        if name == "ssim":
            if self.padded is not None:
                around = padding((made.shape[2], made.shape[3]), self.padded)
                made, real = (F.pad(image, around, value=1.0) for image in (made, real))
            shares = (made + 1) / 2, (real + 1) / 2
            found = structural_similarity_index_measure(*shares, data_range=1.0, reduction="none")
            assert isinstance(found, Tensor)
            return found.reshape(len(made))
        if name == "lpips":
            assert self.lpips is not None
            return cast(Tensor, self.lpips(made, real))
        if name == "vgg":
            assert self.vgg is not None
            distance = PerceptualLoss(self.vgg, _VGG_LAYERS, ())
            pairs = zip(made.split(1), real.split(1), strict=True)
            return torch.stack([distance(one, other).content for one, other in pairs])
        difference = made - real
        if name == "l1":
            return difference.abs().mean(dim=(1, 2, 3))
        squares = (difference / 2).square().mean(dim=(1, 2, 3))
        return (-10 * squares.clamp(min=1e-30).log10()).clamp(max=_MOST_DB)

    def refine(self, metric: str, more: str) -> None:
        """Adds to the description of a metric, if it is taken."""
        if metric in self.described:
            self.described[metric] = f"{self.described[metric]}; {more}"

    def without(self, metric: str, reason: str) -> None:
        """Leaves a metric out, with the reason; raises UsageError when an option named it."""
        if metric not in self.metrics:
            return
        if metric in self.named:
            raise UsageError(f"{metric} cannot be measured: {reason}", hint=f"leave {metric} out")
        self.metrics = tuple(name for name in self.metrics if name != metric)
        self.inception = None if metric == "fid" else self.inception
        self.skipped[metric] = reason
        self.described.pop(metric, None)
        if not {"lpips", "mask-lpips"} & set(self.metrics):
            self.described.pop("lpips", None)

    def missing(self, metric: str, error: GflaError, *, required: bool) -> None:
        """Leaves a metric out whose network cannot be loaded; raises the error when an option named metric or file."""
        if metric in self.metrics and (required or metric in self.named):
            raise error
        reason = f"{error}; {error.hint}" if error.hint else str(error)
        self.without(metric, "as lpips" if metric == "mask-lpips" and "lpips" in self.skipped else reason)


def gather(wanted: Request, device: torch.device, *, compares_sets: bool = True, say: Say = silent) -> Measures:
    """Loads the networks of the wanted metrics; that of FID only if the test set `compares_sets`.

    `say` gets a line before a download. A metric whose weights are missing is left out, with the reason. Raises
    BundleError instead when an option named the metric or the file.
    """
    asked = wanted.asked
    measures = Measures(tuple(name for name in METRICS if name in asked), device, named=wanted.named)
    measures.described = {name: metric_of(name).rule for name in measures.metrics if metric_of(name).rule}
    if wanted.mask_folder is not None:
        measures.mask_files = MaskFiles(wanted.mask_folder)
        rule = f"masks of {wanted.mask_folder.name}; outside black in both pictures"
        measures.described |= {name: rule for name in MASKED if name in asked}
    if "vgg" in asked:
        measures.vgg = load_vgg19(wanted.vgg).to(device)
        weights = _described(wanted.vgg) if wanted.vgg else {"weights": "from the hub"}
        measures.described["vgg"] = {"layers": "+".join(_VGG_LAYERS), **weights}
    if {"lpips", "mask-lpips"} & asked:
        try:
            lpips, file = load_lpips(wanted.lpips_net, wanted.lpips_backbone, say=say)
            measures.lpips = lpips.to(device)
            measures.described["lpips"] = {"network": wanted.lpips_net, "version": VERSION, **_described(file)}
        except GflaError as error:
            for name in ("lpips", "mask-lpips"):
                measures.missing(name, error, required=wanted.lpips_backbone is not None)
    if "fid" in asked and compares_sets:
        try:
            inception, file = load_inception(wanted.inception, say=say)
            measures.inception = inception.to(device)
            features = f"{FEATURES} of Inception-v3, bilinear to {SIDE}x{SIDE} without antialiasing"
            measures.described["fid"] = {"features": features, **_described(file)}
        except GflaError as error:
            measures.missing("fid", error, required=wanted.inception is not None)
    return measures


def _described(file: Path) -> dict[str, str]:
    """Name and hash of a file of weights; not its path, which means nothing on another machine."""
    return {"weights": file.name, "sha256": sha256_of(file)}


class PoseJudge:
    """Whether people stand in a pose, as MediaPipe sees them.

    `rendered`: the wanted joints are those of a renderer, which lie inside the body.
    """

    def __init__(self, *, rendered: bool) -> None:
        self._detector, self._rendered = PersonDetector(), rendered

    def figures(self, made: Image, wanted: Points) -> dict[str, float]:
        """`pck` and `mirrored` of an image (H, W, 3); `wanted` are joints (18, 3) in its pixels.

        pck: the share of the wanted joints that are found within a tenth of the longer side of the box around them
        (PCK of Yang & Ramanan). mirrored: 1 when the found pose fits clearly better with its left and right joints
        exchanged. Then MediaPipe has taken the front of the body for its back. No coordinates are mirrored.
        """
        if self._rendered:
            wanted = as_detected(wanted)
        found, there = self.pose(made), wanted[:, 2] > 0
        if found is None or not there.any():
            return {"pck": 0.0, "mirrored": 0}
        count, hits, exchanged = int(there.sum()), _hits(found, wanted), _hits(found[list(MIRRORED)], wanted)
        return {"pck": hits / count, "mirrored": int(exchanged - hits >= _MIRRORED_LEAD * count)}

    def pose(self, image: Image) -> Points | None:
        """(18, 3) joints of the largest person; None when no person is found."""
        people = self._detector.detect(image)
        return people[0].pose.points if people else None


def _hits(found: Points, wanted: Points) -> int:
    """How many of the wanted joints are found in place."""
    there = wanted[:, 2] > 0
    size = float(np.ptp(wanted[there, :2], axis=0).max())
    distance = np.linalg.norm(found[:, :2] - wanted[:, :2], axis=1)
    return int((there & (found[:, 2] > 0) & (distance <= _PCK_SHARE * size)).sum())


def hole_share(made: Image, real: Image, silhouette: Image) -> float:
    """The share of an object on white, in the real image, that a generated image shows as enclosed background.

    Images (H, W, 3) of RGB bytes, `silhouette` (H, W) 255 on the object. A pixel of the object is a hole when it is
    nearer to white than to its real colour, and when object lies all around: gaps that the real object has, and pieces
    that are missing at its edge, are none.
    """
    inside = silhouette >= _WHITE
    if not inside.any():
        return 0.0
    fade = (255 - real.astype(np.float32)) / 255  # from the real colour to white
    depth = np.square(fade).sum(axis=2)
    whiter = (fade * (made.astype(np.float32) - real) / 255).sum(axis=2) > depth / 2
    empty = np.where(inside, whiter & (fade.mean(axis=2) > _CONTRAST), made.min(axis=2) >= _NEAR_WHITE)
    empty = np.pad(empty, 1, constant_values=True).astype(np.uint8)
    _, parts = cv2.connectedComponents(empty, connectivity=4)
    parts = np.where(parts == parts[0, 0], 0, parts)[1:-1, 1:-1]  # all that the frame's edge is connected with
    core = cv2.erode(inside.astype(np.uint8), np.ones((2 * _HOLE_RIM + 1, 2 * _HOLE_RIM + 1), np.uint8))
    counts = np.bincount(parts[core > 0], minlength=2)[1:]
    return float(counts[counts >= _LEAST_HOLE].sum() / inside.sum())


def pose_change(source: Points, target: Points) -> float:
    """Mean distance of corresponding joints in torso lengths, after both bodies were brought to one size and place.

    Both are (18, 3) x, y, confidence. Infinite when they have fewer than three joints in common.
    """
    shared = (source[:, 2] > 0) & (target[:, 2] > 0)
    if shared.sum() < 3:
        return math.inf
    a, b = (_normalised(points[shared, :2]) for points in (source, target))
    return float(np.linalg.norm(a - b, axis=1).mean())


def _normalised(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Centred, in units of a torso, of which a standing body's joints spread about 1.1 around their middle."""
    centred = points - points.mean(axis=0)
    spread = float(np.sqrt((centred**2).sum(axis=1).mean()))
    return np.asarray(centred / max(spread, 1e-6) * 1.1, np.float32)


class MaskFiles:
    """The masks of people in a folder, by the names of the images they belong to, whatever their suffix."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = {path.stem: path for path in find_images(folder)}

    def __call__(self, name: str, size: Size) -> NDArray[np.uint8]:
        """(H, W) of 0 and 1, white in the file is 1; raises DataError when this image has no mask."""
        stem = PurePath(name).stem
        if stem not in self._files:
            raise DataError(f"{self.folder}: no mask for {name}", hint=f"looked for {stem} with an image's suffix")
        grey = read_image(self._files[stem]).mean(axis=2)
        mask = (grey >= _WHITE).astype(np.uint8)
        return np.asarray(cv2.resize(mask, (size[1], size[0]), interpolation=cv2.INTER_NEAREST), np.uint8)


def body_mask(points: Points, size: Size) -> NDArray[np.uint8]:
    """(H, W) of 0 and 1, roughly the person with (18, 3) joints x, y, confidence in pixels; all 0 without joints.

    A network cannot know the street behind the people of Market-1501, so figures are also taken on the person alone.
    Ma et al. (Pose Guided Person Image Generation, 2017, Sec. 3.1) connect body parts and close the gaps, until the
    body is about covered. They never published their strokes; these are ours:

    - every limb whose two joints are there: a stroke of H / 8 pixels
    - the quadrilateral of shoulders and hips, filled
    - a disc of H / 10 pixels radius around the middle of nose, eyes and ears, as far as they are there
    - a closing (dilation, then erosion) with a disc of H / 16 pixels

    H is the height of the image, in which a person of Market-1501 stands from edge to edge. In a looser frame it is
    1.1 times the extent of the joints.
    """
    mask = np.zeros(size, np.uint8)
    there = points[:, 2] > 0
    if not there.any():
        return mask
    place = np.rint(points[:, :2].clip(-20_000, 20_000)).astype(int)
    height = min(float(size[0]), 1.1 * max(float(np.ptp(points[there, 1])), float(np.ptp(points[there, 0]))))
    for start, end in LIMBS:
        if there[start] and there[end]:
            cv2.line(mask, place[start].tolist(), place[end].tolist(), 1, max(1, round(height / 8)))
    if there[list(_TORSO)].all():
        cv2.fillConvexPoly(mask, cv2.convexHull(place[list(_TORSO)]), 1)
    face = [joint for joint in FACE if there[joint]]
    if face:
        middle = np.rint(place[face].mean(axis=0)).astype(int)
        cv2.circle(mask, middle.tolist(), max(1, round(height / 10)), 1, cv2.FILLED)
    radius = max(1, round(height / 16))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    around = np.pad(mask, radius)  # else it sticks to the border
    closed = cv2.morphologyEx(around, cv2.MORPH_CLOSE, disc)[radius:-radius, radius:-radius]
    return cast(NDArray[np.uint8], closed)
