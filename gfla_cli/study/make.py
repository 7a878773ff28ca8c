"""Making the page of a study: one HTML file that holds the pictures, the order's seed, and the script that asks."""

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
from pathlib import Path

from gfla_cli.media.atomic import atomic_path, refuse_output
from gfla_cli.study.pairs import Pair, draw, find_pairs
from gfla_cli.study.pictures import Size, as_data_uri, mosaic_uri, shown_size

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
