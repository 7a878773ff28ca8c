"""Folders of generated images against a folder of real ones, whatever has generated them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gfla_cli.arrays import Image, Points
from gfla_cli.evaluation.folder_pairs import FilePair, pair_folders
from gfla_cli.evaluation.loop import Batch, TestSet
from gfla_cli.evaluation.metrics import Measures, PoseJudge, pose_change
from gfla_cli.evaluation.protocols import OWN_FILES, Protocol, Size, prepared
from gfla_cli.evaluation.scores import MASKED, Score, change_class, spread
from gfla_cli.io.background import overlapped
from gfla_cli.io.files import distinct_names
from gfla_cli.io.image import find_images, read_image, to_tensor, to_uint8
from gfla_cli.person.drawing import draw_pose
from gfla_cli.person.pose import Pose

_BATCH = 8  # images that are measured at once


@dataclass(kw_only=True)
class ComparedFolders(TestSet):
    """What is compared, and how; each folder of generated images gets a score."""

    real: Path
    generated: Sequence[Path]
    table: Path | None = None  # of the pairs; else by name
    protocol: Protocol = OWN_FILES
    layout: str = "square"  # whose sizes of the protocol hold
    size: Size | None = None  # else the protocol's, else that of the first generated image
    poses: Mapping[str, Pose] = field(default_factory=dict)  # of real images, by name without suffix
    limit: int | None = None
    total: int = field(init=False, default=0)
    _pairs: dict[str, list[FilePair]] = field(init=False, default_factory=dict)  # by the name of a folder
    _paired: bool = field(init=False, default=True)

    def prepare(self, measures: Measures) -> None:
        """FID alone needs no pairs."""
        resolved = [folder.resolve() for folder in self.generated]
        longer = {k: f"{folder.parent.name}/{folder.name}" for k, folder in enumerate(resolved)}
        names = distinct_names({k: folder.name for k, folder in enumerate(resolved)}, longer)
        self._paired = measures.paired
        for name, folder in zip(names.values(), self.generated, strict=True):
            pairs = (
                pair_folders(self.real, folder, self.table)
                if self._paired
                else [FilePair(image, None) for image in find_images(folder)]
            )
            self._pairs[name] = spread(pairs, self.limit)
        self.total = sum(map(len, self._pairs.values()))
        if measures.masked and measures.mask_files is None and not self.poses:
            for metric in MASKED:
                measures.without(metric, "no masks; --keypoints names a table of joints, --masks a folder of masks")
        if not self.poses:
            measures.refine("pck", "of the pose that it finds in the real picture")
        self.size = self.size or self.protocol.sizes.get(self.layout)
        if self.size is None:
            first = read_image(next(iter(self._pairs.values()))[0].generated)
            self.size = (first.shape[0], first.shape[1])
        self.real_folder = self.real
        self.judge = PoseJudge(rendered=False) if "pck" in measures.metrics else None

    def scores(self, *, with_real: bool) -> list[Score]:
        return [Score(name) for name in self._pairs]

    def batches(self) -> Iterator[Batch]:
        """Files are read ahead."""
        for name, pairs in self._pairs.items():
            read = overlapped((self._both(pair) for pair in pairs), size=2 * _BATCH)
            for first in range(0, len(pairs), _BATCH):
                group = pairs[first : first + _BATCH]
                made, real = zip(*islice(read, len(group)), strict=True)
                joints = [self._joints(pair.real.stem) if pair.real else None for pair in group]
                yield Batch(
                    numbers=range(first, first + len(group)),
                    made={name: torch.cat(made)},
                    real=torch.cat(real) if self._paired else None,
                    real_names=[pair.real.name for pair in group if pair.real],
                    joints=joints,
                    parts=[change_class(self._change(*known)) for known in zip(group, joints, strict=True)],
                )

    def describe(self) -> tuple[dict[str, Any], str]:
        data = {
            "name": "/".join(self.real.resolve().parts[-2:]),
            "layout": self.layout,
            "pairs": ", ".join(dict.fromkeys(str(len(pairs)) for pairs in self._pairs.values())),
            "paired_by": "nothing" if not self._paired else self.table.name if self.table else "name",
        }
        return data, ""

    def shown(self, name: str, number: int) -> tuple[str, dict[str, Image]]:
        pair = self._pairs[name][number]
        result, real = map(to_uint8, self._both(pair))
        images: dict[str, Image] = {}
        source = min(self.real.glob(f"{pair.source}.*"), default=None) if pair.source else None
        if source is not None:
            images["source"] = to_uint8(self._read(source))
        joints = self._joints(pair.real.stem) if pair.real else None
        if joints is not None:
            images["target pose"] = draw_pose(np.full_like(result, 255), Pose(joints, result.shape[:2]))
        return pair.generated.name, images | {"result": result, "real": real}

    def sheet(self, count: int) -> list[dict[str, Image]]:
        """Of the first folder."""
        pairs = spread(next(iter(self._pairs.values())), count)
        return [dict(zip(("result", "real"), map(to_uint8, self._both(pair)), strict=True)) for pair in pairs]

    def _read(self, file: Path) -> Tensor:
        assert self.size is not None
        return to_tensor(prepared(read_image(file), self.protocol, self.size))

    def _both(self, pair: FilePair) -> tuple[Tensor, Tensor]:
        """The generated and the real image of a pair; the latter is empty where there is none."""
        return self._read(pair.generated), self._read(pair.real) if pair.real else torch.empty(0)

    def _joints(self, stem: str) -> Points | None:
        """(18, 3) joints of a real image in the pixels of the comparison; None where they are not known."""
        assert self.size is not None
        pose = self.poses.get(stem)
        return None if pose is None else pose.scaled(self.size).points

    def _change(self, pair: FilePair, target: Points | None) -> float:
        """How far the pose changed; NaN where one of the two is not known."""
        source = self._joints(pair.source) if pair.source else None
        return math.nan if source is None or target is None else pose_change(source, target)
