"""Synthetic training data: dressed people and objects, drawn by a small software renderer.

    people = People(Pack.load(folder))
    views = people.random_views(np.random.default_rng(0), count=5, size=256)

Lengths are decimetres, y is up, a person faces +z and has +x on the left. Equal states of a random generator give equal
results. Needs the packages of the extra `render`.
"""

from gfla_cli.synth.pack import Pack
from gfla_cli.synth.people.data_sets import write_people_hard, write_people_mini
from gfla_cli.synth.people.people import Clip, People, ViewMix

__all__ = ["Clip", "Pack", "People", "ViewMix", "write_people_hard", "write_people_mini"]
