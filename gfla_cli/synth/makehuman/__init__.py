"""Builds a pack of synthetic people from MakeHuman's public assets (CC0), read from the files themselves.

    build_pack(MakeHumanFiles(folder), out)

MakeHuman measures in decimetres with y up, as the renderer does. Needs the packages of the extra `render`.
"""

from gfla_cli.synth.makehuman.build import build_pack
from gfla_cli.synth.makehuman.files import MakeHumanFiles

__all__ = ["MakeHumanFiles", "build_pack"]
