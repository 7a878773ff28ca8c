"""Which generated pictures belong to which real ones, and which of them a study shows."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gfla_cli.errors import DataError, UsageError
from gfla_cli.evaluation.folder_pairs import from_and_to, pictures_by_stem
from gfla_cli.io.files import atomic_path, refuse_output
from gfla_cli.io.image import read_image
from gfla_cli.io.image_decoding import decode, open_image


@dataclass(frozen=True, slots=True)
class Pair:
    """One real picture and what every model made of it."""

    name: str  # of the generated pictures, without the suffix
    real: Path
    generated: tuple[Path, ...]  # in the order of the models


@dataclass(frozen=True, slots=True)
class Drawn:
    """The pairs of a study; practice and catch trials have pictures of their own."""

    pairs: list[Pair]
    practice: list[Pair]
    catch: list[Pair]


def parse_models(folders: Sequence[str]) -> dict[str, Path]:
    """Name -> folder of `NAME=FOLDER` or `FOLDER` arguments; a folder alone is a model called like it."""
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
    """The pairs of all folders in the order of their names, and how many generated pictures are left out.

    A generated picture belongs to the real one of its name, whatever their formats; SOURCE--TARGET, as `gfla infer`
    writes, and the like belong to TARGET. Left out is what has no real picture, what another model lacks, and all but
    one generated picture of each real one: who sees a picture twice learns which one is real. Raises DataError when
    none is left.
    """
    originals = pictures_by_stem(real)
    made = [pictures_by_stem(folder) for folder in models.values()]
    names = set.intersection(*(set(pictures) for pictures in made))
    pairs: dict[Path, Pair] = {}
    for name in sorted(names):
        if found := from_and_to(name, originals):
            original = originals[found[1]]
            pairs.setdefault(original, Pair(name, original, tuple(pictures[name] for pictures in made)))
    if not pairs:
        raise DataError(
            f"no file name in {' and '.join(str(folder) for folder in models.values())} matches one in {real}",
            hint="NAME.png belongs to NAME.jpg, and SOURCE--TARGET.png to TARGET.jpg",
        )
    return list(pairs.values()), len(set.union(*(set(pictures) for pictures in made))) - len(pairs)


def draw(pairs: Sequence[Pair], most: int, *, practice: int, catch: int, seed: int) -> Drawn:
    """At most `most` pairs, drawn at random, and others set aside for practice and catch trials.

    Practice takes at most a fifth of a small set. Raises UsageError when the catch trials would take more than that.
    """
    fifth = len(pairs) // 5
    if catch > fifth:
        what = f"{catch} catch trials need {5 * catch} pairs, here are {len(pairs)}"
        raise UsageError(what, hint=f"--catch {fifth}")
    practice = min(practice, fifth)
    order = list(pairs)
    random.Random(seed).shuffle(order)
    rest = order[practice + catch :]
    return Drawn(pairs=rest[:most], practice=order[:practice], catch=order[practice : practice + catch])


# Pictures as data URIs: both of a pair at one size, and nothing about them that tells which one is real.


LARGEST_SIDE = 1024  # pixels; more is not seen on a rater's screen
_KEPT_BYTES_PER_PIXEL = 1.5  # a JPEG file up to this size goes in as it is
_ASPECT_TOLERANCE = 0.02
_MOSAIC = 10  # squares on the longer side of a catch trial's picture

Size = tuple[int, int]  # width, height


def shown_size(generated: Path) -> Size:
    """The size at which a generated picture, and so the real one beside it, is shown. Raises MediaError."""
    height, width = read_image(generated, LARGEST_SIDE).shape[:2]
    return width, height


def as_data_uri(path: Path, size: Size) -> str:
    """The picture at `size`: the file's own bytes if they are a small, plain JPEG of that size, else JPEG, quality 95.

    EXIF and colour profiles do not pass: a browser would apply to one picture of the pair what the other lacks, and
    they may hold a place or a name. Raises MediaError when it cannot be read, DataError when its shape is another.
    """
    with open_image(path) as picture:
        plain = picture.format == "JPEG" and picture.mode in ("RGB", "L")
        told = {"exif", "icc_profile", "comment"} & set(picture.info)
        small = path.stat().st_size <= _KEPT_BYTES_PER_PIXEL * size[0] * size[1]
        pixels = decode(picture, None)
        if plain and not told and small and picture.size == size:
            return _jpeg_uri(path.read_bytes())
    return _encoded(_resized(path, pixels, size))


def mosaic_uri(path: Path, size: Size) -> str:
    """The picture in a few large squares, which nobody who looks takes for a photograph."""
    pixels = _resized(path, read_image(path), size)
    scale = _MOSAIC / max(size)
    few = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    coarse = Image.fromarray(pixels).resize(few, Image.Resampling.BOX).resize(size, Image.Resampling.NEAREST)
    return _encoded(np.asarray(coarse))


def _resized(path: Path, pixels: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    if abs(width * size[1] / (height * size[0]) - 1) > _ASPECT_TOLERANCE:
        what = f"{path} is {width}x{height}, but the generated picture is {size[0]}x{size[1]}: another shape"
        raise DataError(what, hint="crop the real pictures to the frame of the generated ones")
    if (width, height) == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def _encoded(pixels: NDArray[np.uint8]) -> str:
    file = BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=95, subsampling=0)
    return _jpeg_uri(file.getvalue())


def _jpeg_uri(data: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode('ascii')}"


# Making the page of a study: one HTML file that holds the pictures, the order's seed, and the script that asks.


HEAVY_BYTES = 100_000_000  # above, phones may refuse the page

# A name, then for every model the numbers of the real and of the generated picture.
_Entry = tuple[str, list[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class _Key:
    """What the page must know and the rater must not."""

    models: list[str]
    pairs: list[_Entry]
    practice: list[_Entry]
    catch: list[_Entry]


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyOptions:
    """What a study asks for; the defaults are the paper's where it says something."""

    title: str = "Which picture is real?"
    pairs: int = 800  # a model
    trials: int = 50  # in one sitting
    repeats: int = 5  # answers for every pair, over all sittings
    seconds: float = 2.0  # 0: as long as the rater likes
    seed: int = 0
    practice: int = 3
    catch: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class StudySettings:
    """What the page and the server know about a study; written into the page as JSON."""

    id: str
    title: str
    seconds: float
    pairs: int
    models: int
    trials: int
    repeats: int
    sittings: int
    practice: int
    catch: int
    ratio: float  # width / height of the first pair: the layout before its pictures are decoded


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyReport:
    """What went into the page."""

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
    progress: Callable[[int, int], None] = lambda done, expected: None,
) -> StudyReport:
    """Writes the page; the same pictures and options give the same file.

    A pass over all pairs is cut into sittings of at most `trials`, and there are passes until every pair was compared
    `repeats` times with every model. Raises DataError or MediaError that names the picture that does not fit.
    """
    refuse_output(output, overwrite=overwrite)
    pairs, left_out = find_pairs(real, models)
    drawn = draw(pairs, options.pairs, practice=options.practice, catch=options.catch, seed=options.seed)
    album = _Album(progress, expected=len(drawn.pairs) + len(drawn.practice) + len(drawn.catch))
    key = _Key(
        models=list(models),
        pairs=[album.add(pair) for pair in drawn.pairs],
        practice=[album.add(pair) for pair in drawn.practice],
        catch=[album.add_catch(pair) for pair in drawn.catch],
    )
    pictures = album.shuffled(options.seed)
    settings = _settings(options, key, pictures, album.ratio)
    page = _page(settings, key, pictures).encode()
    with atomic_path(output, overwrite=overwrite) as temporary:
        temporary.write_bytes(page)
    return StudyReport(settings=settings, left_out=left_out, bytes=len(page))


class _Album:
    """The pictures of a page, each once, under numbers that say nothing."""

    def __init__(self, progress: Callable[[int, int], None], expected: int) -> None:
        self.ratio = 1.0
        self._uris: list[str] = []
        self._progress, self._expected, self._done = progress, expected, 0

    def add(self, pair: Pair) -> _Entry:
        sizes = [shown_size(path) for path in pair.generated]
        reals = {size: self._number(as_data_uri(pair.real, size)) for size in dict.fromkeys(sizes)}
        versions = [
            (reals[size], self._number(as_data_uri(path, size)))
            for path, size in zip(pair.generated, sizes, strict=True)
        ]
        return self._entry(pair, versions, sizes[0])

    def add_catch(self, pair: Pair) -> _Entry:
        size = shown_size(pair.generated[0])
        return self._entry(
            pair, [(self._number(as_data_uri(pair.real, size)), self._number(mosaic_uri(pair.real, size)))], size
        )

    def shuffled(self, seed: int) -> dict[int, str]:
        """Number -> picture in random order, so that the page's source does not tell real ones by their place."""
        numbers = list(range(len(self._uris)))
        random.Random(seed).shuffle(numbers)
        return {number: self._uris[number] for number in numbers}

    def _entry(self, pair: Pair, versions: list[tuple[int, int]], size: Size) -> _Entry:
        if self._done == 0:
            self.ratio = round(size[0] / size[1], 4)
        self._done += 1
        self._progress(self._done, self._expected)
        return pair.name, versions

    def _number(self, uri: str) -> int:
        self._uris.append(uri)
        return len(self._uris) - 1


def _settings(options: StudyOptions, key: _Key, pictures: Mapping[int, str], ratio: float) -> StudySettings:
    digest = hashlib.sha256(json.dumps([asdict(options), asdict(key)]).encode())
    for number, uri in pictures.items():
        digest.update(f"{number} {uri}".encode())
    return StudySettings(
        id=digest.hexdigest()[:16],
        title=options.title,
        seconds=options.seconds,
        pairs=len(key.pairs),
        models=len(key.models),
        trials=options.trials,
        repeats=options.repeats,
        sittings=math.ceil(len(key.pairs) / options.trials) * len(key.models) * options.repeats,
        practice=len(key.practice),
        catch=len(key.catch),
        ratio=ratio,
    )


def _page(settings: StudySettings, key: _Key, pictures: Mapping[int, str]) -> str:
    template, style, *scripts = (
        files("gfla_cli.study").joinpath(name).read_text(encoding="utf-8")
        for name in ("page.html", "page.css", "plan.js", "memory.js", "page.js")
    )
    parts = {
        "policy": content_policy(scripts, style),
        "title": html.escape(settings.title),
        "style": style,
        # "<" would let a title end the script element.
        "settings": json.dumps(asdict(settings), ensure_ascii=False).replace("<", "\\u003c"),
        "pictures": "\n".join(
            f'<script type="text/plain" id="p{number}">{uri}</script>' for number, uri in pictures.items()
        ),
        # Encoded, so that a glance at the source tells no rater what is real.
        "key": base64.b64encode(json.dumps(asdict(key)).encode()).decode("ascii"),
        "scripts": "\n".join(f"<script>{script}</script>" for script in scripts),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def content_policy(scripts: Sequence[str], style: str) -> str:
    """What a browser may do on the page: run these scripts, use this style, show embedded pictures, ask its server."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(_source_hash(script) for script in scripts)}",
            f"style-src {_source_hash(style)}",
            "img-src data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _source_hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"
