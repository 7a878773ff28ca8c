"""Which generated picture belongs to which real one: by name, by a table, or named as having no partner."""

from __future__ import annotations

import pytest
from compared_pictures import picture

from gfla_cli.errors import DataError, MediaError
from gfla_cli.evaluation.folder_pairs import pair_folders
from gfla_cli.io.image import write_image


@pytest.mark.parametrize(
    "name", ["a_0--a_1.png", "a_0_2_a_1_vis.jpg", "a_0_2_a_1.png", "a_0___a_1_vis.png", "a_0.jpg___a_1.jpg_vis.jpg"]
)
def test_names_of_two_pictures_are_told_apart(result_folders, tmp_path, name):
    made = result_folders("made")
    write_image(made / name, picture(0))
    (pair,) = pair_folders(tmp_path / "real", made)
    assert (pair.generated.name, pair.real.name, pair.source) == (name, "a_1.jpg", "a_0")


def test_equal_names_are_pairs_whatever_their_suffix(result_folders, tmp_path):
    made = result_folders("made", a_0_DOT_png=picture(5), b_1_DOT_png=picture(6))
    assert [(p.generated.name, p.real.name) for p in pair_folders(tmp_path / "real", made)] == [
        ("a_0.png", "a_0.jpg"),
        ("b_1.png", "b_1.jpg"),
    ]


def test_a_sign_inside_a_name_does_not_split_it(result_folders, tmp_path):
    made = result_folders("made")
    for name in ("x_2_y.jpg", "y.jpg", "y_2_y.jpg"):
        write_image(tmp_path / "real" / name, picture(1))
    write_image(made / "x_2_y_2_y_vis.png", picture(2))
    (pair,) = pair_folders(tmp_path / "real", made)
    assert (pair.source, pair.real.stem) == ("x_2_y", "y")  # and not x and y_2_y: there is no x


def test_what_has_no_partner_is_named(result_folders, tmp_path):
    made = result_folders("made", a_0_DOT_png=picture(0), stranger_DOT_png=picture(1))
    with pytest.raises(DataError, match=r"1 of 2 generated images.*stranger\.png") as error:
        pair_folders(tmp_path / "real", made)
    assert "--metrics fid" in error.value.hint
    result_folders("twice", a_0_DOT_png=picture(0), a_0_DOT_jpg=picture(1))
    with pytest.raises(DataError, match="have one name"):
        pair_folders(tmp_path / "real", tmp_path / "twice")
    with pytest.raises(MediaError, match="no such folder"):
        pair_folders(tmp_path / "nothing", made)


def test_tables_of_pairs_are_read_and_their_mistakes_named(result_folders, tmp_path):
    made = result_folders("made", a_0__a_1_DOT_png=picture(0), b_0__b_1_DOT_png=picture(1))
    table = tmp_path / "pairs.csv"

    def read(text):
        table.write_bytes(text.encode("utf-8-sig"))
        return [(p.generated.name, p.real.name, p.source) for p in pair_folders(tmp_path / "real", made, table)]

    assert read("from,to\r\nb_0.jpg,b_1.jpg\r\n") == [("b_0--b_1.png", "b_1.jpg", "b_0")]
    assert read("generated,real\na_0--a_1.png,b_0.jpg\n") == [("a_0--a_1.png", "b_0.jpg", "")]
    for text, said in {
        "from,to\na_0.jpg,nobody.jpg\n": "line 2: nobody.jpg is not among",
        "from,to\n\nb_1.jpg,a_1.jpg\n": "line 3: no result for b_1.jpg and a_1.jpg",
        "one,two\n": "should begin with",
        "from,to\na_0.jpg\n": "line 2: fewer than 2",
        "from,to\n": "no pairs",
    }.items():
        with pytest.raises(DataError, match=said):
            read(text)
    with pytest.raises(DataError, match="no such file"):
        pair_folders(tmp_path / "real", made, tmp_path / "nothing.csv")
