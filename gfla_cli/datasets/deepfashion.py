"""Training and test pairs of pose sets on disk: DeepFashion, Market-1501, and sets in their layout (see `tables`)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from torch.utils.data import Dataset

from gfla_cli.arrays import Float64Array, Image, Int64Array, Points
from gfla_cli.datasets.sample import PosePair, unknown_correspondence, unknown_joints
from gfla_cli.datasets.tables import Layout, Split, read_annotations, read_pairs, require_set
from gfla_cli.errors import DataError
from gfla_cli.io.files import leads_out
from gfla_cli.io.image import at_size, read_image
from gfla_cli.person.pose import MISSING

# The authors' augmentation for Market-1501: largest rotation, shift in pixels, change of size.
_ANGLE_DEG, _SHIFT, _SCALE = 5.0, 5.0, 0.05
_TARGET_ANGLE, _TARGET_SHIFT = 0.2, 0.5  # shares of the source's movement; the target keeps its size
_GREY = (128, 128, 128)


class BenchmarkPairs(Dataset[PosePair]):
    """The pairs of one split: number i is row i of the pairs table, and starts over after the last."""

    def __init__(self, root: Path, split: Split, layout: Layout, size: tuple[int, int]) -> None:
        """Images and points are brought to `size` (height, width).

        Raises DataError that names the file and line of what is wrong with the tables, or the missing folder.
        """
        self.root, self.split, self.layout, self.size = root, split, layout, size
        require_set(root, split, layout)
        annotation, pairs = layout.tables(split)
        self.points = read_annotations(root / annotation)
        self.pairs = read_pairs(root / pairs)
        self.image_count = len(self.points)
        for name in {name for pair in self.pairs for name in pair}:
            if leads_out(name):
                raise DataError(f"{root}: {name} leads out of {split}/", hint="names are those of images in it")
            if name not in self.points:
                what = f"{root}: {name} is in the pairs but has no keypoints"
                raise DataError(what, hint="gfla data check names all")
        if not (root / split).is_dir():
            hint = "gfla data fashion sorts DeepFashion's img_highres into train/ and test/"
            raise DataError(f"{root / split}: no such folder, but the images belong there", hint=hint)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> PosePair:
        source, target = self.pairs[index % len(self.pairs)]
        source_image, source_points = self._read(source)
        target_image, target_points = self._read(target)
        return PosePair(
            source_image,
            target_image,
            source_points,
            target_points,
            true_points=unknown_joints(),
            target_mask=np.full(self.size, 255, np.uint8),
            correspondence=unknown_correspondence(),
        )

    def _read(self, name: str) -> tuple[Image, Points]:
        image = at_size(read_image(self.root / self.split / name), self.size)
        height, width = self.size
        points = self.points[name].copy()
        scale = np.array([width / self.layout.frame[1], height / self.layout.frame[0]], np.float32)
        points[:, :2] = np.where(points[:, :2] >= 0, points[:, :2] * scale, -1)
        return image, points


class ShuffledPairs(Dataset[PosePair]):
    """The same pairs, endlessly, in another order in every epoch; a pure function of seed and number.

    Neighbouring rows of the published tables share a person, and a batch of one person teaches little.
    """

    def __init__(self, pairs: BenchmarkPairs, seed: int, *, jittered: bool = False) -> None:
        self.pairs, self.seed, self.jittered = pairs, seed, jittered
        self.image_count = pairs.image_count
        self._order: tuple[int, Int64Array] | None = None  # epoch, rows

    def __getitem__(self, index: int) -> PosePair:
        epoch, place = divmod(index, len(self.pairs))
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self.seed, epoch]).permutation(len(self.pairs))
        pair = self.pairs[int(self._order[1][place])]
        return jitter(pair, np.random.default_rng([self.seed, 1, index])) if self.jittered else pair


def jitter(pair: PosePair, rng: np.random.Generator) -> PosePair:
    """Both images and their joints turned and shifted a little, the source resized too; the outside is grey."""
    angle_deg, *shift = rng.uniform(-1, 1, 3) * (_ANGLE_DEG, _SHIFT, _SHIFT)
    scale = 1 + rng.uniform(-_SCALE, _SCALE)
    source_image, source_points = _moved(pair.source_image, pair.source_points, angle_deg, np.array(shift), scale)
    target_image, target_points = _moved(
        pair.target_image, pair.target_points, _TARGET_ANGLE * angle_deg, _TARGET_SHIFT * np.array(shift), 1.0
    )
    return pair._replace(
        source_image=source_image, source_points=source_points, target_image=target_image, target_points=target_points
    )


def _moved(image: Image, points: Points, angle_deg: float, shift: Float64Array, scale: float) -> tuple[Image, Points]:
    """(H, W, 3) and (18, 3), turned about the middle; joints that leave the frame are missing."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle_deg, scale)
    matrix[:, 2] += shift
    turned = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=_GREY)
    moved = points.copy()
    moved[:, :2] = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    outside = ((moved[:, :2] < 0) | (moved[:, :2] > (width - 1, height - 1))).any(axis=1)
    moved[outside | (points[:, 2] <= 0)] = MISSING
    return np.asarray(turned, np.uint8), moved
