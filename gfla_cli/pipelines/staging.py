"""How somebody in a picture is moved. Imports nothing heavy: commands read it before any work is done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Staging:
    """Choices about the person of the source."""

    person: str | int = "largest"  # who it is, see `choose_person`
    crop: bool = True  # animate the part around the person; else the whole picture, stretched
    absolute: bool = False  # take over the driver's own shape and place
    near_head: bool = True  # of a body, if the model has learnt to: draw a small head once more from near
    smooth: bool = True  # calm the driver's landmarks over time
