"""Makes the page of a study: pairs real with generated images, draws a sample, and writes all into one HTML file."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gfla_cli.arrays import ByteArray
from gfla_cli.errors import DataError, UsageError
from gfla_cli.evaluation.folder_pairs import from_and_to, images_by_stem
from gfla_cli.io.background import Progress, silent
from gfla_cli.io.files import atomic_path, refuse_output
from gfla_cli.io.image import encoded, read_image
from gfla_cli.io.image_decoding import decode, open_image
from gfla_cli.webapp import base_style

LARGEST_SIDE = 1024  # pixels; a rater's screen does not show more
HEAVY_BYTES = 100_000_000  # phones may refuse a larger page
_KEPT_BYTES_PER_PIXEL = 1.5  # a JPEG file up to this size is embedded unchanged
_ASPECT_TOLERANCE = 0.02
_MOSAIC = 10  # squares on the longer side of the fake image of a catch trial

Size = tuple[int, int]  # width, height
# A name, then for every model the numbers of the real and of the generated image.
_Entry = tuple[str, list[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class Pair:
    """One real image and the generated image of every model."""

    name: str  # of the generated images, without suffix
    real: Path
    generated: tuple[Path, ...]  # in the order of the models


@dataclass(frozen=True, slots=True)
class Sample:
    """The pairs of a study; practice and catch trials use other images than the rest."""

    pairs: list[Pair]
    practice: list[Pair]
    catch: list[Pair]


def parse_models(folders: Sequence[str]) -> dict[str, Path]:
    """Name -> folder, from arguments `NAME=FOLDER` or `FOLDER`. A folder alone gives its name to the model.

    Raises UsageError for an empty name or a name that is used twice.
    """
    models: dict[str, Path] = {}
    for text in folders:
        name, equals, folder = text.partition("=")
        if not equals or Path(text).is_dir():  # a folder's own name may hold a "="
            name, folder = Path(text).resolve().name, text
        name = name.strip()
        if not name:
            raise UsageError(f"{text}: no name before the =", hint="write NAME=FOLDER")
        if name in models:
            raise UsageError(f"two models are called {name}", hint="write NAME=FOLDER to tell them apart")
        models[name] = Path(folder)
    return models


def find_pairs(real: Path, models: Mapping[str, Path]) -> tuple[list[Pair], int]:
    """Pairs sorted by name, and how many generated images are left out. Raises DataError if there is no pair.

    A generated image belongs to the real one of the same name, in any format. SOURCE--TARGET, as `gfla infer` writes,
    belongs to TARGET. Left out are generated images without a real one, those that another model lacks, and all but
    one for each real image: a rater who sees an image twice learns which one is real.
    """
    originals = images_by_stem(real)
    made = [images_by_stem(folder) for folder in models.values()]
    names = set.intersection(*(set(images) for images in made))
    pairs: dict[Path, Pair] = {}
    for name in sorted(names):
        if found := from_and_to(name, originals):
            original = originals[found[1]]
            pairs.setdefault(original, Pair(name, original, tuple(images[name] for images in made)))
    if not pairs:
        raise DataError(
            f"no file name in {' and '.join(str(folder) for folder in models.values())} matches one in {real}",
            hint="NAME.png belongs to NAME.jpg, and SOURCE--TARGET.png to TARGET.jpg",
        )
    return list(pairs.values()), len(set.union(*(set(images) for images in made))) - len(pairs)


def draw(pairs: Sequence[Pair], most: int, *, practice: int, catch: int, seed: int) -> Sample:
    """Draws at most `most` pairs at random, and other pairs for practice and catch trials.

    Practice takes at most a fifth of all pairs. Raises UsageError if catch trials would take more than a fifth.
    """
    fifth = len(pairs) // 5
    if catch > fifth:
        what = f"{catch} catch trials need {5 * catch} pairs, here are {len(pairs)}"
        raise UsageError(what, hint=f"--catch {fifth}")
    practice = min(practice, fifth)
    order = list(pairs)
    random.Random(seed).shuffle(order)
    rest = order[practice + catch :]
    return Sample(pairs=rest[:most], practice=order[:practice], catch=order[practice : practice + catch])


def shown_size(generated: Path) -> Size:
    """The size at which a generated image and its real one are shown. Raises MediaError."""
    height, width = read_image(generated, LARGEST_SIDE).shape[:2]
    return width, height


def as_data_uri(path: Path, size: Size) -> str:
    """The image at `size` as a data URI: the file itself if it is a small, plain JPEG of that size, else a JPEG.

    EXIF data and colour profiles are dropped. A browser would apply them to one image of the pair only, and they may
    hold a place or a name. Raises MediaError for an unreadable file, DataError for another aspect ratio.
    """
    with open_image(path) as image:
        plain = image.format == "JPEG" and image.mode in ("RGB", "L")
        metadata = {"exif", "icc_profile", "comment"} & set(image.info)
        small = path.stat().st_size <= _KEPT_BYTES_PER_PIXEL * size[0] * size[1]
        pixels = decode(image, None)
        if plain and not metadata and small and image.size == size:
            return _jpeg_uri(path.read_bytes())
    return _encoded(_resized(path, pixels, size))


def mosaic_uri(path: Path, size: Size) -> str:
    """The image as a mosaic of a few large squares, an obvious fake, as a data URI."""
    pixels = _resized(path, read_image(path), size)
    scale = _MOSAIC / max(size)
    few = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    coarse = Image.fromarray(pixels).resize(few, Image.Resampling.BOX).resize(size, Image.Resampling.NEAREST)
    return _encoded(np.asarray(coarse))


def _resized(path: Path, pixels: ByteArray, size: Size) -> ByteArray:
    height, width = pixels.shape[:2]
    if abs(width * size[1] / (height * size[0]) - 1) > _ASPECT_TOLERANCE:
        what = f"{path} is {width}x{height}, but the generated image is {size[0]}x{size[1]}: another aspect ratio"
        raise DataError(what, hint="crop the real images to the frame of the generated ones")
    if (width, height) == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def _encoded(pixels: ByteArray) -> str:
    return _jpeg_uri(encoded(pixels, "JPEG", quality=95, subsampling=0))


def _jpeg_uri(data: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode('ascii')}"


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyOptions:
    """Options of a study. The numbers of pairs and repeats, and the seconds, are the paper's."""

    title: str = "Which image is real?"
    pairs: int = 800  # per model
    trials: int = 50  # in one sitting
    repeats: int = 5  # answers for every pair, over all sittings
    seconds: float = 2.0  # that a pair is shown; 0: no limit
    seed: int = 0
    practice: int = 3
    catch: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class StudySettings(StudyOptions):
    """What the page and the server read, written into the page as JSON. Numbers of pairs are those that there are."""

    id: str
    models: int
    sittings: int
    ratio: float  # width / height of the first pair, for the layout before its images are decoded


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyReport:
    settings: StudySettings
    left_out: int
    bytes: int


def make_study(
    real: Path,
    models: Mapping[str, Path],
    output: Path,
    options: StudyOptions,
    *,
    overwrite: bool = False,
    progress: Progress = silent,
) -> StudyReport:
    """Writes the page. The same images and options give the same file.

    All pairs are cut into sittings of at most `trials`. There are enough sittings to show every pair `repeats` times
    for every model. Raises DataError or MediaError that names the image that does not fit.
    """
    refuse_output(output, overwrite=overwrite)
    pairs, left_out = find_pairs(real, models)
    sample = draw(pairs, options.pairs, practice=options.practice, catch=options.catch, seed=options.seed)
    images = _Images(progress, expected=len(sample.pairs) + len(sample.practice) + len(sample.catch))
    # Which images are real: the page needs it, raters must not see it.
    key = {
        "models": list(models),
        "pairs": [images.add(pair) for pair in sample.pairs],
        "practice": [images.add(pair) for pair in sample.practice],
        "catch": [images.add(pair, obvious=True) for pair in sample.catch],
    }
    uris = images.shuffled(options.seed)
    digest = hashlib.sha256(json.dumps([asdict(options), key]).encode())
    for number, uri in uris.items():
        digest.update(f"{number} {uri}".encode())
    drawn = {part: len(getattr(sample, part)) for part in ("pairs", "practice", "catch")}
    settings = StudySettings(
        **{**asdict(options), **drawn},
        id=digest.hexdigest()[:16],
        models=len(models),
        sittings=math.ceil(len(sample.pairs) / options.trials) * len(models) * options.repeats,
        ratio=images.ratio,
    )
    page = _page(settings, key, uris).encode()
    with atomic_path(output, overwrite=overwrite) as temporary:
        temporary.write_bytes(page)
    return StudyReport(settings=settings, left_out=left_out, bytes=len(page))


class _Images:
    """The images of a page, each under a number that does not tell whether it is real."""

    def __init__(self, progress: Progress, expected: int) -> None:
        self.ratio = 1.0
        self._uris: list[str] = []
        self._progress, self._expected, self._done = progress, expected, 0

    def add(self, pair: Pair, *, obvious: bool = False) -> _Entry:
        """`obvious`: with a mosaic as the only generated image."""
        paths = pair.generated[:1] if obvious else pair.generated
        sizes = [shown_size(path) for path in paths]
        reals = {size: self._number(as_data_uri(pair.real, size)) for size in dict.fromkeys(sizes)}
        versions = []
        for path, size in zip(paths, sizes, strict=True):
            uri = mosaic_uri(pair.real, size) if obvious else as_data_uri(path, size)
            versions.append((reals[size], self._number(uri)))
        if self._done == 0:
            self.ratio = round(sizes[0][0] / sizes[0][1], 4)
        self._done += 1
        self._progress(self._done, self._expected)
        return pair.name, versions

    def shuffled(self, seed: int) -> dict[int, str]:
        """Number -> data URI in random order: the order in the page's source does not tell real images."""
        numbers = list(range(len(self._uris)))
        random.Random(seed).shuffle(numbers)
        return {number: self._uris[number] for number in numbers}

    def _number(self, uri: str) -> int:
        self._uris.append(uri)
        return len(self._uris) - 1


def _page(settings: StudySettings, key: Mapping[str, Any], uris: Mapping[int, str]) -> str:
    template, style, *scripts = (
        files("gfla_cli.study").joinpath(name).read_text(encoding="utf-8")
        for name in ("page.html", "page.css", "plan.js", "memory.js", "page.js")
    )
    style = base_style() + style
    parts = {
        "policy": content_policy(scripts, style),
        "title": html.escape(settings.title),
        "style": style,
        # "<" would let a title end the script element.
        "settings": json.dumps(asdict(settings), ensure_ascii=False).replace("<", "\\u003c"),
        "images": "\n".join(f'<script type="text/plain" id="p{number}">{uri}</script>' for number, uri in uris.items()),
        # Encoded, so that a look at the source does not show which images are real.
        "key": base64.b64encode(json.dumps(key).encode()).decode("ascii"),
        "scripts": "\n".join(f"<script>{script}</script>" for script in scripts),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def content_policy(scripts: Sequence[str], style: str) -> str:
    """Content security policy: these scripts, this style, embedded images, and requests to its own server only."""
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"
        for text in (*scripts, style)
    ]
    return (
        f"default-src 'none'; script-src {' '.join(hashes[:-1])}; style-src {hashes[-1]}; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'"
    )
