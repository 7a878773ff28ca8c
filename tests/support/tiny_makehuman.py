"""Minimal MakeHuman assets: every file that a pack is built from, in its real format."""

from __future__ import annotations

import json

import cv2
import numpy as np

from gfla_cli.synth.makehuman.figure import LANDMARKS
from gfla_cli.synth.makehuman.files import BASE_MESH, SKELETON, TARGET_FOLDERS, WEIGHTS, required_files

BASE_VERTICES = 19158  # as many as in MakeHuman's base mesh, nearly all of them in one place
CUBE = [(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
CUBE_FACES = ["1 2 4 3", "5 7 8 6", "1 5 6 2", "3 4 8 7", "1 3 7 5", "2 6 8 4"]
PARENTS = {  # of the bones that the renderer bends, in MakeHuman's own order where it matters
    **{"root": None, "spine05": "root", "spine04": "spine05", "spine03": "spine04", "spine02": "spine03"},
    **{"spine01": "spine02", "neck01": "spine01", "neck02": "neck01", "neck03": "neck02", "head": "neck03"},
    **{"jaw": "head"},
    **{f"eye.{side}": "head" for side in "LR"},
    **{f"pelvis.{side}": "root" for side in "LR"},  # not kept
    **{f"upperleg01.{side}": f"pelvis.{side}" for side in "LR"},
    **{f"lowerleg01.{side}": f"upperleg01.{side}" for side in "LR"},
    **{f"foot.{side}": f"lowerleg01.{side}" for side in "LR"},
    **{f"toe2-1.{side}": f"foot.{side}" for side in "LR"},  # not kept
    **{f"clavicle.{side}": "spine01" for side in "LR"},
    **{f"shoulder01.{side}": f"clavicle.{side}" for side in "LR"},
    **{f"upperarm01.{side}": f"shoulder01.{side}" for side in "LR"},
    **{f"lowerarm01.{side}": f"upperarm01.{side}" for side in "LR"},
    **{f"wrist.{side}": f"lowerarm01.{side}" for side in "LR"},
    **{
        f"finger{f}-{k}.{side}": f"finger{f}-{k - 1}.{side}" if k > 1 else f"wrist.{side}"
        for side in "LR"
        for f in range(1, 6)
        for k in (1, 2, 3)
    },
}
JOINTS = {  # of the left side or the middle, dm
    **{"root": (0, 0, 0), "spine05": (0, 0.5, 0), "spine04": (0, 1.2, 0), "spine03": (0, 2, 0), "spine02": (0, 3, 0)},
    **{"spine01": (0, 4, 0), "neck01": (0, 5.2, 0), "neck02": (0, 5.5, 0), "neck03": (0, 5.8, 0), "head": (0, 6, 0.1)},
    **{"jaw": (0, 6.3, 0.3), "eye": (0.3, 7, 0.8), "pelvis": (0.5, -0.1, 0), "upperleg01": (1, -0.3, 0)},
    **{"lowerleg01": (1.1, -4, 0), "foot": (1.2, -7.8, -0.2), "toe2-1": (1.3, -8.2, 0.9), "clavicle": (0.2, 4.8, 0.2)},
    **{"shoulder01": (1, 4.9, 0), "upperarm01": (1.6, 4.8, 0), "lowerarm01": (3.6, 3, 0), "wrist": (5, 1.4, 0.4)},
    **{f"finger{f}-{k}": (5 + 0.3 * k, 1.2 - 0.3 * k, 0.3 + 0.1 * f) for f in range(1, 6) for k in (1, 2, 3)},
}
FIRST_CUBE, FIRST_JOINT = 14000, 15000  # behind all landmarks
CUBES = {"body": (2, 2, 1), "helper-tights": (2.1, 2.1, 1.1), "helper-skirt": (2.5, 3, 2), "helper-upper-teeth": 0.1}


def joint_of(bone):
    stem, _, side = bone.partition(".")
    return np.array(JOINTS[stem]) * ([-1, 1, 1] if side == "R" else 1)


def write_text(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("# Ren\u00e9\n" + "\n".join(lines) + "\n", "latin-1")


def write_mesh(path, vertices, faces):
    """faces: group -> polygons as in the file, or a list of them."""
    groups = faces if isinstance(faces, dict) else {"": faces}
    lines = [f"v {x} {y} {z}" for x, y, z in vertices] + ["vt 0 0", "vt 1 0", "vt 0 1", "vt 1 1"]
    for group, polygons in groups.items():
        lines += [f"g {group}"] * bool(group)
        lines += ["f " + " ".join(f"{v}/{k + 1}" for k, v in enumerate(polygon.split())) for polygon in polygons]
    write_text(path, lines)


def write_base(data):
    vertices = np.zeros((BASE_VERTICES, 3))
    polygons = {}
    for k, (group, size) in enumerate(CUBES.items()):
        first = FIRST_CUBE + 8 * k
        vertices[first : first + 8] = np.array(CUBE) * size
        polygons[group] = [" ".join(str(int(v) + first) for v in face.split()) for face in CUBE_FACES]
    polygons["body"].append(" ".join(str(v + 1) for v in LANDMARKS[:3]))
    vertices[FIRST_JOINT : FIRST_JOINT + len(PARENTS)] = [joint_of(bone) for bone in PARENTS]
    write_mesh(data / BASE_MESH, vertices, polygons)


def write_rig(data):
    joints = {f"{bone}____head": [FIRST_JOINT + k] for k, bone in enumerate(PARENTS)}
    bones = {bone: {"parent": parent, "head": f"{bone}____head"} for bone, parent in PARENTS.items()}
    (data / "rigs").mkdir()
    (data / SKELETON).write_text(json.dumps({"bones": bones, "joints": joints}))
    weights = {bone: [[FIRST_JOINT + k, 1]] for k, bone in enumerate(PARENTS)}
    weights["pelvis.L"].append([FIRST_CUBE, 0.5])
    weights["jaw"].append([FIRST_CUBE, 1.5])
    (data / WEIGHTS).write_text(json.dumps({"weights": weights}))


def write_clothing(path, parts=2):
    """Cubes, each larger than the next, on the vertices of the body; the first one is a simple fit."""
    vertices = [(x * (2 - k), y * 2 + 5 * k, z) for k in range(parts) for x, y, z in CUBE]
    faces = [" ".join(str(int(v) + 8 * k) for v in face.split()) for k in range(parts) for face in CUBE_FACES]
    write_mesh(path.with_suffix(".obj"), vertices, faces[: len(faces) - (parts > 1)])
    lines = [f"obj_file {path.stem}.obj", f"x_scale {FIRST_CUBE} {FIRST_CUBE + 4} 2.0", "verts 0"]
    lines += [str(FIRST_CUBE + k) for k in range(8)]
    lines += [f" {FIRST_CUBE + k} {FIRST_CUBE} {FIRST_CUBE} 0.5 0.5 0 1 -4 {0.01 * k}" for k in range(8 * (parts - 1))]
    lines += ["weights jaw", f"{FIRST_CUBE} 0.5", "delete_verts", f"{FIRST_CUBE} - {FIRST_CUBE + 3} {FIRST_CUBE + 7}"]
    write_text(path, lines)


def write_bvh(path, bend):
    lines = ["HIERARCHY", "ROOT root", "{", "OFFSET 0 0 0", "CHANNELS 4 Xposition Xrotation Zrotation Yrotation"]
    lines += ["JOINT pelvis.L", "{", "CHANNELS 3 Xrotation Zrotation Yrotation", "JOINT upperleg01.L", "{"]
    lines += ["CHANNELS 3 Xrotation Zrotation Yrotation", "End Site", "{", "OFFSET 0 0 1", "}", "}", "}", "}"]
    values = [7, 0, 0, 0, bend, 0, 0, bend, 0, 0]
    lines += ["MOTION", "Frames: 1", "Frame Time: 0.04", " ".join(map(str, values))]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))


def write_checkouts(folder):
    """makehuman and makehuman-assets, side by side."""
    data, assets = folder / "makehuman/makehuman/data", folder / "makehuman-assets/base"
    write_base(data)
    write_rig(data)
    for name in required_files():
        path = (data if name.startswith("eyes/") else assets) / name
        if name.endswith(".mhclo"):
            write_clothing(path, parts=2 if "suit" in name else 1)
        elif name.endswith(".bvh"):
            write_bvh(path, 30)
        elif name.endswith(".png"):
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.full((32, 32, 3 if "skins" in name else 4), 90, np.uint8))
    for target in TARGET_FOLDERS:
        write_text(data / f"targets/{target}/nothing.target", [])
    for ethnicity in ("african", "asian", "caucasian"):
        write_text(data / f"targets/expression/units/{ethnicity}/mouth-open.target", [f"{FIRST_CUBE + 1} .1 0 0"])
    for side, vertex in (("l", 1), ("r", 5)):
        write_text(data / f"targets/nose/{side}-nose-wide.target", [f"{FIRST_CUBE + vertex} .5 -.25 1e-5"])
