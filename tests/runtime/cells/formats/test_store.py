"""The table of formats: each entry opens something, and none is imported before a file has it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from c2t.runtime.cells.formats.forms import Form
from c2t.runtime.cells.formats.store import FILE_FORMATS

HERE = "c2t.runtime.cells.formats"


@pytest.mark.parametrize("form", FILE_FORMATS)
def test_every_entry_is_a_function(form: Form) -> None:
    module, _, function = FILE_FORMATS[form].partition(":")
    assert callable(getattr(importlib.import_module(f"{HERE}.{module}"), function))


def test_a_table_loads_no_other_format(tmp_path: Path) -> None:
    table = tmp_path / "cells.csv"
    table.write_text("cell,ENSG00000000001,ENSG00000000002\na,1,2\nb,0,3\n")
    code = (
        f"import sys, warnings; warnings.simplefilter('ignore');"
        f" from {HERE}.store import open_store, FILE_FORMATS;"
        f" from {HERE}.opening import Opening; opening = Opening(part='cells-x-genes');"
        f" before = set(sys.modules); open_store({str(table)!r}, opening).close();"
        f" modules = ['{HERE}.' + f.partition(':')[0] for f in FILE_FORMATS.values()];"
        " print([m in before for m in modules], [m in sys.modules for m in modules])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before, after = done.stdout.strip().split("] [")
    assert "True" not in before
    assert after.count("True") == 1
