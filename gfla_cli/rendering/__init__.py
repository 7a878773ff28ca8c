"""Synthetic dressed people to train on: bodies, clothes and poses of a pack, drawn by a small software renderer.

    people = People(Pack.load(folder))
    views = people.album(np.random.default_rng(0), views=5, size=256)

Lengths are decimetres, y is up, a person faces +z and has +x on the left. Everything random is a pure function of
its generator. Needs the packages of the extra `render`.
"""

from gfla_cli.rendering.annotations import KEYPOINTS
from gfla_cli.rendering.character import Character
from gfla_cli.rendering.pack import Pack
from gfla_cli.rendering.people import AlbumMix, Clip, People
from gfla_cli.rendering.people_hard import write_people_hard
from gfla_cli.rendering.people_mini import write_people_mini
from gfla_cli.rendering.views import View

__all__ = [
    "KEYPOINTS",
    "AlbumMix",
    "Character",
    "Clip",
    "Pack",
    "People",
    "View",
    "write_people_hard",
    "write_people_mini",
]
