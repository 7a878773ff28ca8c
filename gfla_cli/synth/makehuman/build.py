"""Builds a pack on disk: humans.npz, poses.npz and textures/."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import ByteArray, Float32Array
from gfla_cli.errors import DataError
from gfla_cli.synth.makehuman.clothing import (
    FittedMesh,
    feature,
    hairstyle,
    outfit_items,
    read_clothing,
    skirt,
    stranded,
    teeth,
    tights,
    trimmed,
)
from gfla_cli.synth.makehuman.figure import KEYPOINTS, LANDMARKS, Figure, select_targets, strongest_bones, target_arrays
from gfla_cli.synth.makehuman.files import (
    EYES,
    HAIR,
    HAIR_WITH_TEXTURE,
    HAT,
    LASHES,
    OUTFITS,
    SKINS,
    TEXTURES,
    TONGUE,
    TRIMMED_HAIR,
    MakeHumanFiles,
    Texture,
    mhclo,
)
from gfla_cli.synth.makehuman.mocap import pose_arrays
from gfla_cli.synth.pack import BROWS, SHOES, read_bgr, write_bgr
from gfla_cli.synth.people.body import HEAD_WINDOW

_SKIN_SIDE = 1024
_HAIR_BRIGHTNESS = 150  # mean of every hair texture, 0..255, so that a tint gives the same colour on all of them
_HAIR_EXPONENTS = {"hair_braid01": 0.4}  # exponent on the brightness; below 1, dark strands stay visible
_HAIR_EXPONENT = 0.7  # of all other hair


def build_pack(files: MakeHumanFiles, out: Path, *, mocap: Path | None = None) -> None:
    """Writes a pack into the folder `out`. mocap: a file of motion capture; None = still poses only.

    Raises DataError if a file is missing or damaged.
    """
    files.check()
    figure = Figure.read(files)
    _save(out / "poses.npz", pose_arrays(files, figure, mocap))
    _save(out / "humans.npz", human_arrays(files, figure))
    (out / "textures").mkdir()
    write_textures(files, figure, out / "textures")


def _save(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    np.savez_compressed(path, allow_pickle=False, **arrays)


def human_arrays(files: MakeHumanFiles, figure: Figure) -> dict[str, NDArray[Any]]:
    """The arrays of humans.npz."""
    items = read_items(files, figure)
    # The base vertices that skin, joints, items or landmarks use, ascending.
    needed = [figure.mesh.faces[figure.skin].ravel(), figure.rig.repeated_joint_vertices().ravel()]
    needed += [np.array(LANDMARKS), np.array(KEYPOINTS).ravel()]
    used = np.unique(np.concatenate([*needed, *(item.base_vertices() for item in items.values())]))
    renumbered = np.full(len(figure.mesh.vertices), -1)
    renumbered[used] = np.arange(len(used))
    arrays = _body_arrays(figure, used, renumbered)
    arrays |= target_arrays(select_targets(files.targets()), renumbered)
    for name, item in items.items():
        arrays |= item.arrays(name, figure, renumbered)
    return arrays


def read_items(files: MakeHumanFiles, figure: Figure) -> dict[str, FittedMesh]:
    """All clothes, hair, eyes and so on by their names in the pack."""
    base = figure.mesh.vertices

    def fitted(name: str) -> FittedMesh:
        return read_clothing(files.path(name), len(base))

    def hair(name: str) -> FittedMesh:
        cut = trimmed if name in TRIMMED_HAIR else stranded
        style = fitted(mhclo("hair", name))
        return hairstyle(style) if name in HAIR_WITH_TEXTURE else cut(style, base)

    items = {"hat:fedora": fitted(HAT).part()}
    for name, roles in OUTFITS.items():
        items |= outfit_items(name, fitted(mhclo("clothes", name)), roles, base)
    items |= {f"shoes:{name}": fitted(mhclo("clothes", name)).part() for name in SHOES}
    items |= {f"hair:{name}": hair(name) for name in HAIR}
    items |= {f"brows:{name}": feature(fitted(mhclo("eyebrows", name))) for name in BROWS}
    items["lashes:eyelashes01"] = feature(fitted(LASHES))
    items["eyes:high-poly"] = feature(fitted(EYES))
    items["tongue:tongue01"] = feature(fitted(TONGUE))
    return items | {"tights": tights(figure), "skirt": skirt(figure), "teeth": teeth(figure)}


def _body_arrays(figure: Figure, used: NDArray[np.int64], renumbered: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    mesh, rig, skin = figure.mesh, figure.rig, figure.skin
    bone, share = strongest_bones(rig.weight[used])
    return {
        "rest": mesh.vertices[used].astype(np.float32),
        "faces": renumbered[mesh.faces[skin]].astype(np.uint16),
        "uv": mesh.corner_uv[skin].astype(np.float16),
        "original_index": used.astype(np.uint16),
        "arm_distance": figure.arm_distance[used].astype(np.float32),
        "leg_weight": figure.leg_weight[used].astype(np.float16),
        "is_body": np.isin(used, mesh.faces[mesh.group == "body"]),
        "weight_index": bone,
        "weight": share,
        "bone_name": np.array(rig.bones),
        "bone_parent": rig.parents(),
        "bone_joint": renumbered[rig.repeated_joint_vertices()].astype(np.uint16),
        "landmark68": renumbered[np.array(LANDMARKS)].astype(np.int32),
        "keypoint_vertex": renumbered[np.array(KEYPOINTS)].astype(np.int32),
    }


def write_textures(files: MakeHumanFiles, figure: Figure, folder: Path) -> None:
    """Writes all textures of the pack into a folder."""
    shown = _shown_skin(figure)
    for name, source in SKINS.items():
        image = _read_colour(files.path(source))[..., :3]
        body = _resized(image, _SKIN_SIDE)
        if (shown > 0).any():  # one colour where clothes always cover it, so that the file is smaller
            body[shown == 0] = np.median(body[shown > 0], 0)
        _write_jpeg(folder / f"{name}.jpg", body)
        _write_jpeg(folder / f"{name}_head.jpg", _head(image))
    for name, wanted in TEXTURES.items():
        _write_texture(folder, name, wanted, _read_colour(files.path(wanted.source)))


def _write_texture(folder: Path, name: str, wanted: Texture, image: ByteArray) -> None:
    if wanted.kind == "opaque" or image.shape[2] == 3:
        _write_jpeg(folder / f"{name}.jpg", _resized(image[..., :3], wanted.side))
        return
    colour, alpha = _cut_out(image, wanted.side)
    if wanted.kind == "hair":  # grey, with about the same brightness for all styles
        grey = colour.mean(2)
        mean = (grey * alpha).sum() / max(alpha.sum(), 1e-6)
        exponent = _HAIR_EXPONENTS.get(name, _HAIR_EXPONENT)
        grey = np.clip(_HAIR_BRIGHTNESS * (grey / max(mean, 1)) ** exponent, 0, 255)
        colour = np.repeat(grey[..., None], 3, 2)
    rgba = np.dstack([colour, alpha * 255]).clip(0, 255).astype(np.uint8)
    write_bgr(folder / f"{name}.png", rgba, [cv2.IMWRITE_PNG_COMPRESSION, 9])


def _read_colour(path: Path) -> ByteArray:
    """Reads BGR (H,W,3), or BGRA (H,W,4). Raises DataError for other files."""
    image = read_bgr(path)
    if image is None or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (3, 4):
        raise DataError(f"{path}: not a colour image", hint="it may be cut short; fetch it again")
    return image


def _resized(image: ByteArray, side: int) -> ByteArray:
    small: ByteArray = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return small


def _shown_skin(figure: Figure) -> ByteArray:
    """A mask (n,n), 0 or 255, of the texels of a skin that are ever visible, with a margin for filtering."""
    shown = np.zeros((_SKIN_SIDE, _SKIN_SIDE), np.uint8)
    u, v = np.moveaxis(figure.mesh.corner_uv[figure.skin], -1, 0)
    for triangle in np.stack([u * _SKIN_SIDE, (1 - v) * _SKIN_SIDE], -1).round().astype(np.int32):
        cv2.fillConvexPoly(shown, triangle, 255)
    grown: ByteArray = cv2.dilate(shown, np.ones((7, 7), np.uint8))
    return grown


def _head(skin_image: ByteArray) -> ByteArray:
    """The head's part of a skin, at a higher resolution."""
    side = len(skin_image)
    (left, bottom), (width, height) = HEAD_WINDOW
    rows = slice(int((1 - bottom - height) * side), int((1 - bottom) * side))
    columns = slice(int(left * side), int((left + width) * side))
    window = skin_image[rows, columns]
    head: ByteArray = cv2.resize(window, (_SKIN_SIDE, _SKIN_SIDE), interpolation=cv2.INTER_CUBIC)
    return head


def _cut_out(image: ByteArray, side: int) -> tuple[Float32Array, Float32Array]:
    """Colour (n,n,3), 0..255, and alpha (n,n), 0..1. Colours extend beyond edges, to avoid dark fringes."""
    alpha = image[..., 3:].astype(np.float32) / 255
    whole = np.dstack([image[..., :3] * alpha, alpha])
    small = cv2.resize(whole, (side, side), interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(small, (0, 0), 8)
    inside = small[..., :3] / np.maximum(small[..., 3:], 1e-3)
    beyond = blurred[..., :3] / np.maximum(blurred[..., 3:], 1e-4)
    return np.where(small[..., 3:] > 0.02, inside, beyond), small[..., 3]


def _write_jpeg(path: Path, image: ByteArray) -> None:
    write_bgr(path, image, [cv2.IMWRITE_JPEG_QUALITY, 92])
