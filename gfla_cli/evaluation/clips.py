"""Models that animate on rendered clips of unseen people, beside holding the source's frame.

Every frame is generated from the frame that was generated before it, as in `gfla animate`. A second kind of figure
tells whether the motion arrived: the landmarks that a detector finds in the result against those that were wanted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from gfla_cli.arrays import Image
from gfla_cli.conditioning.face_map import face_structure
from gfla_cli.conditioning.skeleton import body_structure
from gfla_cli.config import ModelConfig
from gfla_cli.datasets.rendered_clips import UnseenBodies, UnseenFaces
from gfla_cli.datasets.sample import ClipSample
from gfla_cli.evaluation.loop import Batch, TestSet, only_pairs
from gfla_cli.evaluation.measures import Measures
from gfla_cli.evaluation.metrics import PoseJudge
from gfla_cli.evaluation.protocols import OWN, Size
from gfla_cli.evaluation.scores import Score
from gfla_cli.inference.session import Session, start_clip
from gfla_cli.io.image import from_planes, to_planes, to_tensor, to_uint8
from gfla_cli.person.detect_face import FaceDetector
from gfla_cli.person.face import face_size

HELD, REAL = "the source, held", "the real frames"
_CLIPS = 20  # unless a limit is given
_FRAMES = 12  # of a clip


class RenderedClips(TestSet):
    """Models that animate faces, or bodies, and clips of people that no training sees."""

    protocol, layout = OWN, "square"
    size: Size

    def __init__(
        self,
        models: Mapping[str, Session],
        pack: Path,
        device: torch.device,
        *,
        clips: int | None = None,
        frames: int = _FRAMES,
        cache: Path | None = None,
    ) -> None:
        """`models` by name, all of one frame size, all for faces or all for bodies.

        `pack`: the folder that people are rendered from. `cache`: where rendered clips are kept. Figures beside the
        distances: of faces `landmarks`, the mean distance of found and wanted landmarks in face sizes, and `found`,
        the share of frames in which a face was found; of bodies `pck`.
        """
        self._models, self._pack, self._device = models, pack, device
        config = next(iter(models.values())).config
        self.size, self._faces = config.image_size, config.task == "face"
        self._clips, self._frames, self._cache = clips or _CLIPS, frames, cache
        self.total = self._clips * self._frames
        self._face_detector, self._judge = FaceDetector(), PoseJudge(rendered=False)  # loaded when they are used

    def prepare(self, measures: Measures) -> None:
        only_pairs(measures, bodies=not self._faces)

    def scores(self, *, with_real: bool) -> list[Score]:
        return [Score(name, unit="frames", parted_by=None) for name in (HELD, REAL, *self._models)]

    def batches(self) -> Iterator[Batch]:
        """A batch is a clip."""
        with TemporaryDirectory() as folder:
            unseen = UnseenFaces if self._faces else UnseenBodies
            cache = self._cache or Path(folder)
            data: Dataset[ClipSample] = unseen(self._pack, cache, size=self.size[0], frames=self._frames)
            for number in range(self._clips):
                sample = data[number]
                made = {HELD: [sample.images[0]] * self._frames, REAL: list(sample.images[1:])}
                made |= {name: list(_animated(model, sample)) for name, model in self._models.items()}
                tensors = {name: torch.cat([to_tensor(frame) for frame in frames]) for name, frames in made.items()}
                on_device = {name: frames.to(self._device) for name, frames in tensors.items()}
                numbers = [number] * self._frames
                yield Batch(numbers=numbers, made=on_device, real=on_device[REAL], joints=list(sample.points[1:]))

    def more(self, made: Tensor, batch: Batch, k: int) -> dict[str, float]:
        image, wanted = to_uint8(made), batch.joints[k]
        assert wanted is not None
        if not self._faces:
            return {"pck": self._judge.pck(image, wanted)}
        faces = self._face_detector.detect(image)
        if not faces:
            return {"landmarks": np.nan, "found": 0.0}
        apart = np.linalg.norm(faces[0].points[:, :2] - wanted[:, :2], axis=1).mean()
        return {"landmarks": float(apart) / face_size(wanted), "found": 1.0}

    def describe(self) -> tuple[dict[str, Any], str]:
        return {"name": self._pack.resolve().name, "what": "rendered clips of unseen people"}, ""


def _animated(model: Session, sample: ClipSample) -> Iterator[Image]:
    """The frames of a clip, (H, W, 3) each, from its reference and its landmarks."""
    structures = (_structure(model.config, sample, row)[None] for row in range(len(sample.images)))
    clip = start_clip(model, to_planes(sample.images[0]), next(structures))
    for structure in structures:
        yield from_planes(clip.next(structure))


def _structure(config: ModelConfig, sample: ClipSample, row: int) -> NDArray[np.float32]:
    points, size = sample.points[row], (sample.images.shape[1], sample.images.shape[2])
    if config.task == "face":
        return face_structure(points[:, :2], size, sample.edges[row])
    return body_structure(points, size, config.heatmap_sigma)
