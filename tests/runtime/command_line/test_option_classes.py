"""A command that names a class of options has its fields as options, and gets an object."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
import typer.testing

from c2t.cli import app
from c2t.runtime.command_line.command_tree import command_tree
from c2t.runtime.command_line.option_classes import takes_option_classes
from c2t.runtime.command_line.reading_options import ReadingOptions, Values
from c2t.runtime.system.errors import CellFileError

READING = ("describe", "annotate", "explain", "embed", "search", "ask")
LESS = {"calibrate": {"counts-are", "filter-pass"}, "evaluate": {"counts-are", "filter-pass"}}


@dataclass(frozen=True, kw_only=True)
class Colours:
    main: Annotated[str, typer.Option(help="The one that is seen.")] = "red"
    other: Annotated[str | None, typer.Option("--second")] = None
    inner: int = 3  # no option


def parsed(*words: str, without: tuple[str, ...] = ()) -> list[object]:
    found: list[object] = []

    @takes_option_classes(without=without)
    def paint(
        wall: Annotated[str, typer.Argument()],
        *,
        coats: Annotated[int, typer.Option()] = 1,
        colours: Colours,
        dry: Annotated[bool, typer.Option("--dry")] = False,
    ) -> None:
        """Paint."""
        found.extend([wall, coats, colours, dry])

    assert paint.__doc__ == "Paint."
    shown = [*inspect.signature(paint).parameters]
    assert shown == [
        name for name in ("wall", "coats", "main", "other", "dry") if name not in without
    ]
    one = typer.Typer()
    one.command()(paint)
    result = typer.testing.CliRunner().invoke(one, [*words])
    return found or [result.output]


def test_the_fields_are_options_and_come_back_as_an_object() -> None:
    words = ("south", "--main", "blue", "--second", "grey", "--coats", "2")
    assert parsed(*words) == ["south", 2, Colours(main="blue", other="grey"), False]
    assert parsed("south", "--dry") == ["south", 1, Colours(), True]


def test_what_a_command_goes_without_stays_at_its_default() -> None:
    assert parsed("south", "--second", "grey", without=("main",))[2] == Colours(other="grey")
    (said,) = parsed("south", "--main", "blue", without=("main",))
    assert "--main" in str(said)


def test_reading_options_mean_the_same_in_every_command() -> None:
    by_name = {command.name: command for command in command_tree(app).walk()}
    words = {field.name.replace("_", "-") for field in dataclasses.fields(ReadingOptions)}
    first = {o.names[0][2:]: o for o in by_name["describe"].options if o.names[0][2:] in words}
    assert set(first) == words
    for name in (*READING, *LESS):
        mine = {o.names[0][2:]: o for o in by_name[name].options if o.names[0][2:] in words}
        assert mine == {w: o for w, o in first.items() if w not in LESS.get(name, set())}


def test_every_reading_option_reaches_the_reader(tmp_path: Path) -> None:
    table = tmp_path / "mouse.csv"
    said = ReadingOptions(
        layer="raw",
        counts_are=Values.log1p,
        gene_column="ids",
        min_coverage=0.5,
        species="mouse",
        orthologues=table,
        part="rna",
        filter_pass=False,
    )
    options = said.cell_options(cells=["a"], limit=2)
    assert (options.layer, options.values, options.gene_column) == ("raw", "log1p", "ids")
    assert (options.min_coverage, options.species, options.part) == (0.5, "mouse", "rna")
    assert (options.orthologues, options.organism) == (str(table), None)
    assert (options.cells, options.limit, options.filter_pass) == (["a"], 2, False)
    assert ReadingOptions(organism="any").cell_options().organism == "any"
    unset = ReadingOptions().cell_options()
    assert unset == type(unset)()


def test_what_contradicts_itself_is_refused() -> None:
    with pytest.raises(CellFileError, match="--species mouse and --organism any"):
        ReadingOptions(species="mouse", organism="any").cell_options()
