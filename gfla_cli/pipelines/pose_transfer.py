"""Pose transfer: find both people, bring them to the network's frame, render, give the picture back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Image
from gfla_cli.conditioning.heatmap import heatmaps, joint_maps
from gfla_cli.errors import DetectionError, UsageError
from gfla_cli.inference.inside import Inside
from gfla_cli.inference.session import DeviceName, Precision, Runtime, open_session
from gfla_cli.io.image import Picture, from_planes, given_picture, picture_name, to_planes
from gfla_cli.person.body import has_feet
from gfla_cli.person.detect import PersonDetector
from gfla_cli.person.framing import Frame, aligned, person_frame, whole_picture
from gfla_cli.person.keypoint_files import is_pose_file, read_pose
from gfla_cli.person.pose import Pose, choose_person
from gfla_cli.pipelines.head import NearHead, head_from_near

Person = str | int  # "largest", "left", "right", or a number from the left

_LARGEST_SIDE = 4096  # pixels; the network's frame is 256, more only costs memory
_REMEMBERED = 4096  # pictures whose people are kept; a pose is 216 bytes
_FEW_JOINTS = 8  # below this a pose says too little about a body


@dataclass(frozen=True, slots=True)
class TransferResult:
    """A generated picture, what it was made from, and what the user should know about it."""

    image: Image  # (H, W, 3) RGB, the network's frame
    source_image: Image  # (H, W, 3) the source as the network saw it
    source_pose: NDArray[np.float32]  # (18, 3) x, y, confidence in pixels of the frame; missing = -1, -1, 0
    target_pose: NDArray[np.float32]  # (18, 3)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the network needs for one picture."""

    source_image: Image  # (H, W, 3) the network's frame
    source_points: NDArray[np.float32]  # (18, 4) x, y, confidence, depth (NaN = not known) in pixels of the frame
    target_points: NDArray[np.float32]
    notes: list[str]
    head: NearHead | None = None  # to be drawn once more from near


class PoseTransfer:
    """A loaded model that redraws people in other poses; keep it for many pictures."""

    def __init__(
        self,
        model: str | Path = "pose-people",
        *,
        device: DeviceName = "auto",
        precision: Precision = "auto",
        runtime: Runtime = "auto",
        threads: int | None = None,
    ) -> None:
        self.session = open_session(model, "pose", device=device, precision=precision, runtime=runtime, threads=threads)
        self._detector: PersonDetector | None = None
        self._found: dict[str, list[Pose]] = {}  # file -> everybody in it

    def transfer(
        self,
        source: Picture,
        target: Picture | Pose,
        crop: bool = True,
        align: bool = True,
        person: Person = "largest",
        target_person: Person = "largest",
        near_head: bool = True,
    ) -> TransferResult:
        """The person of `source` in the pose of `target`.

        `source` is a picture file or an (H, W, 3) uint8 RGB array; `target` the same, a keypoint file, or a Pose.
        With `crop` the part of the source around its person is the frame, else the whole picture, stretched.
        With `align` the target pose takes the size and place of the source's body. With `near_head` a model that has
        learnt to draws a small head once more from near, which takes twice the time. Raises GflaError children for
        whatever is wrong with the input.
        """
        return self.finish(self.prepare(source, target, crop, align, person, target_person, near_head))

    def prepare(
        self,
        source: Picture,
        target: Picture | Pose,
        crop: bool = True,
        align: bool = True,
        person: Person = "largest",
        target_person: Person = "largest",
        near_head: bool = True,
    ) -> Prepared:
        """Everything before the network, with the arguments of `transfer`."""
        notes: list[str] = []
        picture = given_picture(source, _LARGEST_SIDE)
        source_pose = self._person(picture, source, person, notes)
        target_pose = self._target(target, target_person, notes)
        if align:
            target_pose = aligned(target_pose, source_pose)
        frame, target_frame = self._frames(picture, source_pose, target_pose, crop=crop, align=align)
        in_frame = frame.pose(source_pose), target_frame.pose(target_pose)
        _judge(in_frame, notes)
        wanted = near_head and self.session.config.near_heads
        head = head_from_near(picture, source_pose, target_pose, target_frame) if wanted else None
        return Prepared(frame.crop(picture), in_frame[0].deep_points, in_frame[1].deep_points, notes, head)

    def finish(self, ready: Prepared) -> TransferResult:
        """Everything after `prepare`."""
        (image,) = self.render_all([ready])
        return _result(ready, image)

    def render_all(self, ready: Sequence[Prepared]) -> list[Image]:
        """The network alone, on several prepared frames at once, and once more on their heads."""
        return self._with_heads(ready, self._drawn(ready))

    def _drawn(self, ready: Sequence[Prepared | NearHead]) -> list[Image]:
        return [from_planes(picture[None]) for picture in self.session.image(*self._inputs(ready))]

    def _with_heads(self, ready: Sequence[Prepared], images: list[Image]) -> list[Image]:
        near = {k: one.head for k, one in enumerate(ready) if one.head is not None}
        drawn = self._drawn(list(near.values())) if near else []
        heads = dict(zip(near, drawn, strict=True))
        return [near[k].put_into(image, heads[k]) if k in near else image for k, image in enumerate(images)]

    def finish_and_show(self, ready: Prepared) -> tuple[TransferResult, Inside]:
        """The same, and what happens inside the network; UsageError when the model cannot tell."""
        from gfla_cli.inference.torch_backend import TorchSession

        if not isinstance(self.session, TorchSession):
            raise UsageError("an exported model shows no flows", hint="give the bundle that it was made from")
        config = self.session.config
        if not config.has_flow:
            raise UsageError(
                f"{self.session.name} has the sampler {config.sampler!r}, which has no flow to show",
                hint="models with the sampler local or bilinear have",
            )
        picture, inside = self.session.image_and_inside(*self._inputs([ready]))
        (image,) = self._with_heads([ready], [from_planes(picture)])
        return _result(ready, image), inside

    def _inputs(self, ready: Sequence[Prepared | NearHead]) -> list[NDArray[np.float32]]:
        """The network's three inputs for frames of one size."""
        height, width = ready[0].source_image.shape[:2]
        sigma = self.session.config.heatmap_sigma * height / self.session.config.image_size[0]
        maps = joint_maps if self.session.config.has_depth else heatmaps
        structures = [
            np.stack([maps(points, (height, width), sigma) for points in chosen])
            for chosen in ([r.source_points for r in ready], [r.target_points for r in ready])
        ]
        return [np.concatenate([to_planes(r.source_image) for r in ready]), *structures]

    def _person(self, picture: Image, source: Picture, which: Person, notes: list[str]) -> Pose:
        """The chosen person of a picture; those of files are remembered, for a folder names each many times."""
        name = picture_name(source)
        people = self._found.get(name) if not isinstance(source, np.ndarray) else None
        if people is None:
            if self._detector is None:
                self._detector = PersonDetector()
            people = [person.pose for person in self._detector.detect(picture)]
            if not isinstance(source, np.ndarray):
                self._found[name] = people
                while len(self._found) > _REMEMBERED:
                    self._found.pop(next(iter(self._found)))
        return choose_person(people, which, where=name, notes=notes)

    def _target(self, target: Picture | Pose, which: Person, notes: list[str]) -> Pose:
        if isinstance(target, Pose):
            return target
        if not isinstance(target, np.ndarray) and is_pose_file(target):
            return read_pose(target, person=which, notes=notes)
        if not isinstance(target, np.ndarray) and str(target) in self._found:
            return choose_person(self._found[str(target)], which, where=str(target), notes=notes)
        return self._person(given_picture(target, _LARGEST_SIDE), target, which, notes)

    def _frames(self, picture: Image, source: Pose, target: Pose, *, crop: bool, align: bool) -> tuple[Frame, Frame]:
        """The frame of the source, and the one in which the target pose is read: the same once it was aligned."""
        size, aspect = self.session.config.image_size, self.session.config.frame_aspect
        if not crop:
            height, width = picture.shape[:2]
            frame = whole_picture(height, width, size)
            return frame, frame if align else whole_picture(target.size[0], target.size[1], size)
        if align:
            frame = person_frame([source, target], size, aspect)
            return frame, frame
        return person_frame([source], size, aspect), person_frame([target], size, aspect)


def _result(ready: Prepared, image: Image) -> TransferResult:
    points = ready.source_points[:, :3], ready.target_points[:, :3]
    return TransferResult(image, ready.source_image, *points, ready.notes)


def _judge(poses: tuple[Pose, Pose], notes: list[str]) -> None:
    """Refuses what no network could draw, and warns of what this one was not trained for."""
    for pose, whose in zip(poses, ("source", "target"), strict=True):
        joints = int(pose.present.sum())
        if joints < 3:
            raise DetectionError(
                f"only {joints} joints of the {whose} lie in the frame", hint="try --no-align or --no-crop"
            )
        if joints < _FEW_JOINTS:
            notes.append(f"only {joints} of 18 joints of the {whose} are visible; expect a poor picture")
        elif not has_feet(pose):
            notes.append(f"the {whose} shows no feet, so the result ends where that body is cut")
