"""The result file of a sitting: written by the page, checked here before anybody trusts a word of it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gfla_cli.errors import DataError

FORMAT, VERSION = "gfla-study-result", 1
LARGEST_FILE = 4 << 20  # bytes; ten thousand answers have room
_LONGEST_NAME = 300
_ID = re.compile(r"[0-9a-f]{8,32}")
_SIDES = ("left", "right")
_KINDS = ("pair", "catch")


@dataclass(frozen=True, slots=True)
class Answer:
    """One comparison: where the real picture was, and which one the rater took for it."""

    kind: str  # pair, or catch: a pair that nobody who looks gets wrong
    picture: str
    model: str  # empty for a catch trial
    real: str  # left or right
    chosen: str
    ms: int

    @property
    def fooled(self) -> bool:
        """Whether the generated picture was taken for the real one."""
        return self.chosen != self.real


@dataclass(frozen=True, slots=True)
class Result:
    """What one rater answered in one sitting."""

    study: str
    session: str
    rater: str
    sitting: int
    started: str
    finished: str
    complete: bool
    answers: tuple[Answer, ...]


def read_result(path: Path) -> Result:
    """A result file; raises DataError when it is none, damaged, or larger than any sitting."""
    hint = "keep the files as the study page saved them"
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise DataError(f"{path}: larger than any result file", hint=hint)
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", hint="check the path") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file", hint=hint) from error
    try:
        return parse_result(text)
    except DataError as error:
        raise DataError(f"{path}: {error}", hint=hint) from error


def parse_result(text: str | bytes) -> Result:
    """The result in a JSON text; raises DataError that says what is not as it should be."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError("not JSON, or cut off") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise DataError("not a result of a gfla study")
    if data.get("version") != VERSION:
        raise DataError(f"version {str(data.get('version'))[:20]} of the format; this gfla reads {VERSION}")
    answers = data.get("answers")
    if not isinstance(answers, list):
        raise DataError("it holds no list of answers")
    return Result(
        study=_id(data, "study"),
        session=_id(data, "session"),
        rater=_id(data, "rater"),
        sitting=_whole(data, "sitting"),
        started=_name(data, "started"),
        finished=_name(data, "finished"),
        complete=data.get("complete") is True,
        answers=tuple(_answer(number, answer) for number, answer in enumerate(answers, start=1)),
    )


def _answer(number: int, data: Any) -> Answer:
    try:
        if not isinstance(data, dict):
            raise DataError("not a JSON object")
        return Answer(
            kind=_one_of(data, "kind", _KINDS),
            picture=_name(data, "picture"),
            model=_name(data, "model"),
            real=_one_of(data, "real", _SIDES),
            chosen=_one_of(data, "chosen", _SIDES),
            ms=_whole(data, "ms"),
        )
    except DataError as error:
        raise DataError(f"answer {number}: {error}") from error


def _id(data: dict[str, Any], field: str) -> str:
    value = data.get(field)
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise DataError(f"{field} should be 8 to 32 hexadecimal digits")
    return value


def _name(data: dict[str, Any], field: str) -> str:
    value = data.get(field)
    if not isinstance(value, str) or len(value) > _LONGEST_NAME or not value.isprintable():
        raise DataError(f"{field} should be a short text")
    return value


def _one_of(data: dict[str, Any], field: str, known: tuple[str, ...]) -> str:
    value = data.get(field)
    if value not in known:
        raise DataError(f"{field} should be {' or '.join(known)}")
    return str(value)


def _whole(data: dict[str, Any], field: str) -> int:
    value = data.get(field)
    if type(value) is not int or not 0 <= value < 1 << 40:
        raise DataError(f"{field} should be a whole number, not negative")
    return value
