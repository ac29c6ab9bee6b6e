"""Which of the species that a bundle knows the cells of a file are.

One decision: the file is asked as if the bundle knew each species alone (`organism`). What refuses
the file for one of them speaks for the others. Where nothing speaks against two of them, the first
is taken, and that is said.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from c2t.runtime.cells.genes.organism import (
    ANY,
    NameColumn,
    OrganismReport,
    Statement,
    check_organism,
)
from c2t.runtime.cells.genes.species import Species, named_species
from c2t.runtime.system.errors import CellFileError


@dataclass(frozen=True, kw_only=True)
class JudgedSpecies:
    """The species of the cells of a file.

    Args:
        species: Of the cells of which nothing else is said.
        by_column: Where cells differ: for a column of `obs`, the species of the cells of each text.
        cell_errors: Likewise the errors of cells of other species.
        warnings: What is doubtful.
    """

    species: Species
    by_column: dict[str, dict[str, str]] = field(default_factory=dict)
    cell_errors: dict[str, dict[str, str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def judge_species(
    known: Sequence[Species],
    statements: Sequence[Statement],
    columns: Sequence[NameColumn],
    *,
    genomes: Collection[Species] = (),
    told: str | None = None,
    allowed: str | None = None,
) -> JudgedSpecies:
    """Find the species.

    Args:
        known: Those that the bundle knows, at least one.
        statements: What the file says in words.
        columns: Columns with names of genes.
        genomes: Those whose genomes stand in front of names of genes.
        told: What the user says the cells are; the file must not speak against it.
        allowed: What the user says the cells are, whatever the file says; "any" takes all.

    Raises:
        CellFileError: The cells are of no species that the bundle knows, or the user says so.
    """
    if told is not None:
        one = _one_of(known, told, "--species")
        return _judged(one, check_organism(one, statements, columns, told_species=one))
    if allowed is not None and allowed.strip().lower() != ANY:
        one = _one_of(known, allowed, "--organism")
        return _judged(one, check_organism(one, statements, columns, allowed=one.name))
    reports, refused = dict[Species, OrganismReport](), list[CellFileError]()
    for species in known:
        try:
            reports[species] = check_organism(species, statements, columns)
        except CellFileError as error:
            refused.append(error)
    if reports:
        return _fitting(reports, statements, genomes)
    if allowed is not None:
        return _judged(known[0], check_organism(known[0], statements, columns, allowed=ANY))
    if len(known) == 1:
        raise refused[0]
    said = refused[0].problem.partition("another species: ")[2]
    problem = f"the bundle knows {_names(known)} cells, but these look like others: {said}"
    hint = f"if they are of one of these, pass `--organism {known[0].name}` or another of them"
    raise CellFileError(problem, hint=hint)


def _one_of(known: Sequence[Species], text: str, option: str) -> Species:
    """The species that the user names."""
    found = named_species(text) or []
    if len(found) == 1 and found[0] in known:
        return found[0]
    problem = f"{option} {text}: the bundle knows {_names(known)} cells"
    raise CellFileError(problem, hint=f"give one of them, such as `{option} {known[0].name}`")


def _judged(species: Species, report: OrganismReport) -> JudgedSpecies:
    return JudgedSpecies(
        species=species, cell_errors=report.cell_errors, warnings=list(report.warnings)
    )


def _fitting(
    reports: dict[Species, OrganismReport],
    statements: Sequence[Statement],
    genomes: Collection[Species],
) -> JudgedSpecies:
    """What to take of the species that nothing speaks against."""
    first = next(iter(reports))
    if len(reports) == 1:
        return _judged(first, reports[first])
    mixed = {column for report in reports.values() for column in report.cell_errors}
    if not mixed:
        found = list(reports)
        warning = f"nothing in the file says whether its cells are of {_names(found)}"
        if set(found) <= set(genomes):
            warning = f"names of genes have genomes of {' and '.join(s.name for s in found)}"
        warning += f": taken as {first.name}; if they are not, pass `--organism {found[1].name}`"
        return JudgedSpecies(species=first, warnings=[warning])
    by_column = dict[str, dict[str, str]]()
    errors = dict[str, dict[str, str]]()
    for column in sorted(mixed):
        here = {s: report.cell_errors.get(column, {}) for s, report in reports.items()}
        for text in sorted({text for texts in here.values() for text in texts}):
            fits = [species for species, texts in here.items() if text not in texts]
            if fits:
                by_column.setdefault(column, {})[text] = fits[0].name
            else:
                errors.setdefault(column, {})[text] = here[first][text]
    known = _names(list(reports))
    warnings = list[str]()
    for said in statements:
        where = f"{said.place} is `{said.text}` for {said.cells:,} cells"
        if said.text in errors.get(said.obs_column, {}):
            warnings.append(f"{where}: these get an error, since the bundle knows {known} cells")
        elif said.text not in by_column.get(said.obs_column, {said.text: ""}):
            warnings.append(f"{where}: taken as {first.name}")
    return JudgedSpecies(species=first, by_column=by_column, cell_errors=errors, warnings=warnings)


def _names(species: Sequence[Species]) -> str:
    return " or ".join(one.name for one in species)
