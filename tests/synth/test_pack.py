"""Packs of people that are none: refused before compiled code follows what they say."""

import shutil

import numpy as np
import pytest
from paths import SHARED
from tiny_images import png

from gfla_cli.errors import DataError
from gfla_cli.synth import Pack
from gfla_cli.synth.pack import _PICTURES, Textures


def test_a_folder_that_is_no_pack_is_refused_with_a_hint(tmp_path):
    with pytest.raises(DataError, match=r"no humans\.npz and no poses\.npz and no textures") as missing:
        Pack.load(tmp_path)
    assert "gfla data humans builds one" in missing.value.hint

    (tmp_path / "textures").mkdir()
    (tmp_path / "poses.npz").touch()
    (tmp_path / "humans.npz").write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(DataError, match="damaged"):
        Pack.load(tmp_path)

    for name in ("humans.npz", "poses.npz"):
        np.savez(tmp_path / name, something=np.zeros(3))
    with pytest.raises(DataError, match="not a pack"):
        Pack.load(tmp_path)


@pytest.mark.shared
@pytest.mark.parametrize("table", ["weight_index", "hat:fedora/ref", "hat:fedora/faces"])
def test_an_index_beyond_its_table_is_refused_before_compiled_code_follows_it(tmp_path, table):
    with np.load(SHARED / "humans" / "humans.npz") as archive:
        arrays = dict(archive)
    arrays[table].flat[3] = np.iinfo(arrays[table].dtype).max
    np.savez(tmp_path / "humans.npz", **arrays)
    shutil.copy(SHARED / "humans" / "poses.npz", tmp_path)
    with pytest.raises(DataError, match="not a pack"):
        Pack.load(tmp_path)


@pytest.mark.usefixtures("ascii_opencv")
def test_a_pack_may_lie_anywhere(tmp_path):
    folder = tmp_path / "Köpfe"
    folder.mkdir()
    for name in _PICTURES:
        (folder / f"{name}.png").touch()
    (folder / "tongue01.png").write_bytes(png(32, 32, (b"\0" + bytes([200, 90, 80]) * 32) * 32))
    texels = Textures(folder)["tongue01"].texels
    assert texels.reshape(-1, 4)[0].tolist() == [200, 90, 80, 255]
