"""Conditions: the maps and codes that networks take for joints, faces and views."""
