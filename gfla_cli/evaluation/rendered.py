"""Test sets of rendered images: views of objects, and clips of people.

View models are measured by how far the object is turned, beside copying the source (paper, Fig. 7); on the paper's
ShapeNet list instead of rendered chairs, if it is given. Models that animate are measured beside holding the source's
frame. Every frame is generated from the frame before it, as in `gfla animate`. A second kind of figure says whether the
motion arrived: the landmarks that a detector finds in the result against those that were wanted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from gfla_cli.arrays import Image
from gfla_cli.conditioning.structure import structure_of
from gfla_cli.conditioning.view_code import AZIMUTH_STEP, AZIMUTHS, ELEVATIONS, ViewAngles, azimuth_difference
from gfla_cli.datasets.chairs import UnseenObjects
from gfla_cli.datasets.rendered_clips import UnseenBodies, UnseenFaces
from gfla_cli.datasets.sample import ClipSample, ViewPair
from gfla_cli.datasets.shapenet import ShapeNetPairs, find_file
from gfla_cli.evaluation.loop import COPY, Batch, TestSet
from gfla_cli.evaluation.metrics import Measures, PoseJudge, hole_share
from gfla_cli.evaluation.protocols import OWN, Size
from gfla_cli.evaluation.scores import MASKED, Score
from gfla_cli.inference.session import Session, ViewSession, start_clip
from gfla_cli.io.image import from_planes, to_planes, to_tensor, to_uint8
from gfla_cli.person.detect_face import FaceDetector
from gfla_cli.person.face import POINTS, face_size
from gfla_cli.pipelines.view_synthesis import EncodedObject
from gfla_cli.training.tasks.view import ViewBatch, view_batch

_PAIRS = 900  # unless a limit is given: 100 chairs, or as many draws from a list
_BATCH = 6
_TARGET = "target"
_CHAIRS = "rendered chairs that no training sees"
_OBJECTS, _LISTED = "rendered objects of a folder", "pairs of the paper's list"
HELD, REAL_FRAMES = "the source, held", "the real frames"
_CLIPS = 20  # unless a limit is given
_FRAMES = 12  # of a clip


class _Rendered(TestSet):
    """What the two sets share: network output as it is, without masks and without sets for FID."""

    protocol, layout = OWN, "square"
    size: Size
    bodies = False  # whether whole people are drawn

    def prepare(self, measures: Measures) -> None:
        for metric in ("fid", *MASKED):
            measures.without(metric, "measured only for pose models and for folders")
        if not self.bodies:
            measures.without("pck", "measured only for models that draw whole people, and for folders")


class ViewPairs(_Rendered):
    """View models and pairs of views: of the paper's test list, of rendered chairs, or of a folder of objects."""

    def __init__(
        self, models: Mapping[str, ViewSession], root: Path | None, device: torch.device, limit: int | None = None
    ) -> None:
        """`models` by name, all of one frame size.

        `root`: the data of the paper's list, or a folder of .glb files that no training saw. Without it, chairs are
        rendered.
        Raises DataError when `root` cannot be used.
        """
        self._models, self._root, self._device = models, root, device
        self.size = next(iter(models.values())).config.image_size
        self.total = limit or _PAIRS
        self._data: Dataset[ViewPair]
        if root is None or any(root.glob("*.glb")):
            self._what = _CHAIRS if root is None else _OBJECTS
            self._data = UnseenObjects(self.size[0], folder=root)
        else:
            self._what, self._data = _LISTED, ShapeNetPairs(find_file(root), "test", self.size)

    def scores(self, *, with_real: bool) -> list[Score]:
        return [Score(name, parted_by="difference") for name in (COPY, *self._models)]

    def batches(self) -> Iterator[Batch]:
        for first in range(0, self.total, _BATCH):
            yield self._generated(range(first, min(first + _BATCH, self.total)))

    def more(self, made: Tensor, batch: Batch, k: int) -> dict[str, float]:
        if batch.real is None or not batch.silhouettes:
            return {}
        images = to_uint8(made), to_uint8(batch.real[k : k + 1])
        return {"holes": hole_share(*images, batch.silhouettes[k])}

    def describe(self) -> tuple[dict[str, Any], str]:
        return {"name": self._root.resolve().name if self._root else self._what, "what": self._what}, ""

    def sheet(self, count: int) -> list[dict[str, Image]]:
        # Neighbouring pairs share an object, and every ninth turns by the same angle; a sheet should show many of both.
        numbers = {(i * self.total // count + i) % self.total for i in range(min(count, self.total))}
        rows = []
        for number in sorted(numbers):
            batch = self._generated([number])
            assert batch.real is not None
            rows.append({name: to_uint8(image) for name, image in {**batch.made, _TARGET: batch.real}.items()})
        return rows

    def _generated(self, numbers: Sequence[int]) -> Batch:
        pairs = [self._data[number] for number in numbers]
        views = view_batch(default_collate(pairs), self._device)
        return Batch(
            numbers=numbers,
            made={COPY: views.source_image} | {name: _turned(model, views) for name, model in self._models.items()},
            real=views.target_image,
            silhouettes=[] if self._what == _LISTED else [pair.target_mask for pair in pairs],
            parts=[
                str(round(azimuth_difference(source.azimuth, target.azimuth)))
                for source, target in zip(_angles(views.source_code), _angles(views.target_code), strict=True)
            ],
            views={name: _guesses(model, views) for name, model in self._models.items() if model.estimates_views},
        )


def _turned(model: ViewSession, batch: ViewBatch) -> Tensor:
    """The target views (B, 3, H, W) as `gfla view-synthesis` makes them."""
    images, made = batch.source_image.cpu().numpy(), []
    sources, targets = (_angles(code) for code in (batch.source_code, batch.target_code))
    for k, (source, target) in enumerate(zip(sources, targets, strict=True)):
        read = EncodedObject(model, images[k : k + 1], source)
        made.append(torch.from_numpy(read.planes(target)))
    return torch.cat(made).clamp(-1, 1)


def _angles(code: Tensor) -> list[ViewAngles]:
    """The angles of view codes (B, 21, 1, 1) of trained views, or those with the highest scores (B, 21)."""
    count = len(AZIMUTHS)
    numbers = zip(code[:, :count].argmax(dim=1).flatten(), code[:, count:].argmax(dim=1).flatten(), strict=True)
    return [ViewAngles(float(AZIMUTHS[int(a)]), float(ELEVATIONS[int(e)])) for a, e in numbers]


def _guesses(model: ViewSession, batch: ViewBatch) -> list[dict[str, float]]:
    """Whether the model sees the view of every target: the azimuth, one at most a step away, the elevation."""
    guesses = _angles(torch.from_numpy(model.view_scores(batch.target_image.cpu().numpy())))
    rows = []
    for guess, true in zip(guesses, _angles(batch.target_code), strict=True):
        error = azimuth_difference(guess.azimuth, true.azimuth)
        same = guess.elevation == true.elevation
        rows.append({"azimuth": float(error == 0), "neighbour": float(error <= AZIMUTH_STEP), "elevation": float(same)})
    return rows


class UnseenClips(_Rendered):
    """Models that animate faces, or bodies, and clips of people that no training sees."""

    def __init__(self, models: Mapping[str, Session], pack: Path, *, clips: int | None = None) -> None:
        """`models` by name, all of one frame size, all for faces or all for bodies.

        `pack`: the folder that people are rendered from. Figures beside the distances: of faces `landmarks`, the mean
        distance of found and wanted landmarks in face sizes, and `found`, the share of frames in which a face was
        found; of bodies `pck`.
        """
        self._models, self._pack = models, pack
        config = next(iter(models.values())).config
        self.size, self.bodies = config.image_size, config.task != "face"
        self._clips = clips or _CLIPS
        self.total = self._clips * _FRAMES
        self._face_detector, self.judge = FaceDetector(), PoseJudge(rendered=False)  # loaded when they are used

    def scores(self, *, with_real: bool) -> list[Score]:
        return [Score(name, unit="frames", parted_by=None) for name in (HELD, REAL_FRAMES, *self._models)]

    def batches(self) -> Iterator[Batch]:
        """A batch is a clip."""
        with TemporaryDirectory() as folder:
            unseen = UnseenBodies if self.bodies else UnseenFaces
            data: Dataset[ClipSample] = unseen(self._pack, Path(folder), size=self.size[0], frames=_FRAMES)
            for number in range(self._clips):
                sample = data[number]
                made = {HELD: [sample.images[0]] * _FRAMES, REAL_FRAMES: list(sample.images[1:])}
                made |= {name: list(_animated(model, sample)) for name, model in self._models.items()}
                tensors = {name: torch.cat([to_tensor(frame) for frame in frames]) for name, frames in made.items()}
                real, joints = tensors[REAL_FRAMES], list(sample.points[1:])
                yield Batch(numbers=[number] * _FRAMES, made=tensors, real=real, joints=joints)

    def more(self, made: Tensor, batch: Batch, k: int) -> dict[str, float]:
        if self.bodies:
            return {"pck": super().more(made, batch, k)["pck"]}
        faces, wanted = self._face_detector.detect(to_uint8(made)), batch.joints[k]
        if not faces or wanted is None:
            return {"landmarks": np.nan, "found": 0.0}
        apart = np.linalg.norm(faces[0].points[:POINTS, :2] - wanted[:POINTS, :2], axis=1).mean()
        return {"landmarks": float(apart) / face_size(wanted), "found": 1.0}

    def describe(self) -> tuple[dict[str, Any], str]:
        return {"name": self._pack.resolve().name, "what": "rendered clips of unseen people"}, ""


def _animated(model: Session, sample: ClipSample) -> Iterator[Image]:
    """The frames of a clip, (H, W, 3) each, from its reference and its landmarks."""
    size = sample.images.shape[1], sample.images.shape[2]
    clip = None
    for points, edges in zip(sample.points, sample.edges, strict=True):
        structure = structure_of(model.config, points, size, edges)[None]
        if clip is None:
            clip = start_clip(model, to_planes(sample.images[0]), structure)
        else:
            yield from_planes(clip.next(structure)[0])
