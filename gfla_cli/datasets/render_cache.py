"""Rendered characters and objects, each an album of views, kept on disk once they were rendered.

Rendering a picture costs about as much as training on it does on a GPU, and a view serves in many pairs: so a
fixed number of albums is rendered, each on first use, and read back afterwards.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from gfla_cli.errors import DataError
from gfla_cli.geometry.crop import Beyond, Crop
from gfla_cli.io.files import atomic_path, make_folder

if TYPE_CHECKING:
    from gfla_cli.synth.people.people import AlbumMix, People


_LOOK_AGAIN_S, _WAIT_S = 15.0, 120  # between two looks which albums are there, and for the first of them
_NUMBERED = re.compile(r"(\d{6})\.npz")
_DETECTED = "detected.npy"
_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 95]
_MIRRORED = np.array([-1, 1, 1], np.float32)  # a rest position on the other side of the body
_CENTRED = "centred"  # older albums lack this row: their keypoints count from the image's edge
_EDGE = 0.5


class RenderedView(Protocol):
    """What an album stores of every view."""

    @property
    def image(self) -> NDArray[np.uint8]:
        """(size, size, 3) RGB."""

    @property
    def mask(self) -> NDArray[np.uint8]:
        """(size, size) 255 on the subject, 0 around it."""

    @property
    def surface(self) -> NDArray[np.float32]:
        """(size/2, size/2, 3) which point of the subject is seen, NaN on the background."""


class StoredPicture(NamedTuple):
    """The picture of one view, as it comes back from disk."""

    image: NDArray[np.uint8]  # (size, size, 3) RGB
    mask: NDArray[np.uint8]  # (size, size) 255 on the subject
    surface: NDArray[np.float32]  # (size/2, size/2, 3) NaN on the background

    def cropped(self, crop: Crop, *, beyond: Beyond = "edge") -> StoredPicture:
        """A part of the view, and of what it shows; `beyond` as in `Crop.image`.

        In a mirror, a point of the surface is one of the other side: people and objects are symmetric at rest.
        """
        surface = crop.cells(self.surface, self.image.shape, (crop.size[0] // 2, crop.size[1] // 2))
        if crop.flip:
            surface = surface * _MIRRORED
        mask = crop.image(self.mask, beyond="edge" if beyond == "edge" else 0)
        return StoredPicture(crop.image(self.image, beyond=beyond), mask, surface)


Album = tuple[Sequence[RenderedView], Mapping[str, NDArray[Any]]]  # views, and arrays with one row for each of them


class AlbumFiles:
    """Numbered albums: rendered when first asked for, read from a folder after that.

    Several processes may share the folder: an album appears in it complete or not at all. One that was damaged
    afterwards is rendered again. The folder's name holds a digest of the plan, so that albums of two plans never mix.

    With `existing_only` nothing is rendered: `choose` draws from what other processes (`gfla data render`) have put
    there by now.
    """

    def __init__(self, parent: Path, name: str, plan: Any, count: int, render: Callable[[int], Album]) -> None:
        """`plan` is a dataclass of plain values, `render` makes album number i of its `count`."""
        digest = hashlib.sha256(json.dumps(asdict(plan), sort_keys=True).encode()).hexdigest()[:8]
        self.folder = parent / f"{name}-{digest}"
        self.count = count
        self.existing_only = False
        self._render = render
        self._there: list[int] = []
        self._looked_s = -math.inf

    def choose(self, rng: np.random.Generator) -> int:
        """The number of an album. Raises DataError when there is none and none may be rendered."""
        if not self.existing_only:
            return int(rng.integers(self.count))
        return int(rng.choice(self._numbers()))

    def _numbers(self) -> list[int]:
        """Albums on disk; waits for the first one."""
        for _ in range(_WAIT_S):
            if not self._there or time.monotonic() - self._looked_s > _LOOK_AGAIN_S:
                names = (_NUMBERED.fullmatch(path.name) for path in self.folder.glob("*.npz"))
                self._there = sorted(int(name[1]) for name in names if name)
                self._looked_s = time.monotonic()
            if self._there:
                return self._there
            time.sleep(1)
        hint = "gfla data render makes them; or leave --no-render out"
        raise DataError(f"{self.folder}: no rendered pictures", hint=hint)

    def ensure(self, album: int) -> bool:
        """Renders an album unless it is there; whether it had to."""
        path = self._path(album)
        if path.is_file():
            return False
        self._write(album, path)
        return True

    def _path(self, album: int) -> Path:
        return self.folder / f"{album:06d}.npz"

    def read(self, album: int, view: int) -> tuple[StoredPicture, dict[str, NDArray[Any]]]:
        """The picture of one view, and its row of every other array; both numbers count from 0."""
        path = self._path(album)
        if path.is_file():
            # After a power cut a file may be empty or cut off. zipfile, zlib, numpy and cv2 raise errors of their own
            # for that: no list is safe. Whatever is wrong with the disk itself is raised below.
            with suppress(Exception):
                return _read_view(path, view)
        self._write(album, path)
        return _read_view(path, view)

    def _write(self, album: int, path: Path) -> None:
        views, rows = self._render(album)
        arrays: dict[str, Any] = dict(rows)
        for k, view in enumerate(views):
            arrays[f"image_{k}"] = cv2.imencode(".jpg", view.image[..., ::-1], _QUALITY)[1]
            arrays[f"mask_{k}"] = cv2.imencode(".png", view.mask)[1]
            arrays[f"surface_{k}"] = view.surface.astype(np.float16)
        make_folder(self.folder)
        with atomic_path(path, overwrite=True) as temporary:
            np.savez_compressed(temporary, **arrays)


def _read_view(path: Path, view: int) -> tuple[StoredPicture, dict[str, NDArray[Any]]]:
    """One view of an album on disk; raises whatever its decoders raise when the file is damaged."""
    with np.load(path, allow_pickle=False) as stored:
        image = np.asarray(cv2.imdecode(stored[f"image_{view}"], cv2.IMREAD_COLOR), np.uint8)
        mask = np.asarray(cv2.imdecode(stored[f"mask_{view}"], cv2.IMREAD_GRAYSCALE), np.uint8)
        surface = stored[f"surface_{view}"].astype(np.float32)
        rows = {name: stored[name][view] for name in stored.files if "_" not in name}
    return StoredPicture(np.ascontiguousarray(image[..., ::-1]), mask, surface), rows


@dataclass(frozen=True, kw_only=True, slots=True)
class AlbumPlan:
    """Which albums of people there are. Equal plans render equal albums."""

    kind: ClassVar[str] = "albums"

    seed: int = 0
    characters: int = 6000
    views: int = 6
    size: int = 256
    depths: bool = True  # of the joints, too; albums of before have none

    def mix(self) -> AlbumMix:
        """What the pictures show."""
        from gfla_cli.synth.people.people import AlbumMix

        return AlbumMix()


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadAlbumPlan(AlbumPlan):
    """Which albums of heads seen from near there are."""

    kind: ClassVar[str] = "heads"
    characters: int = 1200
    margins: tuple[float, float] = (0.1, 0.6)  # of free border, shares of a head with its neck

    def mix(self) -> AlbumMix:
        """What the pictures show."""
        from gfla_cli.synth.people.people import AlbumMix

        return AlbumMix(crops={"head": 1}, margins=self.margins)


def read_detections(folder: Path) -> NDArray[np.float32]:
    """(albums, views, 18, 4) x, y, confidence, depth of the joints that a detector found in albums of people.

    NaN where it has not looked yet; joints of confidence 0 where it found nobody.
    """
    path = folder / _DETECTED
    found: NDArray[np.float32] = (
        np.load(path, mmap_mode="r", allow_pickle=False) if path.is_file() else np.zeros((0, 0, 18, 4), np.float32)
    )
    return found


def write_detections(folder: Path, detected: Mapping[int, NDArray[np.float32]]) -> None:
    """Adds albums (views, 18, 4) by number to those that `read_detections` gives."""
    before = read_detections(folder)
    views = len(next(iter(detected.values())))
    found = np.full((max(len(before), *(album + 1 for album in detected)), views, 18, 4), np.nan, np.float32)
    found[: len(before)] = before if len(before) else found[:0]
    for album, joints in detected.items():
        found[album] = joints
    with atomic_path(folder / _DETECTED, overwrite=True) as temporary, temporary.open("wb") as file:
        np.save(file, found)


def keypoint_rows(keypoints: Sequence[NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
    """What an album stores of the renderer's keypoints (18, 3), one for each view."""
    return {"points": np.stack(keypoints), _CENTRED: np.ones(len(keypoints), np.bool_)}


def keypoints_in(row: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    """(18, 3) the keypoints of one view, as points of its image; those outside are -1, -1, 0."""
    points = np.array(row["points"], np.float32)
    if _CENTRED not in row:
        points[:, :2] = np.where(points[:, :2] >= 0, (points[:, :2] - _EDGE).clip(0), -1)
    return points


@dataclass(frozen=True, slots=True)
class StoredView:
    """One view of a character, as it comes back from disk."""

    picture: StoredPicture
    points: NDArray[np.float32]  # (18, 3) x, y, 1 = visible, 0 = hidden; -1, -1, 0 outside of the image
    depths: NDArray[np.float32]  # (18,) pixels behind the middle of the hips, also of joints outside of the image
    detected: NDArray[np.float32] | None = None  # (18, 4) x, y, confidence, depth, as a detector finds them


class Albums:
    """The albums of people of a plan."""

    def __init__(self, pack: Path, folder: Path, plan: AlbumPlan) -> None:
        self.plan = plan
        name = f"{plan.kind}-{plan.characters}x{plan.views}"
        self.files = AlbumFiles(folder, name, plan, plan.characters, self._render)
        self._pack = pack
        self._people: People | None = None
        self._found: NDArray[np.float32] | None = None

    def view(self, album: int, view: int) -> StoredView:
        """One view of one character; both numbers count from 0."""
        picture, rows = self.files.read(album, view)
        detected = np.array(self._detections()[album, view]) if self.is_detected(album) else None
        if detected is not None and not detected[:, 2].any():
            detected = None  # nobody was found
        return StoredView(picture, keypoints_in(rows), rows["depths"], detected)

    def is_detected(self, album: int) -> bool:
        """Whether a detector has looked at this album."""
        found = self._detections()
        return album < len(found) and not np.isnan(found[album]).any()

    def _detections(self) -> NDArray[np.float32]:
        if self._found is None:
            self._found = read_detections(self.files.folder)
        return self._found

    def _render(self, album: int) -> Album:
        from gfla_cli.synth.pack import Pack
        from gfla_cli.synth.people.people import People

        if self._people is None:
            self._people = People(Pack.load(self._pack))
        rng = np.random.default_rng([self.plan.seed, album])
        views = self._people.album(rng, self.plan.views, self.plan.size, self.plan.mix())
        depths = np.stack([view.depths for view in views])
        return views, {**keypoint_rows([view.keypoints for view in views]), "depths": depths}
