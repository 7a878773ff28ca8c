"""The pack of synthetic people on disk: a base mesh with its rig and shapes, clothes and hair, poses, textures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import ByteArray, read_npz
from gfla_cli.errors import DataError
from gfla_cli.io.image_decoding import open_image
from gfla_cli.synth.people.body import BaseMesh, PoseLibrary, Shapes, Skeleton
from gfla_cli.synth.people.garments import Item
from gfla_cli.synth.people.mesh import Piece
from gfla_cli.synth.renderer.rasterizer import MipChain, mip_chain

_HINT = "the folder of synthetic people holds humans.npz, poses.npz and textures/; gfla data humans builds one"
_PARTS = ("humans.npz", "poses.npz", "textures")
SKINS = ("skin_male2", "skin_male3", "skin_male_middleage", "skin_male_dark", "skin_female2")
TEXTURED_OUTFITS = (  # the outfits with a texture of their own
    "female_casualsuit01", "female_elegantsuit01", "male_casualsuit05", "male_elegantsuit01", "male_worksuit01",
)  # fmt: skip
SHOES = ("shoes01", "shoes03", "shoes05")
BROWS = ("eyebrow001", "eyebrow002", "eyebrow003", "eyebrow005", "eyebrow012")
_REQUIRED_TEXTURES = (  # textures of hair are optional: without one, hair gets procedural strands
    *SKINS,
    *(f"{name}_head" for name in SKINS),
    *TEXTURED_OUTFITS,
    *SHOES,
    *BROWS,
    *("eye_brown", "eyelashes01", "tongue01"),
)
_BROW_GREY = 110  # eyebrows are black line art; grey can be tinted
_IRIS_BGR = {  # the eye texture is brown; all colours are tinted
    "brown": (22, 46, 88), "dark": (18, 28, 48), "blue": (165, 125, 85), "green": (75, 110, 95),
    "grey": (130, 125, 115),
}  # fmt: skip


class Textures:
    """The textures of a pack as mip chains, each read at its first use.

    Raises DataError for a missing texture, and for a damaged one when it is read.
    """

    def __init__(self, folder: Path) -> None:
        self._file = {path.stem: path for path in folder.glob("*.*")}
        self._chain: dict[str, MipChain] = {}
        if missing := sorted(set(_REQUIRED_TEXTURES) - set(self._file)):
            raise DataError(f"{folder}: no texture of {', '.join(missing)}", hint=_HINT)

    def __contains__(self, name: str) -> bool:
        return name in self._file

    def __getitem__(self, name: str) -> MipChain:
        """A texture by the name of its file, or by `eye_` and a colour."""
        if name not in self._chain:
            self._chain[name] = mip_chain(self._read(name))
        return self._chain[name]

    def _read(self, name: str) -> ByteArray:
        """The RGBA image (n,n,4) of a texture."""
        is_eye = name.startswith("eye_")
        path = self._file["eye_brown" if is_eye else name]
        with open_image(path):  # refuses an image that is too large, before it is decoded
            pass
        image = read_bgr(path)
        if image is None or image.ndim != 3 or image.shape[0] != image.shape[1]:
            raise DataError(f"{path}: not a square colour image", hint=_HINT)
        if image.shape[2] == 3:
            image = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
        if name.startswith("eyebrow"):
            image[..., :3] = _BROW_GREY
        if is_eye:  # with another colour of the iris, which is its saturated part
            eye = image[..., :3]
            saturation = cv2.cvtColor(eye, cv2.COLOR_BGR2HSV)[..., 1].astype(np.float32)
            is_iris = np.clip((saturation - 90) / 60, 0, 1)[..., None]
            brightness = eye.mean(2, keepdims=True) / 60
            tinted = is_iris * brightness * _IRIS_BGR[name.removeprefix("eye_")]
            image[..., :3] = np.clip(eye * (1 - is_iris) + tinted, 0, 255)
        return np.ascontiguousarray(image[..., [2, 1, 0, 3]])


@dataclass(frozen=True, slots=True, eq=False)
class Pack:
    """A loaded pack; read-only."""

    base: BaseMesh
    shapes: Shapes
    skeleton: Skeleton
    items: Mapping[str, Item]
    poses: PoseLibrary
    textures: Textures

    @classmethod
    def load(cls, folder: Path) -> Pack:
        """Reads a pack. Raises DataError if files are missing or damaged."""
        check_pack(folder)
        humans, poses = _arrays(folder / "humans.npz"), _arrays(folder / "poses.npz")
        try:
            base = BaseMesh.from_arrays(humans)
            skeleton = Skeleton.from_arrays(humans)
            names = [key.removesuffix("/ref") for key in humans if key.endswith("/ref")]
            items = {name: Item.from_arrays(humans, name, base) for name in names}
            for piece in (base.body, base.head, *(item.neutral for item in items.values())):
                _check_indices(piece, len(base.rest), len(skeleton.parent))
            return cls(
                base=base,
                shapes=Shapes.from_arrays(humans),
                skeleton=skeleton,
                items=items,
                poses=PoseLibrary.from_arrays(poses, skeleton),
                textures=Textures(folder / "textures"),
            )
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise DataError(f"{folder}: not a pack of synthetic people: {error}", hint=_HINT) from error


def check_pack(folder: Path) -> None:
    """Raises DataError that names the missing files if `folder` is not a pack; reads no files."""
    if missing := [name for name in _PARTS if not (folder / name).exists()]:
        raise DataError(f"{folder}: not a pack of synthetic people: no {' and no '.join(missing)}", hint=_HINT)


def _check_indices(piece: Piece, vertices: int, bones: int) -> None:
    """Raises ValueError for an index outside of its table: compiled code does not check bounds."""
    binding = piece.binding
    own = len(binding.reference)
    for index, count in ((binding.reference, vertices), (binding.bone, bones), (piece.faces, own)):
        if index.size and not 0 <= index.min() <= index.max() < count:
            raise ValueError(f"indices from {index.min()} to {index.max()} in a table of {count} rows")
    lengths = {len(binding.barycentric), len(binding.offset), len(binding.bone), len(binding.weight), own}
    if len(lengths) > 1 or piece.faces.shape != (len(piece.uv), 3):
        raise ValueError("tables of different lengths")


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        return read_npz(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: damaged ({error})", hint=_HINT) from error


def read_bgr(path: Path) -> ByteArray | None:
    """Reads an image with all its channels, in OpenCV's order BGR(A); None if it is no image. Raises OSError.

    cv2.imread on Windows reads paths in ASCII only.
    """
    data = np.frombuffer(path.read_bytes(), np.uint8)
    image: ByteArray | None = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
    return image


def write_bgr(path: Path, image: ByteArray, options: Sequence[int]) -> None:
    """Writes an image in the format of the suffix. Raises OSError; cv2.imwrite is silent about a full disk."""
    _, data = cv2.imencode(path.suffix, image, options)
    path.write_bytes(data.tobytes())
