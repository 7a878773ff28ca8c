"""Measuring models that animate on rendered clips of unseen people, beside holding the source's frame.

Every frame is generated from the frame that was generated before it, as in `gfla animate`. Beside the distance of
pictures it is measured whether the motion arrived: the landmarks that a detector finds in the result against those
that were asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from gfla_cli.config import ModelConfig
from gfla_cli.data.sample import ClipSample
from gfla_cli.data.unseen_clips import UnseenBodies, UnseenFaces
from gfla_cli.errors import BundleError
from gfla_cli.landmarks.detector import PersonDetector
from gfla_cli.landmarks.face_detector import FaceDetector
from gfla_cli.landmarks.face_points import face_size
from gfla_cli.losses.vgg import Vgg19
from gfla_cli.media.image import from_planes, to_planes
from gfla_cli.metrics.keypoints import correct_keypoints
from gfla_cli.metrics.measures import Measures
from gfla_cli.metrics.pictures import PictureDistances
from gfla_cli.metrics.scores import column_means, plain
from gfla_cli.pipelines.animate import Animator
from gfla_cli.runtime.session import DeviceName, Precision, Session, start_clip
from gfla_cli.structure.body import body_structure
from gfla_cli.structure.face import face_structure
from gfla_cli.structure.heatmap import heatmaps

Image = NDArray[np.uint8]

HELD, REAL = "the source, held", "the real frames"
_CLIPS = 20  # unless a limit is given
_FRAMES = 12  # of a clip


@dataclass(slots=True)
class ClipScore:
    """All frames of one model: figures by name; NaN where a figure does not exist."""

    name: str
    frames: list[dict[str, float]] = field(default_factory=list)

    def means(self) -> dict[str, float]:
        """Column -> mean over the frames that have it."""
        return column_means(self.frames)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"name": self.name, "frames": len(self.frames), **plain(self.means())}


def evaluate_clips(
    models: Sequence[str | Path],
    pack: Path,
    *,
    vgg: Vgg19 | None,
    device: DeviceName = "auto",
    precision: Precision = "auto",
    clips: int | None = None,
    frames: int = _FRAMES,
    cache: Path | None = None,
    measures: Measures | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[ClipScore]:
    """One score per model, after those of holding the source's frame and of the real frames.

    All models animate faces, or all bodies. `pack`: the folder that people are rendered from; `cache`: where rendered
    clips are kept. `measures` takes the place of `vgg` and may hold more. Figures: those of PictureDistances; of faces
    `landmarks`, the mean distance of found and wanted landmarks in face sizes, and `found`, the share of frames in
    which a face was found; of bodies `pck`. Raises BundleError when the models cannot be compared.
    """
    animators = [Animator(model, device=device, precision=precision) for model in models]
    sessions = [animator.session for animator in animators]
    if len({(animator.kind, animator.session.config.image_size) for animator in animators}) != 1:
        raise BundleError("only face models, or only body models, of one frame size can be compared in one table")
    total = clips or _CLIPS
    judge = _Judge(measures.distances() if measures else PictureDistances(vgg), faces=animators[0].kind == "face")
    scores = {name: ClipScore(name) for name in (HELD, REAL, *_labels(sessions))}
    with TemporaryDirectory() as folder:
        unseen = UnseenFaces if animators[0].kind == "face" else UnseenBodies
        size = sessions[0].config.image_size[0]
        data: Dataset[ClipSample] = unseen(pack, cache or Path(folder), size=size, frames=frames)
        for number in range(total):
            sample = data[number]
            made = {HELD: iter([sample.images[0]] * frames), REAL: iter(sample.images[1:])}
            made |= {name: generated(s, sample) for name, s in zip(_labels(sessions), sessions, strict=True)}
            for name, pictures in made.items():
                for picture, real, wanted in zip(pictures, sample.images[1:], sample.points[1:], strict=True):
                    scores[name].frames.append(judge(picture, real, wanted))
            progress(number + 1, total)
    return list(scores.values())


def generated(session: Session, sample: ClipSample) -> Iterator[Image]:
    """The frames of a clip, (H, W, 3) each, from its reference and its landmarks."""
    structures = (_structure(session.config, sample, row)[None] for row in range(len(sample.images)))
    clip = start_clip(session, to_planes(sample.images[0]), next(structures))
    for structure in structures:
        yield from_planes(clip.next(structure))


def _structure(config: ModelConfig, sample: ClipSample, row: int) -> NDArray[np.float32]:
    points, size = sample.points[row], (sample.images.shape[1], sample.images.shape[2])
    if config.task == "face":
        return face_structure(points[:, :2], size, sample.edges[row])
    draw = body_structure if config.task == "body" else heatmaps
    return draw(points, size, config.heatmap_sigma)


class _Judge:
    """All figures of one frame."""

    def __init__(self, distances: PictureDistances, *, faces: bool) -> None:
        self._distances = distances
        self._faces = FaceDetector() if faces else None
        self._people = None if faces else PersonDetector()

    def __call__(self, made: Image, real: Image, wanted: NDArray[np.float32]) -> dict[str, float]:
        made_planes, real_planes = (torch.from_numpy(to_planes(picture)) for picture in (made, real))
        figures = self._distances(made_planes, real_planes)
        return figures | (self._motion_of_face(made, wanted) if self._faces else self._pck(made, wanted))

    def _motion_of_face(self, made: Image, wanted: NDArray[np.float32]) -> dict[str, float]:
        assert self._faces is not None
        faces = self._faces.detect(made)
        if not faces:
            return {"landmarks": np.nan, "found": 0.0}
        apart = np.linalg.norm(faces[0].points[:, :2] - wanted[:, :2], axis=1).mean()
        return {"landmarks": float(apart) / face_size(wanted), "found": 1.0}

    def _pck(self, made: Image, wanted: NDArray[np.float32]) -> dict[str, float]:
        assert self._people is not None
        people = self._people.detect(made)
        hit, total = correct_keypoints(people[0].pose.points if people else None, wanted)
        return {"pck": hit / max(total, 1)}


def _labels(sessions: Sequence[Session]) -> list[str]:
    """The models' names; numbers tell those of one name apart."""
    names = [session.name for session in sessions]
    return [name if names.count(name) == 1 else f"{name} ({k + 1})" for k, name in enumerate(names)]
