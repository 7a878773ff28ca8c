"""Training and test pairs: views of ShapeNet chairs or cars, from the paper's HDF5 files.

    ROOT/*chair*.hdf5               groups <id>_<azimuth/10>_<elevation/10>, each with `image` (256, 256, 3) uint8
                                    and `pose` (azimuth in 10 degrees, elevation in degrees)
    ROOT/id_chair_train.txt         one name a line: an object's id, or the names of its groups
    ROOT/id_chair_test.txt

It is the same for `car`. Both views of a pair show one object at one elevation, as in the paper.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from gfla_cli.arrays import Float32Array, Image
from gfla_cli.conditioning.view_code import AZIMUTH_STEP, AZIMUTHS, ELEVATIONS, ViewAngles, view_code
from gfla_cli.datasets.sample import ViewPair, unknown_correspondence, unknown_geometry
from gfla_cli.errors import DataError, MissingExtraError, UsageError

Split = Literal["train", "test"]
_SUFFIXES = (".hdf5", ".h5")
_CATEGORIES = ("chair", "car")
_GROUP = re.compile(r"(?P<id>.+)_(?P<azimuth>[0-9]{1,4})_(?P<elevation>[0-9]{1,4})")
_LARGEST = 64 << 20  # bytes of an array; an image takes 200 kB
_LAYOUT = "groups named <id>_<azimuth/10>_<elevation/10>, each with `image` and `pose`"

Key = tuple[str, int]  # object, elevation in 10 degrees: azimuths of one key may be paired


class ShapeNetPairs(Dataset[ViewPair]):
    """Pair number i: two azimuths of one object at one elevation, a pure function of seed and number."""

    def __init__(self, file: Path, split: Split, size: tuple[int, int], seed: int = 0) -> None:
        """Images are brought to `size` (height, width).

        Raises DataError when the file or its list is not laid out as above, MissingExtraError without h5py.
        """
        self.file, self.size, self.seed = file, size, seed
        self._opened: Any = None  # every worker process opens the file itself
        names = _read_list(file.parent / f"id_{_category(file)}_{split}.txt")
        with _open(file) as groups:
            self.views = _pairable(file, groups, names)
        self.keys = sorted(self.views)

    def __len__(self) -> int:
        """Pairs of two different azimuths; numbers beyond start a new round of draws."""
        return sum(len(azimuths) * (len(azimuths) - 1) for azimuths in self.views.values())

    def __getitem__(self, index: int) -> ViewPair:
        rng = np.random.default_rng([self.seed, index])
        name, elevation = self.keys[rng.integers(len(self.keys))]
        source, target = rng.choice(self.views[name, elevation], 2, replace=False)
        (source_image, source_code), (target_image, target_code) = (
            self._read(f"{name}_{azimuth}_{elevation}") for azimuth in (source, target)
        )
        mask = np.full(self.size, 255, np.uint8)
        return ViewPair(
            source_image, target_image, source_code, target_code, mask, unknown_correspondence(), unknown_geometry()
        )

    def _read(self, group: str) -> tuple[Image, Float32Array]:
        if self._opened is None:
            self._opened = _open(self.file)
        image, angles = _read_group(self.file, self._opened, group)
        height, width = self.size
        if image.shape[:2] != self.size:
            image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        return image, view_code(angles)

    def __getstate__(self) -> dict[str, Any]:
        """Without the open file, which cannot travel to a worker."""
        return {**self.__dict__, "_opened": None}


def find_file(root: Path) -> Path:
    """The one HDF5 file that `root` is or holds. Raises DataError for none, UsageError for several."""
    if root.is_file():
        return root
    found = sorted(path for path in root.iterdir() if path.suffix in _SUFFIXES)
    if not found:
        raise DataError(f"{root}: no {' or '.join(_SUFFIXES)} file in it", hint=f"the paper's data: {_LAYOUT}")
    if len(found) > 1:
        listed = ", ".join(path.name for path in found)
        raise UsageError(f"{root} holds several HDF5 files: {listed}", hint="name one of them with --data-root")
    return found[0]


def _category(file: Path) -> str:
    """`chair` or `car`, by the name of the file or the one list beside it. Raises UsageError when neither says so."""
    named = [name for name in _CATEGORIES if name in file.stem]
    listed = [name for name in _CATEGORIES if (file.parent / f"id_{name}_train.txt").is_file()]
    for found in (named, listed):
        if len(found) == 1:
            return found[0]
    raise UsageError(
        f"{file}: chairs or cars? Neither its name nor the lists beside it say so",
        hint="name it data_chair.hdf5 or data_car.hdf5, with id_chair_train.txt or id_car_train.txt beside it",
    )


def _open(file: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError("ShapeNet's HDF5 files need h5py", "shapenet") from error
    try:
        return h5py.File(file, "r")
    except OSError as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{file}: not a readable HDF5 file ({first})", hint="copy or download it again") from error


def _read_list(path: Path) -> list[str]:
    """Every name of a list: ids of objects or names of groups."""
    if not path.is_file():
        raise DataError(f"{path}: not found", hint="the list of ids lies beside the HDF5 file")
    names = path.read_text(encoding="utf-8", errors="replace").split()
    if not names:
        raise DataError(f"{path}: no ids in it")
    return names


def _pairable(file: Path, groups: Any, names: Iterable[str]) -> dict[Key, list[int]]:
    """The azimuths (in 10 degrees) of each listed object and elevation that has at least two."""
    wanted = {match["id"] if (match := _GROUP.fullmatch(name)) else name for name in names}
    try:
        present = list(groups)
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{file}: damaged ({error})"[:300], hint="copy or download it again") from error
    views: dict[Key, list[int]] = defaultdict(list)
    for group in present:
        match = _GROUP.fullmatch(group)
        if match and match["id"] in wanted:
            views[match["id"], int(match["elevation"])].append(int(match["azimuth"]))
    pairable = {key: sorted(azimuths) for key, azimuths in views.items() if len(azimuths) > 1}
    if not pairable:
        example = f"{sorted(wanted)[0]}_0_1"
        what = f"the first of its groups is {present[0]}" if present else "it is empty"
        raise DataError(f"{file}: no group such as {example}; {what}", hint=f"expected {_LAYOUT}")
    (name, elevation), azimuths = next(iter(sorted(pairable.items())))
    _read_group(file, groups, f"{name}_{azimuths[0]}_{elevation}")
    return pairable


def _array(groups: Any, name: str, key: str) -> NDArray[Any]:
    """A data set of a group, in full; raises ValueError when it is missing, in another file or too large."""
    import h5py

    for parent, child in ((groups, name), (groups[name], key)):
        if child not in parent:
            raise ValueError(f"no `{key}`")
        if not isinstance(parent.get(child, getlink=True), h5py.HardLink):
            raise ValueError(f"`{child}` is a link")
    found = groups[name][key]
    if not isinstance(found, h5py.Dataset) or found.is_virtual or found.external:
        raise ValueError(f"the values of `{key}` are not in this file")
    if found.size is None or found.nbytes > _LARGEST:
        raise ValueError(f"`{key}` is of shape {found.shape}")
    return np.asarray(found)


def _read_group(file: Path, groups: Any, name: str) -> tuple[Image, ViewAngles]:
    """An image (H, W, 3) and the angles of its view."""
    try:
        image, pose = (_array(groups, name, key) for key in ("image", "pose"))
        pose = pose.astype(np.float64).ravel()
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise DataError(f"{file}: group {name}: {error}"[:300], hint=f"expected {_LAYOUT}") from error
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise DataError(f"{file}: `image` of {name} is {image.dtype} {image.shape}", hint="expected uint8 (H, W, 3)")
    azimuth, elevation = (pose[0] * 10, pose[1]) if len(pose) >= 2 else (-1.0, -1.0)
    if azimuth % AZIMUTH_STEP or not 0 <= azimuth < AZIMUTH_STEP * len(AZIMUTHS) or elevation not in ELEVATIONS:
        raise DataError(
            f"{file}: `pose` of {name} is {pose.tolist()}",
            hint="expected azimuth in 10 degrees (0, 2, ... 34) and elevation in degrees (0, 10, 20)",
        )
    return image, ViewAngles(float(azimuth), float(elevation))
