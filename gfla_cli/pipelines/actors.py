"""Who is animated: somebody in a picture, their frame, and the structure maps and pictures of each moment."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Image
from gfla_cli.errors import DetectionError
from gfla_cli.landmarks.body_motion import BodyMotion, SteadyBody
from gfla_cli.landmarks.body_size import torso_length
from gfla_cli.landmarks.detector import PersonDetector
from gfla_cli.landmarks.face_detector import FaceDetector, no_face
from gfla_cli.landmarks.face_framing import face_frame, in_frame
from gfla_cli.landmarks.face_motion import FaceMotion, best_reference
from gfla_cli.landmarks.face_points import face_size
from gfla_cli.landmarks.framing import Frame, person_frame, whole_picture
from gfla_cli.landmarks.pose import Pose, choose_person
from gfla_cli.landmarks.smoothing import OneEuro
from gfla_cli.landmarks.tracks import Kind
from gfla_cli.media.image import from_planes, to_planes
from gfla_cli.pipelines.near_head import NearHead, SourceHead
from gfla_cli.pipelines.staging import Staging
from gfla_cli.runtime.session import Session, start_clip
from gfla_cli.structure.body import body_structure
from gfla_cli.structure.face import background_edges, face_structure
from gfla_cli.structure.heatmap import heatmaps
from gfla_cli.structure.joint_depth import joint_maps

Points = NDArray[np.float32]

_SMALL_FACE = 60.0  # pixels across; below it there is little to animate
_FEW_JOINTS = 8  # of 18; below this a pose says too little about a body


class Moment(NamedTuple):
    """What the network is to draw of one frame."""

    structure: NDArray[np.float32]  # (1, S, H, W)
    head: NearHead | None = None  # to be drawn once more from near


class Actor(Protocol):
    """Somebody in a picture, ready to be moved. `start` comes first, then `moment` and `picture` frame by frame."""

    kind: Kind
    frame: Frame  # which part of the picture the network draws
    source_image: Image  # (H, W, 3) that part, as the network sees it

    def start(self, driving: Sequence[Points], size: tuple[int, int], fps: Fraction) -> None:
        """Gets to know the driver: landmarks of the first seconds, in pictures of `size` (height, width)."""

    def moment(self, points: Points, missing: int) -> Moment:
        """What the driver's next landmarks ask for; `missing`: frames left out before it."""

    def picture(self, moment: Moment) -> Image:
        """The next frame, (H, W, 3)."""


class FaceActor:
    """A face, moved by the landmarks of another."""

    kind: Kind = "face"

    def __init__(self, session: Session, picture: Image, where: str, staging: Staging, notes: list[str]) -> None:
        """Raises DetectionError when the picture has no face."""
        with FaceDetector() as detector:
            faces = detector.detect(picture)
        if not faces:
            raise no_face(where)
        self.points = choose_person(faces, staging.person, where=where, notes=notes).points
        if face_size(self.points) < _SMALL_FACE:
            notes.append(f"{where}: the face is {face_size(self.points):.0f} px wide; expect a blurred one")
        self._session, self._picture, self._staging = session, picture, staging

    def start(self, driving: Sequence[Points], size: tuple[int, int], fps: Fraction) -> None:
        """See Actor. The frame holds the face in all of these moments."""
        reference = driving[best_reference(self.points, driving)]
        self._motion = FaceMotion(self.points, reference, absolute=self._staging.absolute)
        self._steady = OneEuro(fps) if self._staging.smooth else None
        self.frame = self._framed([self._motion(points) for points in driving])
        self.source_image = self.frame.crop(self._picture)
        points = in_frame(self.frame, self.points[:, :2])
        self._edges = background_edges(self.source_image, points)
        self._clip = start_clip(self._session, to_planes(self.source_image), self._maps(points))

    def _framed(self, moments: Sequence[Points]) -> Frame:
        frame_size = self._session.config.image_size
        height, width = self._picture.shape[:2]
        if not self._staging.crop:
            return whole_picture(height, width, frame_size)
        faces = np.stack([self.points[:, :2], *moments])
        return face_frame(faces, frame_size, inside=(height, width))

    def _maps(self, points: Points) -> NDArray[np.float32]:
        return face_structure(points, self.frame.size, self._edges)[None]

    def moment(self, points: Points, missing: int) -> Moment:
        """See Actor."""
        calmed = points if self._steady is None else self._steady(points, face_size(points), missing)
        return Moment(self._maps(in_frame(self.frame, self._motion(calmed))))

    def picture(self, moment: Moment) -> Image:
        """See Actor."""
        return from_planes(self._clip.next(moment.structure))


class BodyActor:
    """A person, moved by the joints of another: by a sequence model, or frame by frame by a pose model."""

    kind: Kind = "body"

    def __init__(self, session: Session, picture: Image, where: str, staging: Staging, notes: list[str]) -> None:
        """Raises DetectionError when the picture shows nobody, or too little of them."""
        with PersonDetector() as detector:
            people = detector.detect(picture)
        self.pose = choose_person([one.pose for one in people], staging.person, where=where, notes=notes)
        joints = int(self.pose.present.sum())
        if joints < _FEW_JOINTS:
            what = f"{where}: only {joints} of 18 joints of the person are visible"
            raise DetectionError(what, hint="use a picture with the whole body, or --task face")
        self._session, self._picture, self._staging = session, picture, staging

    def start(self, driving: Sequence[Points], size: tuple[int, int], fps: Fraction) -> None:
        """See Actor. The frame holds the body in all of these moments."""
        poses = [Pose.of(points, size) for points in driving]
        self._motion = BodyMotion(self.pose, poses, absolute=self._staging.absolute)
        self._steady = SteadyBody(fps, smooth=self._staging.smooth)
        self._driver_size = size
        config = self._session.config
        if self._staging.crop:
            self.frame = person_frame([self.pose, *map(self._motion, poses)], config.image_size, config.frame_aspect)
        else:
            height, width = self._picture.shape[:2]
            self.frame = whole_picture(height, width, config.image_size)
        self.source_image = self.frame.crop(self._picture)
        self._clip = start_clip(self._session, to_planes(self.source_image), self._maps(self.pose))
        self._head = None
        if self._staging.near_head and config.near_heads:
            self._head = SourceHead.of(self._picture, self.pose, config.image_size)
        if self._head is not None:  # of one size in all frames, whatever way its body is seen
            self._torso = float(np.median([torso_length(self._motion(pose)) for pose in poses]))
            self._head_clip = start_clip(self._session, to_planes(self._head.image), self._drawn(self._head.points))

    def _maps(self, pose: Pose) -> NDArray[np.float32]:
        return self._drawn(self.frame.pose(pose).deep_points)

    def _drawn(self, points: Points) -> NDArray[np.float32]:
        config = self._session.config
        draw = body_structure if config.task == "body" else joint_maps if config.has_depth else heatmaps
        return draw(points, self.frame.size, config.heatmap_sigma)[None]

    def moment(self, points: Points, missing: int) -> Moment:
        """See Actor."""
        pose = self._motion(self._steady(Pose.of(points, self._driver_size), missing))
        head = self._head.at(pose, self.frame, self._torso) if self._head else None
        return Moment(self._maps(pose), head)

    def picture(self, moment: Moment) -> Image:
        """See Actor."""
        image, head = from_planes(self._clip.next(moment.structure)), moment.head
        if head is None:
            return image
        return head.put_into(image, from_planes(self._head_clip.next(self._drawn(head.target_points))))
