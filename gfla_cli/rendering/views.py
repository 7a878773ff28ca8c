"""One picture of a person, with all that is known about it."""

from __future__ import annotations

from dataclasses import dataclass

from gfla_cli.arrays import ByteArray, Float32Array
from gfla_cli.rendering.annotations import body_keypoints, face_landmarks, keypoint_depths
from gfla_cli.rendering.camera import Camera
from gfla_cli.rendering.character import Character
from gfla_cli.rendering.light import Scene
from gfla_cli.rendering.pack import Pack
from gfla_cli.rendering.posing import Posed
from gfla_cli.rendering.render import Box, render

_CLOSE_UP = 6.0  # dm; a picture that shows less has its shadows computed for the head alone
_AROUND_HEAD = 3.2  # dm


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A picture of side s.

    surface[r, c] is the point of the character at rest, clothes included, seen in the middle of the 2 x 2 pixels from
    (2r, 2c) on: at x = 2c + 0.75, y = 2r + 0.75, pixel centres being at .5. NaN = background. Two views of one
    character show the same point of it where their surfaces hold the same value.
    """

    image: ByteArray  # (s,s,3) RGB
    mask: ByteArray  # (s,s) share of the pixel that the person covers, 0..255
    keypoints: Float32Array  # (18,3) x, y in pixels and 1 = seen, 0 = hidden; -1, -1, 0 outside the picture
    depths: Float32Array  # (18,) of the keypoints, pixels behind the middle of the hips; also of those outside
    landmarks: Float32Array  # (68,2) x, y in pixels, iBUG order
    surface: Float32Array  # (s/2,s/2,3) dm
    inverse_depth: Float32Array  # (s,s) 1 / dm from the camera; 0 = background; clothes count as a little closer


def photograph(pack: Pack, character: Character, posed: Posed, camera: Camera, scene: Scene) -> View:
    """The picture that a camera takes of a posed character."""
    picture = render(
        character.mesh,
        posed.vertices,
        posed.normals,
        character.rest,
        camera,
        scene,
        shadow_box=_shadow_box(pack, posed, camera),
    )
    return View(
        image=picture.image,
        mask=picture.mask,
        keypoints=body_keypoints(pack, posed, camera, picture.inverse_depth),
        depths=keypoint_depths(pack, posed, camera),
        landmarks=face_landmarks(pack, posed, camera),
        surface=picture.surface,
        inverse_depth=picture.inverse_depth,
    )


def _shadow_box(pack: Pack, posed: Posed, camera: Camera) -> Box | None:
    if camera.scale_px * _CLOSE_UP <= camera.size:
        return None
    head = posed.joints[pack.skeleton.index["head"]]
    return head - _AROUND_HEAD, head + _AROUND_HEAD
