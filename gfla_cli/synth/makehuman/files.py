"""MakeHuman's files: those that go into the pack, where they are, and how meshes (.obj) and other texts are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Float64Array, Int64Array
from gfla_cli.errors import DataError, UsageError
from gfla_cli.synth.pack import BROWS, SHOES, TEXTURED_OUTFITS

OUTFITS: Mapping[str, str] = {
    # The connected parts of each mesh, the largest first: t = top, b = bottom, f = all in one. The last letter is for
    # all further parts, such as buttons and belts.
    "female_casualsuit01": "tb",
    "female_casualsuit02": "btb",
    "female_elegantsuit01": "tb",
    "female_sportsuit01": "tb",
    "male_casualsuit02": "tb",
    "male_casualsuit03": "tb",
    "male_casualsuit04": "bt",
    "male_casualsuit05": "tbt",
    "male_casualsuit06": "tb",
    "male_elegantsuit01": "tb",
    "male_worksuit01": "f",
}
HAIR = ("afro01", "bob01", "bob02", "braid01", "long01", "ponytail01", "short01", "short02", "short03", "short04")
HAIR_WITH_TEXTURE = ("braid01", "ponytail01", "short01")  # the others are drawn as procedural strands
TRIMMED_HAIR = ("bob01", "bob02", "short03")  # their own textures thin out the fringe; strands would hide the eyes
SKINS: Mapping[str, str] = {  # name in the pack -> image
    "skin_male2": "skins/textures/young_lightskinned_male_diffuse2.png",
    "skin_male3": "skins/textures/young_lightskinned_male_diffuse3.png",
    "skin_male_middleage": "skins/textures/middleage_lightskinned_male_diffuse.png",
    "skin_male_dark": "skins/textures/young_darkskinned_male_diffuse.png",
    "skin_female2": "skins/textures/young_lightskinned_female_diffuse2.png",
}
STATIC_POSES = (
    *("fight01", "fight02", "fight03", "fight04", "fly01", "fly02", "gym01", "run01", "sit01"),
    *("standing01", "standing02", "standing03", "standing04", "standing05", "standing06"),
)

BASE_MESH, SKELETON, WEIGHTS = "3dobjs/base.obj", "rigs/default.mhskel", "rigs/default_weights.mhw"
EYES, LASHES, TONGUE, HAT = (
    "eyes/high-poly/high-poly.mhclo",
    "eyelashes/eyelashes01/eyelashes01.mhclo",
    "tongue/tongue01/tongue01.mhclo",
    "clothes/fedora01/fedora.mhclo",
)
TARGET_FOLDERS = (  # of targets/; each must have targets
    *("macrodetails", "macrodetails/height", "macrodetails/proportions"),
    *("expression/units/african", "expression/units/asian", "expression/units/caucasian"),
    *("armslegs", "asym", "cheek", "chin", "ears", "eyebrows", "eyes", "forehead", "head", "hip"),
    *("mouth", "neck", "nose", "stomach", "torso"),
)


def mhclo(kind: Literal["clothes", "hair", "eyebrows"], name: str) -> str:
    """The file of a mesh that is fitted to the body."""
    return f"{kind}/{name}/{name}.mhclo"


def bvh(name: str) -> str:
    """The file of a static pose."""
    return f"poses/{name}.bvh"


@dataclass(frozen=True, slots=True)
class Texture:
    """A texture of the pack: its source file, its size, and its kind."""

    source: str
    side: int  # pixels
    kind: Literal["opaque", "cut out", "hair"] = "opaque"


TEXTURES: Mapping[str, Texture] = {
    **{name: Texture(f"clothes/{name}/{name}_diffuse.png", 1024) for name in TEXTURED_OUTFITS},
    **{name: Texture(f"clothes/{name}/{name}_diffuse.png", 512) for name in SHOES},
    "tongue01": Texture("tongue/tongue01/tongue01_diffuse.png", 256),
    "eye_brown": Texture("eyes/materials/brown_eye.png", 512, "cut out"),
    "eyelashes01": Texture("eyelashes/eyelashes01/eyelashes01.png", 512, "cut out"),
    **{name: Texture(f"eyebrows/{name}/{name}.png", 512, "cut out") for name in BROWS},
    **{f"hair_{name}": Texture(f"hair/{name}/{name}_diffuse.png", 1024, "hair") for name in HAIR_WITH_TEXTURE},
}


def required_files() -> Iterator[str]:
    """All files that a pack is made of, except targets, which are found by folder."""
    yield from (BASE_MESH, SKELETON, WEIGHTS)
    for name in (
        *(EYES, LASHES, TONGUE, HAT),
        *(mhclo("clothes", name) for name in (*OUTFITS, *SHOES)),
        *(mhclo("hair", name) for name in HAIR),
        *(mhclo("eyebrows", name) for name in BROWS),
    ):
        yield name
        yield name.replace(".mhclo", ".obj")
    yield from map(bvh, STATIC_POSES)
    yield from (texture.source for texture in TEXTURES.values())
    yield from SKINS.values()


_ROOTS = (  # a checkout or download of makehuman or makehuman-assets, or the folder of both
    *(".", "data", "base"),
    *("makehuman*", "makehuman*/data", "makehuman*/base", "makehuman*/makehuman/data"),
)
_CLONE = (
    "git clone https://github.com/makehumancommunity/makehuman and "
    "https://github.com/makehumancommunity/makehuman-assets into one folder, with Git LFS, and name that folder"
)
_LFS_POINTER = b"version https://git-lfs"


class MakeHumanFiles:
    """MakeHuman's assets, found by their path in its data folder, such as `3dobjs/base.obj`.

    The folder may be a checkout of makehumancommunity/makehuman with the assets merged into makehuman/data, the data
    folder itself, or a folder with checkouts of makehuman and makehuman-assets. Images may also be in one flat folder
    `textures`. Raises UsageError if the folder does not exist.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise UsageError(f"{folder}: no such folder", hint=_CLONE)
        found = (root for pattern in _ROOTS for root in ([folder] if pattern == "." else sorted(folder.glob(pattern))))
        self.folder = folder
        self._roots = [root for root in found if root.is_dir()]

    def path(self, name: str) -> Path:
        """A file by its path in the data folder. Raises DataError if it is missing."""
        if path := self._find(name):
            return path
        raise DataError(f"{self.folder}: no {name}", hint=_CLONE)

    def targets(self) -> Path:
        """The folder of shape targets."""
        return next((root / "targets" for root in self._roots if (root / "targets").is_dir()), self.folder / "targets")

    def check(self) -> None:
        """Raises DataError that names all missing files, and files that Git LFS has not downloaded."""
        if not any(map(self._find, required_files())):
            raise DataError(f"{self.folder}: no assets of MakeHuman here, not even {BASE_MESH}", hint=_CLONE)
        missing = [name for name in required_files() if not self._find(name)]
        targets = self.targets()
        missing += [f"targets/{name}/*.target" for name in TARGET_FOLDERS if not any((targets / name).glob("*.target"))]
        if missing:
            raise DataError(f"{self.folder}: {_files(missing, 'missing')}", hint=_CLONE)
        if pointers := [name for name in required_files() if _is_pointer(self.path(name))]:
            what = f"{self.folder}: {_files(pointers, 'still in Git LFS')}"
            raise DataError(what, hint="git lfs install && git lfs pull, in the checkout, fetches the files themselves")

    def _find(self, name: str) -> Path | None:
        names = [name, f"textures/{PurePosixPath(name).name}"] if name.endswith(".png") else [name]
        paths = (root / name for name in names for root in self._roots)
        return next((path for path in paths if path.is_file()), None)


def _is_pointer(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_LFS_POINTER)) == _LFS_POINTER


def _files(names: Sequence[str], state: str) -> str:
    """A message by folder, such as `2 files are missing: clothes/shoes01/{shoes01.mhclo, shoes01.obj}`."""

    def folder(name: str) -> str:
        return str(PurePosixPath(name).parent)

    listed = []
    for where, group in groupby(sorted(names, key=folder), folder):
        first, *others = group
        in_folder = ", ".join(PurePosixPath(name).name for name in (first, *others))
        listed.append(f"{where}/{{{in_folder}}}" if others else first)
    count = "1 file is" if len(names) == 1 else f"{len(names)} files are"
    return f"{count} {state}: {', '.join(listed)}"


@contextmanager
def as_data_error(path: Path, kind: str) -> Iterator[None]:
    """Turns errors while a file is read into a DataError that names it. kind: such as "a Wavefront mesh"."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", hint=_CLONE) from error
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError, MemoryError) as error:
        hint = "it may be cut short; fetch it again"
        raise DataError(f"{path}: not {kind} ({type(error).__name__}: {error})", hint=hint) from error


def split_lines(path: Path) -> Iterator[list[str]]:
    """The words of each line that is neither empty nor a comment."""
    with path.open(encoding="utf-8", errors="replace") as file:  # some comments have another encoding
        for line in file:
            words = line.split()
            if words and not words[0].startswith("#"):
                yield words


@dataclass(frozen=True, slots=True, eq=False)
class ObjMesh:
    """A textured mesh from a Wavefront .obj file; polygons are cut into fans of triangles."""

    vertices: Float64Array  # (V,3) dm
    uv: Float64Array  # (T,2) texture coordinates, v up
    faces: Int64Array  # (F,3) vertices
    uv_faces: Int64Array  # (F,3) rows of `uv`
    group: NDArray[np.str_]  # (F,) the name before each face, such as `body` or `helper-skirt`

    @property
    def corner_uv(self) -> Float64Array:
        """Texture coordinates of every corner, (F,3,2)."""
        return self.uv[self.uv_faces]


def read_obj(path: Path) -> ObjMesh:
    """Reads positions, texture coordinates, faces and groups of a .obj file. Raises DataError for a damaged file."""
    vertices: list[list[float]] = []
    uv: list[list[float]] = []
    corners: list[tuple[int, int]] = []  # three per triangle
    group, groups = "", []
    with as_data_error(path, "a Wavefront mesh"):
        for keyword, *words in split_lines(path):
            if keyword == "v":
                vertices.append([float(word) for word in words[:3]])
            elif keyword == "vt":
                uv.append([float(word) for word in words[:2]])
            elif keyword == "g":
                group = words[0] if words else ""
            elif keyword == "f":
                # `vertex/uv/normal`, counted from 1; uv and normal are optional.
                places = [[*word.split("/"), ""][:2] for word in words]
                polygon = [(int(vertex) - 1, int(uv_row) - 1 if uv_row else 0) for vertex, uv_row in places]
                for second, third in pairwise(polygon[1:]):
                    corners += polygon[0], second, third
                    groups.append(group)
        triangles = np.array(corners, np.int64).reshape(-1, 3, 2)
        mesh = ObjMesh(
            vertices=np.array(vertices, np.float64).reshape(-1, 3),
            uv=np.array(uv or [[0, 0]], np.float64),
            faces=triangles[..., 0],
            uv_faces=triangles[..., 1],
            group=np.array(groups, np.str_),
        )
        for index, count in ((mesh.faces, len(mesh.vertices)), (mesh.uv_faces, len(mesh.uv))):
            if len(index) and not 0 <= index.min() <= index.max() < count:
                raise ValueError("a face uses a vertex that the file does not have")
    return mesh
