"""`gfla data fashion`: DeepFashion's img_highres, sorted into train/ and test/ of the published pose-transfer split.

IMG_HIGHRES/WOMEN/Dresses/id_00002629/02_1_front.jpg  ->  ROOT/train/fashionWOMENDressesid0000262902_1front.jpg

The lists write an image's path without its slashes and most of its underscores. Here both are compared without any.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from gfla_cli.datasets.tables import DEEPFASHION, SPLITS
from gfla_cli.errors import DataError
from gfla_cli.io.background import Progress, silent
from gfla_cli.io.files import atomic_path, sole_writer
from gfla_cli.io.image import find_images

_LEVELS = 4  # MEN or WOMEN, kind of clothes, id, file


@dataclass(slots=True)
class SortReport:
    """What became of the listed images."""

    listed: int = 0
    written: int = 0
    existed: int = 0
    missing: list[str] = field(default_factory=list)  # listed, but not found
    tables: list[str] = field(default_factory=list)  # files that the set still lacks


def sort_img_highres(
    originals: Path,
    lists: Path,
    output: Path,
    *,
    link: bool = False,
    progress: Progress = silent,
) -> SortReport:
    """Copies every listed image to `output`/train or /test, and the set's tables beside them; existing ones stay.

    `lists` is the folder of train.lst and test.lst. With `link` the images are hard links where the disk allows it.
    Raises DataError when a list is missing, when both lists name one image, or when no listed image is found.
    """
    listed = {split: _read_list(lists / f"{split}.lst") for split in SPLITS}
    if both := set(listed["train"]) & set(listed["test"]):
        what = f"{lists}: {min(both)} and {len(both) - 1} others are in train.lst and in test.lst"
        raise DataError(what, hint="an image is for training or for testing")
    photos = find_images(originals, recursive=True)
    there = {_bare("".join(path.relative_to(originals).parts[-_LEVELS:])): path for path in photos}
    report = SortReport(listed=sum(map(len, listed.values())))
    report.missing = [name for names in listed.values() for name in names if _bare(name) not in there]
    if len(report.missing) == report.listed:
        hint = "expected MEN/Denim/id_00000080/01_1_front.jpg and the like in it; the archive needs a password"
        raise DataError(f"{originals}: none of the {report.listed} listed images is there", hint=hint)
    with sole_writer(output):
        for split, names in listed.items():
            (output / split).mkdir(exist_ok=True)
            for name in names:
                target = output / split / name
                if target.exists():
                    report.existed += 1
                elif source := there.get(_bare(name)):
                    _bring(source, target, link=link)
                    report.written += 1
                progress(report.existed + report.written, report.listed)
        for name in ("train.lst", "test.lst", *DEEPFASHION.tables("train"), *DEEPFASHION.tables("test")):
            if (output / name).exists():
                continue
            if (lists / name).is_file():
                _bring(lists / name, output / name, link=False)
            else:
                report.tables.append(name)
    return report


def _bring(source: Path, target: Path, *, link: bool) -> None:
    if link:
        with suppress(OSError):  # another disk, or one without links
            os.link(source, target)
            return
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def _read_list(path: Path) -> list[str]:
    """The file names of a list, each once. Raises DataError when it is missing or not such a list."""
    if not path.is_file():
        hint = "it comes with the published keypoints and pairs; --lists names their folder"
        raise DataError(f"{path}: not found", hint=hint)
    names = [line.strip() for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines()]
    names = list(dict.fromkeys(name for name in names if name))
    if odd := next((name for name in names if PurePath(name).name != name), None):
        raise DataError(f"{path}: {odd!r} is no file name", hint="one name a line, without folders")
    if not names:
        hint = "one name a line, such as fashionMENDenim0000008001_1front.jpg"
        raise DataError(f"{path}: no names in it", hint=hint)
    return names


def _bare(name: str) -> str:
    return name.replace("_", "").removeprefix("fashion")
