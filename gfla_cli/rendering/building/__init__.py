"""Builds a pack of synthetic people from MakeHuman's public assets (CC0), read from the files themselves.

    build_pack(MakeHumanFiles(folder), out)

MakeHuman measures in decimetres with y up, as the renderer does. Needs the packages of the extra `render`.
"""

from gfla_cli.rendering.building.assemble import build_pack
from gfla_cli.rendering.building.files import MakeHumanFiles

__all__ = ["MakeHumanFiles", "build_pack"]
