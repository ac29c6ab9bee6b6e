"""The Galaxy wrapper: its commands are c2t's, and its tests pass without Galaxy."""

from __future__ import annotations

import runpy
import shlex
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from galaxy_template import namespace, render
from packaged import BUNDLE, CELLS, GALAXY, bash, check_command


def tool() -> ElementTree.Element:
    return ElementTree.parse(GALAXY / "c2t_describe.xml").getroot()


def galaxy_values(**given: Any) -> dict[str, Any]:
    """The values of the tool's form, by default those that it shows at first."""

    def shown(params: list[ElementTree.Element]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for param in params:
            name = param.get("name") or str(param.get("argument")).lstrip("-").replace("-", "_")
            chosen = [o.get("value") for o in param.findall("option") if o.get("selected")]
            values[name] = given.get(name, chosen[0] if chosen else param.get("value"))
        return values

    inputs = tool().find("inputs")
    assert inputs is not None
    sections = {
        str(section.get("name")): namespace(shown(section.findall("param")))
        for section in inputs.findall("section")
    }
    fields = namespace({"path": BUNDLE})
    places = {"cells": CELLS, "bundle": namespace({"fields": fields}), "descriptions": "result"}
    return {**shown(inputs.findall("param")), **sections, **places}


def c2t_words(line: str) -> list[str]:
    """The words after `c2t`, with the number of threads that Galaxy gives."""
    words = shlex.split(line.replace("${GALAXY_SLOTS:-1}", "1"))
    start = words.index("c2t")
    return words[start + 1 : words.index("&&", start)]


@pytest.mark.parametrize("test", range(3))
def test_galaxys_tests_pass(tmp_path: Path, test: int) -> None:
    """The command of each test of the wrapper, run, and what it claims of the output."""
    case = tool().findall("tests/test")[test]
    given = {str(p.get("name")): p.get("value") for p in case.iter("param")}
    command = tool().findtext("command")
    assert command
    line = render(command, galaxy_values(**given))
    words = c2t_words(line)
    check_command(words)
    for name in ("limit", "layer", "max_new_tokens", "num_beams", "counts_are"):
        assert (given.get(name) or "no such word") in words or name not in given
    bash(line, tmp_path)
    result = tmp_path / "result"
    claims = case.find("output/assert_contents")
    assert claims is not None
    for claim in claims:
        if claim.tag == "has_n_lines":
            assert len(result.read_text(encoding="utf-8").splitlines()) == int(claim.get("n", -1))
        elif claim.tag == "has_text":
            assert str(claim.get("text")) in result.read_text(encoding="utf-8")
        else:
            import h5py

            assert claim.tag == "has_h5_keys"
            with h5py.File(result) as file:
                assert str(claim.get("keys")) in file


def test_every_option_of_the_form_is_c2ts() -> None:
    values = galaxy_values(
        **{"counts_are": "log1p", "layer": "raw", "gene_column": "a b", "limit": "2"},
        **{"min_coverage": "0.5", "max_new_tokens": "9", "num_beams": "3"},
    )
    words = c2t_words(render(str(tool().findtext("command")), values))
    check_command(words)
    arguments = {p.get("argument") for p in tool().iter("param")} - {None}
    assert arguments <= set(words)
    check_command(shlex.split(str(tool().findtext("version_command")))[1:])


def test_galaxys_test_data_is_there(tmp_path: Path) -> None:
    for param in tool().iter("param"):
        if param.get("ftype"):
            assert (GALAXY / "test-data" / str(param.get("value"))).is_file()
    name, _, path = (GALAXY / "test-data/c2t_bundles.loc").read_text("utf-8").strip().split("\t")
    assert name == "tiny"
    assert Path(path.replace("${__HERE__}", str(GALAXY / "test-data"))).resolve() == BUNDLE
    again = tmp_path / "cells.h5ad"
    runpy.run_path(str(GALAXY / "make_test_cells.py"))["main"](again)
    assert again.read_bytes() == CELLS.read_bytes()
