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

from gfla_cli.arrays import Image
from gfla_cli.conditioning.face_map import face_structure
from gfla_cli.conditioning.heatmap import heatmaps
from gfla_cli.conditioning.skeleton import body_structure
from gfla_cli.config import ModelConfig
from gfla_cli.datasets.rendered_clips import UnseenBodies, UnseenFaces
from gfla_cli.datasets.sample import ClipSample
from gfla_cli.evaluation.keypoints import PoseJudge
from gfla_cli.evaluation.measures import Measures
from gfla_cli.evaluation.metrics import PictureDistances
from gfla_cli.evaluation.models import open_compared
from gfla_cli.evaluation.scores import column_means, plain
from gfla_cli.inference.device import Placement
from gfla_cli.inference.session import Session, model_config, start_clip
from gfla_cli.io.image import from_planes, to_planes, to_tensor
from gfla_cli.losses.vgg import Vgg19
from gfla_cli.person.detect_face import FaceDetector
from gfla_cli.person.face import face_size

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
    placement: Placement,
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
    faces = any(model_config(model).task == "face" for model in models)
    named = open_compared(models, placement, "face") if faces else open_compared(models, placement, "body", "pose")
    total = clips or _CLIPS
    judge = _Judge(measures.distances() if measures else PictureDistances(vgg), placement.device, faces=faces)
    scores = {name: ClipScore(name) for name in (HELD, REAL, *named)}
    with TemporaryDirectory() as folder:
        unseen = UnseenFaces if faces else UnseenBodies
        size = next(iter(named.values())).config.image_size[0]
        data: Dataset[ClipSample] = unseen(pack, cache or Path(folder), size=size, frames=frames)
        for number in range(total):
            sample = data[number]
            made = {HELD: iter([sample.images[0]] * frames), REAL: iter(sample.images[1:])}
            made |= {name: _generated(session, sample) for name, session in named.items()}
            for name, pictures in made.items():
                for picture, real, wanted in zip(pictures, sample.images[1:], sample.points[1:], strict=True):
                    scores[name].frames.append(judge(picture, real, wanted))
            progress(number + 1, total)
    return list(scores.values())


def _generated(session: Session, sample: ClipSample) -> Iterator[Image]:
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

    def __init__(self, distances: PictureDistances, device: torch.device, *, faces: bool) -> None:
        """`device`: where the networks of the distances are."""
        self._distances, self._device = distances, device
        self._motion = self._motion_of_face if faces else self._motion_of_body
        self._faces, self._bodies = FaceDetector(), PoseJudge(rendered=False)  # loaded when they are used

    def __call__(self, made: Image, real: Image, wanted: NDArray[np.float32]) -> dict[str, float]:
        pictures = (to_tensor(picture).to(self._device) for picture in (made, real))
        return self._distances(*pictures) | self._motion(made, wanted)

    def _motion_of_face(self, made: Image, wanted: NDArray[np.float32]) -> dict[str, float]:
        faces = self._faces.detect(made)
        if not faces:
            return {"landmarks": np.nan, "found": 0.0}
        apart = np.linalg.norm(faces[0].points[:, :2] - wanted[:, :2], axis=1).mean()
        return {"landmarks": float(apart) / face_size(wanted), "found": 1.0}

    def _motion_of_body(self, made: Image, wanted: NDArray[np.float32]) -> dict[str, float]:
        return {"pck": self._bodies.pck(made, wanted)}
