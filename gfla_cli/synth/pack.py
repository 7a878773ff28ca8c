"""The pack of synthetic people on disk: a base mesh with its rig and shapes, clothes and hair, poses, pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import ByteArray
from gfla_cli.errors import DataError
from gfla_cli.io.image_decoding import open_image
from gfla_cli.io.npz import read_npz
from gfla_cli.synth.objects.chair_parts import Piece
from gfla_cli.synth.people.garments import Item
from gfla_cli.synth.people.shape import BaseMesh, Shapes
from gfla_cli.synth.people.skeleton import PoseLibrary, Skeleton
from gfla_cli.synth.picture_files import read_bgr
from gfla_cli.synth.renderer.materials import MipChain, mip_chain

_IRIS_BGR = {  # the eye texture is brown; the others are dyed
    "brown": (22, 46, 88),
    "dark": (18, 28, 48),
    "blue": (165, 125, 85),
    "green": (75, 110, 95),
    "grey": (130, 125, 115),
}
_HINT = "the folder of synthetic people holds humans.npz, poses.npz and textures/; gfla data humans builds one"
_PARTS = ("humans.npz", "poses.npz", "textures")
_PICTURES = (  # without these nobody can be drawn; hair without a picture gets procedural strands
    *("skin_female2", "skin_male2", "skin_male3", "skin_male_dark", "skin_male_middleage"),
    *("skin_female2_head", "skin_male2_head", "skin_male3_head", "skin_male_dark_head", "skin_male_middleage_head"),
    *("female_casualsuit01", "female_elegantsuit01", "male_casualsuit05", "male_elegantsuit01", "male_worksuit01"),
    *("shoes01", "shoes03", "shoes05", "eye_brown", "eyelashes01", "tongue01"),
    *("eyebrow001", "eyebrow002", "eyebrow003", "eyebrow005", "eyebrow012"),
)
_BROW_GREY = 110  # eyebrows are black line art; from grey they can be tinted


class Textures:
    """The pictures of a pack, as mip chains, read when first asked for."""

    def __init__(self, folder: Path) -> None:
        self._file = {path.stem: path for path in folder.glob("*.*")}
        self._chain: dict[str, MipChain] = {}
        if missing := sorted(set(_PICTURES) - set(self._file)):
            raise DataError(f"{folder}: no picture of {', '.join(missing)}", hint=_HINT)

    def __contains__(self, name: str) -> bool:
        return name in self._file

    def __getitem__(self, name: str) -> MipChain:
        """A picture by the name of its file, or `eye_` and a colour."""
        if name not in self._chain:
            self._chain[name] = mip_chain(self._read(name))
        return self._chain[name]

    def _read(self, name: str) -> ByteArray:
        """RGBA (n,n,4), n a power of two."""
        is_eye = name.startswith("eye_")
        path = self._file["eye_brown" if is_eye else name]
        with open_image(path):  # its size, before it is decoded
            pass
        picture = read_bgr(path)
        if picture is None or picture.ndim != 3 or picture.shape[0] != picture.shape[1]:
            raise DataError(f"{path}: not a square colour picture", hint=_HINT)
        if picture.shape[2] == 3:
            picture = np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])
        if name.startswith("eyebrow"):
            picture[..., :3] = _BROW_GREY
        if is_eye:
            picture[..., :3] = _dyed(picture[..., :3], _IRIS_BGR[name.removeprefix("eye_")])
        return np.ascontiguousarray(picture[..., [2, 1, 0, 3]])


def _dyed(eye_BGR: ByteArray, iris_BGR: tuple[int, int, int]) -> ByteArray:
    """The eye with its iris, all that is colourful, in another colour."""
    saturation = cv2.cvtColor(eye_BGR, cv2.COLOR_BGR2HSV)[..., 1].astype(np.float32)
    is_iris = np.clip((saturation - 90) / 60, 0, 1)[..., None]
    brightness = eye_BGR.mean(2, keepdims=True) / 60
    mixed = eye_BGR * (1 - is_iris) + is_iris * brightness * iris_BGR
    dyed: ByteArray = np.clip(mixed, 0, 255).astype(np.uint8)
    return dyed


@dataclass(frozen=True, slots=True, eq=False)
class Pack:
    """The loaded pack; nothing in it changes."""

    base: BaseMesh
    shapes: Shapes
    skeleton: Skeleton
    items: Mapping[str, Item]
    poses: PoseLibrary
    textures: Textures

    @classmethod
    def load(cls, folder: Path) -> Pack:
        """Reads a pack; raises DataError when files are missing or damaged."""
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
    """Raises DataError that names the missing files, before anything is read, when `folder` is not a pack."""
    if missing := [name for name in _PARTS if not (folder / name).exists()]:
        raise DataError(f"{folder}: not a pack of synthetic people: no {' and no '.join(missing)}", hint=_HINT)


def _check_indices(piece: Piece, vertices: int, bones: int) -> None:
    """Raises ValueError for an index beyond its table: compiled code would read, and write, whatever lies there."""
    binding = piece.binding
    own = len(binding.reference)
    for index, count in ((binding.reference, vertices), (binding.bone, bones), (piece.faces, own)):
        if index.size and not 0 <= index.min() <= index.max() < count:
            raise ValueError(f"an index of {index.min()} to {index.max()} into {count}")
    lengths = {len(binding.barycentric), len(binding.extra), len(binding.bone), len(binding.weight), own}
    if len(lengths) > 1 or piece.faces.shape != (len(piece.uv), 3):
        raise ValueError("tables of different lengths")


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        return read_npz(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: damaged ({error})", hint=_HINT) from error
