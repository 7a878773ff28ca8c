"""DeepFashion's own images, sorted by the published lists."""

from __future__ import annotations

import pytest
from photographs import draw
from typer.testing import CliRunner

from gfla_cli.app import app
from gfla_cli.datasets.img_highres import sort_img_highres
from gfla_cli.errors import DataError


@pytest.fixture
def highres(tmp_path):
    """Three images as the archive has them, and lists and tables as they are published."""
    root = tmp_path / "img_highres"
    for name in ("WOMEN/Tees_Tanks/id_00000395/01_7_additional", "MEN/Denim/id_00000080/01_1_front"):
        draw(root / f"{name}.jpg", 1)
    draw(root / "WOMEN/Dresses/id_00002629/02_1_front.jpg", 2)
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "train.lst").write_text("fashionWOMENTees_Tanksid0000039501_7additional.jpg\n")
    (lists / "test.lst").write_bytes(b"fashionMENDenimid0000008001_1front.jpg\r\n")
    (lists / "fasion-pairs-train.csv").write_text("from,to\n")
    return root, lists


def test_listed_pictures_are_sorted_and_the_others_left(highres, tmp_path):
    root, lists = highres
    report = sort_img_highres(root, lists, tmp_path / "fashion")
    assert (report.written, report.existed, report.missing) == (2, 0, [])
    assert (tmp_path / "fashion/train/fashionWOMENTees_Tanksid0000039501_7additional.jpg").is_file()
    assert [path.name for path in (tmp_path / "fashion/test").iterdir()] == ["fashionMENDenimid0000008001_1front.jpg"]
    assert (tmp_path / "fashion/fasion-pairs-train.csv").is_file()
    assert "fasion-annotation-train.csv" in report.tables
    assert sort_img_highres(root, tmp_path / "fashion", tmp_path / "fashion").existed == 2


def test_listed_pictures_can_be_linked(highres, tmp_path):
    root, lists = highres
    sort_img_highres(root, lists, tmp_path / "fashion", link=True)
    (test,) = (tmp_path / "fashion/test").iterdir()
    assert test.samefile(root / "MEN/Denim/id_00000080/01_1_front.jpg")


def test_missing_pictures_and_lists_are_named(highres, tmp_path):
    root, lists = highres
    with (lists / "train.lst").open("a") as file:
        file.write("fashionWOMENDressesid0000000001_1front.jpg\n")
    result = CliRunner().invoke(
        app, ["data", "fashion", str(root), "--lists", str(lists), "-o", str(tmp_path / "fashion")]
    )
    assert result.exit_code == 1
    assert "2 sorted, 0 were there, 1 missing" in result.stderr
    assert "missing: fashionWOMENDressesid0000000001_1front.jpg" in result.stderr
    with pytest.raises(DataError, match=r"train\.lst: not found"):
        sort_img_highres(root, tmp_path, tmp_path / "other")
    with pytest.raises(DataError, match="none of the 3 listed"):
        sort_img_highres(root / "WOMEN" / "Dresses", lists, tmp_path / "other")
    (lists / "test.lst").write_text("../../escape.jpg\n")
    with pytest.raises(DataError, match="no file name"):
        sort_img_highres(root, lists, tmp_path / "other")
    assert not (tmp_path / "other").exists()
