"""MakeHuman's files: where they are, and Wavefront .obj meshes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Float64Array, Int64Array
from gfla_cli.errors import DataError, UsageError
from gfla_cli.synth.makehuman.catalogue import BASE_MESH, TARGET_FOLDERS, required_files


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
