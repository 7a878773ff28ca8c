"""The render cache: rendered views of characters, objects and clips, kept in a folder.

A sample of the cache holds several views of one character or object, or the frames of one clip. Rendering an image
costs about as much as training on it does on a GPU, and one view serves in many training pairs. So a fixed number of
samples is rendered, each on first use. After that they are read back.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Float32Array, Image
from gfla_cli.errors import DataError
from gfla_cli.geometry.crop import Beyond, Crop
from gfla_cli.io.files import atomic_path, make_folder

if TYPE_CHECKING:
    from gfla_cli.synth.pack import Pack
    from gfla_cli.synth.renderer.render import RenderedImage

TEST_SEED = 20_200_303  # of the fixed test sets; trainings count their seeds from 0

ADDED_LATER = "added later"  # metadata of a field of a plan

_LOOK_AGAIN_S, _WAIT_S = 15.0, 120  # between two looks at the folder, and for the first sample to appear
_NUMBERED = re.compile(r"(\d{6})\.npz")
_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 95]
_MIRRORED = np.array([-1, 1, 1], np.float32)  # a rest position on the other side of the body
_CENTRED = "centred"  # older caches lack this array: their keypoints count from the image's edge
_EDGE = 0.5


# Views, of which image, mask and surface are stored, and arrays with a row for each.
RenderedSample: TypeAlias = "tuple[Sequence[RenderedImage], Mapping[str, NDArray[Any]]]"


class StoredView(NamedTuple):
    """One view, as it comes back from disk."""

    image: Image  # (size, size, 3) RGB
    mask: Image  # (size, size) 255 on the subject
    surface: Float32Array  # (size/2, size/2, 3) rest position (people: decimetres), NaN on the background

    def cropped(self, crop: Crop, *, beyond: Beyond = "edge") -> StoredView:
        """The same crop of image, mask and surface; `beyond` as in `Crop.image`.

        A mirrored crop also mirrors the positions: people and objects are symmetric at rest.
        """
        surface = crop.cells(self.surface, self.image.shape, (crop.size[0] // 2, crop.size[1] // 2))
        if crop.flip:
            surface = surface * _MIRRORED
        mask = crop.image(self.mask, beyond="edge" if beyond == "edge" else 0)
        return StoredView(crop.image(self.image, beyond=beyond), mask, surface)


@dataclass(slots=True)
class FromPack:
    """Renders samples by their numbers with a pack of synthetic people, which is loaded for the first one."""

    folder: Path
    render: Callable[[Pack, int], RenderedSample]
    _pack: Pack | None = None

    def __call__(self, sample: int) -> RenderedSample:
        from gfla_cli.synth.pack import Pack

        if self._pack is None:
            self._pack = Pack.load(self.folder)
        return self.render(self._pack, sample)


class RenderCache:
    """Numbered samples: rendered when first asked for, read from a folder after that.

    Several processes may share the folder: a sample appears in it complete or not at all. A damaged one is rendered
    again. The folder's name holds a digest of the plan, so samples of two plans never mix.

    With `existing_only` nothing is rendered: `choose` draws from the samples that other processes
    (`gfla data render`) have written by now.
    """

    def __init__(self, parent: Path, name: str, plan: Any, count: int, render: Callable[[int], RenderedSample]) -> None:
        """`plan` is a dataclass of plain values. `render` makes sample number i of `count`.

        A field with the metadata `ADDED_LATER` counts only if it differs from its default: caches from before it was
        there stay valid.
        """
        later = [one for one in fields(plan) if ADDED_LATER in one.metadata]
        added = {one.name for one in later if getattr(plan, one.name) == one.default}
        described = {name: value for name, value in asdict(plan).items() if name not in added}
        digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:8]
        self.folder = parent / f"{name}-{digest}"
        self.count = count
        self.existing_only = False
        self._render = render
        self._existing: list[int] = []
        self._looked_s = -math.inf

    def choose(self, rng: np.random.Generator) -> int:
        """The number of a random sample. Raises DataError when there is none and none may be rendered."""
        if not self.existing_only:
            return int(rng.integers(self.count))
        return int(rng.choice(self._numbers()))

    def _numbers(self) -> list[int]:
        """The samples on disk; waits for the first one."""
        for _ in range(_WAIT_S):
            if not self._existing or time.monotonic() - self._looked_s > _LOOK_AGAIN_S:
                names = (_NUMBERED.fullmatch(path.name) for path in self.folder.glob("*.npz"))
                self._existing = sorted(int(name[1]) for name in names if name)
                self._looked_s = time.monotonic()
            if self._existing:
                return self._existing
            time.sleep(1)
        hint = "gfla data render makes them, with the --recipe of the training if it has one; or leave --no-render out"
        raise DataError(f"{self.folder}: no rendered images", hint=hint)

    def ensure(self, sample: int) -> bool:
        """Renders a sample unless it is on disk. Returns whether it was rendered."""
        path = self._path(sample)
        if path.is_file():
            return False
        self._write(sample, path)
        return True

    def _path(self, sample: int) -> Path:
        return self.folder / f"{sample:06d}.npz"

    def read(self, sample: int, view: int) -> tuple[StoredView, dict[str, NDArray[Any]]]:
        """One view, and its row of every other array; both numbers count from 0."""
        path = self._path(sample)
        if path.is_file():
            # After a power cut a file may be empty or cut off. zipfile, zlib, numpy and cv2 raise errors of their own
            # for that, too many to list. A fault of the disk itself is raised below.
            with suppress(Exception):
                return _read_view(path, view)
        self._write(sample, path)
        return _read_view(path, view)

    def _write(self, sample: int, path: Path) -> None:
        views, rows = self._render(sample)
        arrays: dict[str, Any] = dict(rows)
        for k, view in enumerate(views):
            arrays[f"image_{k}"] = cv2.imencode(".jpg", view.image[..., ::-1], _QUALITY)[1]
            arrays[f"mask_{k}"] = cv2.imencode(".png", view.mask)[1]
            arrays[f"surface_{k}"] = view.surface.astype(np.float16)
        make_folder(self.folder)
        with atomic_path(path, overwrite=True) as temporary:
            np.savez_compressed(temporary, **arrays)


def _read_view(path: Path, view: int) -> tuple[StoredView, dict[str, NDArray[Any]]]:
    """One view of a sample on disk; raises what its decoders raise when the file is damaged."""
    with np.load(path, allow_pickle=False) as stored:
        image = np.asarray(cv2.imdecode(stored[f"image_{view}"], cv2.IMREAD_COLOR), np.uint8)
        mask = np.asarray(cv2.imdecode(stored[f"mask_{view}"], cv2.IMREAD_GRAYSCALE), np.uint8)
        surface = stored[f"surface_{view}"].astype(np.float32)
        rows = {name: stored[name][view] for name in stored.files if "_" not in name}
    return StoredView(np.ascontiguousarray(image[..., ::-1]), mask, surface), rows


def keypoint_rows(keypoints: Sequence[Float32Array]) -> dict[str, NDArray[Any]]:
    """The arrays that a sample stores for the renderer's keypoints (18, 3) of its views."""
    return {"points": np.stack(keypoints), _CENTRED: np.ones(len(keypoints), np.bool_)}


def keypoints_in(row: Mapping[str, NDArray[Any]]) -> Float32Array:
    """(18, 3) keypoints of one view, in pixels of its image; those outside are -1, -1, 0."""
    points = np.array(row["points"], np.float32)
    if _CENTRED not in row:
        points[:, :2] = np.where(points[:, :2] >= 0, (points[:, :2] - _EDGE).clip(0), -1)
    return points
