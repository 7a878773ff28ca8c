"""Builds a pack of synthetic people from MakeHuman's public assets (CC0), read from the files themselves.

MakeHuman measures in decimetres with y up, as the renderer does. Needs the packages of the extra `render`.
"""
