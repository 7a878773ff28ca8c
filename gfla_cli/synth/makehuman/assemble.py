"""The pack on disk: humans.npz, poses.npz and textures/."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfla_cli.synth.makehuman import catalogue, cloth, hairstyles
from gfla_cli.synth.makehuman.clothing import (
    Clothing,
    PackItem,
    feature,
    garment,
    hairstyle,
    outfit_items,
    read_clothing,
)
from gfla_cli.synth.makehuman.figure import KEYPOINTS, LANDMARKS, Figure, select_targets, target_arrays
from gfla_cli.synth.makehuman.files import MakeHumanFiles
from gfla_cli.synth.makehuman.pictures import write_textures
from gfla_cli.synth.makehuman.poses import pose_arrays
from gfla_cli.synth.makehuman.rig import strongest


def build_pack(files: MakeHumanFiles, out: Path, *, mocap: Path | None = None) -> None:
    """Writes a pack into the folder `out`; without motion capture it has still poses only.

    Raises DataError when a file of MakeHuman is missing or damaged.
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
    """What humans.npz holds."""
    items = read_items(files, figure)
    used = _used_vertices(figure, items)
    renumbered = np.full(len(figure.mesh.vertices), -1)
    renumbered[used] = np.arange(len(used))
    arrays = _body_arrays(figure, used, renumbered)
    arrays |= target_arrays(select_targets(files.targets()), renumbered)
    for name, item in items.items():
        arrays |= item.arrays(name, figure, renumbered)
    return arrays


def read_items(files: MakeHumanFiles, figure: Figure) -> dict[str, PackItem]:
    """All clothes, hair, eyes ... by their names in the pack."""
    base = figure.mesh.vertices

    def fitted(name: str) -> Clothing:
        return read_clothing(files.path(name), len(base))

    items = {"hat:fedora": garment(fitted(catalogue.HAT))}
    for name, roles in catalogue.OUTFITS.items():
        items |= outfit_items(name, fitted(catalogue.clothing(name)), roles, base)
    items |= {f"shoes:{name}": garment(fitted(catalogue.clothing(name))) for name in catalogue.SHOES}
    items |= {f"hair:{name}": _hair(name, fitted(catalogue.hair(name)), figure) for name in catalogue.HAIR}
    items |= {f"brows:{name}": feature(fitted(catalogue.brow(name))) for name in catalogue.BROWS}
    items["lashes:eyelashes01"] = feature(fitted(catalogue.LASHES))
    items["eyes:high-poly"] = feature(fitted(catalogue.EYES))
    items["tongue:tongue01"] = feature(fitted(catalogue.TONGUE))
    return items | {"tights": cloth.tights(figure), "skirt": cloth.skirt(figure), "teeth": cloth.teeth(figure)}


def _hair(name: str, clothing: Clothing, figure: Figure) -> PackItem:
    if name in catalogue.PICTURED_HAIR:
        return hairstyle(clothing)
    cut = hairstyles.trimmed if name in catalogue.TRIMMED_HAIR else hairstyles.stranded
    return cut(clothing, figure.mesh.vertices)


def _used_vertices(figure: Figure, items: Mapping[str, PackItem]) -> NDArray[np.int64]:
    """The base vertices that skin, joints, items or landmarks need, ascending."""
    needed = [figure.mesh.faces[figure.skin].ravel(), figure.rig.repeated_joint_vertices().ravel()]
    needed += [np.array(LANDMARKS), np.array(KEYPOINTS).ravel()]
    return np.unique(np.concatenate([*needed, *(item.base_vertices() for item in items.values())]))


def _body_arrays(figure: Figure, used: NDArray[np.int64], renumbered: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    mesh, rig, skin = figure.mesh, figure.rig, figure.skin
    bone, share = strongest(rig.weight[used])
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
