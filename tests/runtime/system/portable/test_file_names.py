"""Names that no file can have on Windows."""

import ntpath

import pytest

from c2t.runtime.system.portable.file_names import name_problem


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("nul", "device"),
        ("NUL.json", "device"),
        ("con.tar.gz", "device"),
        ("Com1.onnx", "device"),
        ("lpt³", "device"),
        ("aux .csv", "device"),
        ("cells.", "ends with a dot"),
        ("cells.h5ad ", "ends with a dot or a space"),
        ("cells.h5ad:stream", "sign"),
        ("C:cells.h5ad", "sign"),
        ("a\\b", "sign"),
        ("a/b", "sign"),
        ("a*b?.csv", "sign"),
        ("a\nb", "sign"),
    ],
)
def test_names_that_are_none(name: str, problem: str) -> None:
    assert problem in name_problem(name)
    if hasattr(ntpath, "isreserved"):  # Python 3.13
        is_a_path = any(sign in name for sign in "/\\") or name.startswith("C:")
        assert ntpath.isreserved(name) or is_a_path


@pytest.mark.parametrize(
    "name", ["cells.h5ad", ".hidden", "com10", "console", "nul_.json", "Zellen München.csv", "a.b"]
)
def test_names_that_are_some(name: str) -> None:
    assert name_problem(name) == ""
