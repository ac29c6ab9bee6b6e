"""Chosen cells of a file through a bundle into evidence: `c2t explain` as a function.

One decision: which cells is always said, as each takes hundreds of runs. With groups, a random
sample of each is explained, and its cells are taken together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path

import c2t
from c2t.runtime.audit.trail import AuditTrail
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.tasks import EXPLAIN
from c2t.runtime.cells.formats.place import check_cells_path
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader, open_cells
from c2t.runtime.describe.describer import DescribeOptions, Describer, check_options
from c2t.runtime.describe.explainer import Explainer
from c2t.runtime.explain.evidence import CellEvidence
from c2t.runtime.explain.gene_names import GeneNames
from c2t.runtime.explain.groups import (
    GROUPS_MAX,
    GroupEvidence,
    group_evidence,
    sample_groups,
)
from c2t.runtime.explain.options import ExplainOptions
from c2t.runtime.labels.measured import check_labels
from c2t.runtime.output.audited_run import RunAudit
from c2t.runtime.output.cells_mark import CellsMark
from c2t.runtime.output.evidence.files import check_format, json_line
from c2t.runtime.output.evidence.kept import KeptEvidence, explained
from c2t.runtime.output.evidence.rows import CELL_COLUMNS, GROUP_COLUMNS, Evidence
from c2t.runtime.output.kept_cells import forgetting, keeping, run_mark
from c2t.runtime.output.not_cells import check_not_cells
from c2t.runtime.output.run_settings import run_settings
from c2t.runtime.system.errors import C2TError, CellFileError
from c2t.runtime.system.files import atomic_file, check_target
from c2t.runtime.system.progress import progress_bar
from c2t.runtime.system.words import counted


@dataclass(frozen=True, kw_only=True)
class ExplainFileOptions:
    """What to explain and where to write it.

    Args:
        cells: The file of cells.
        output: The file to write, its suffix says the format; None: what is found is passed on.
        force: Replace an existing file.
        restart: Forget what an interrupted run left.
        group_by: Column of `obs`; None: cells are explained one by one.
        per_group: Most cells of a group.
        top: Most genes of a cell or group; None: all that were left out.
        reading: How to read the cells, and which.
        describing: How their texts are written.
        explaining: Which words, and how many runs a cell may take.

    Raises:
        C2TError: A number that is too small.
    """

    cells: Path
    output: Path | None = None
    force: bool = False
    restart: bool = False
    group_by: str | None = None
    per_group: int = 20
    top: int | None = None
    reading: CellOptions = field(default_factory=CellOptions)
    describing: DescribeOptions = field(default_factory=DescribeOptions)
    explaining: ExplainOptions = field(default_factory=ExplainOptions)

    def __post_init__(self) -> None:
        for name, value in (("per_group", self.per_group), ("top", self.top)):
            if value is not None and value < 1:
                problem = f"{name} is {value}"
                raise C2TError(problem, hint="give a number of at least 1")


@dataclass(frozen=True, kw_only=True)
class Explained:
    """What was done.

    Args:
        cells: Cells that were explained or have an error.
        failed: Those with an error.
        error: The most frequent one; None where there is none.
        groups: Groups; 0 without `group_by`.
        runs: Encoder runs of all.
        outputs: Files that were written.
    """

    cells: int
    failed: int
    error: str | None
    groups: int
    runs: int
    outputs: tuple[str, ...]


class _Tally:
    """Counts the cells that pass, and shows how far the runs are."""

    def __init__(self, runs: int, advance: Callable[[int], None], *, earlier: int) -> None:
        self._most, self._advance, self._earlier = runs, advance, earlier
        self.cells = self.runs = 0
        self.errors: Counter[str] = Counter()

    def pass_on(self, cells: Iterable[CellEvidence]) -> Iterator[CellEvidence]:
        for cell in cells:
            self.cells += 1
            self.runs += cell.runs
            if cell.error is not None:
                self.errors[cell.error] += 1
            # Its runs were shown when they were done, unless that was in an earlier run.
            shown = 0 if self.cells <= self._earlier else cell.runs
            self._advance(self._most - shown)
            yield cell


def check_explain_paths(options: ExplainFileOptions) -> None:
    """Refuse paths that would make the run fail. This needs no bundle, so it comes first.

    Raises:
        CellFileError: No readable file of cells.
        OutputError: A file that must not or cannot be written, or of no known format.
    """
    if options.output is not None:
        check_format(options.output)
        check_not_cells(options.output, options.cells)
        check_target(options.output, force=options.force)
    check_cells_path(options.cells)


def explain_file(
    bundle: Bundle,
    options: ExplainFileOptions,
    *,
    pass_on: Callable[[Evidence], None],
    report: Callable[[str], None],
    progress: bool = True,
    audit: AuditTrail | None = None,
    audit_reason: str = "",
) -> Explained:
    """Explain cells or groups of a file.

    Args:
        bundle: The model; its hashes have been compared.
        options: What to explain.
        pass_on: Takes each cell's or group's evidence where there is no file to write.
        report: Told what the user should know.
        progress: Show how far the runs are; not where what is passed on goes to the same terminal.
        audit: Told what is done: see `c2t.runtime.output.audited_run`.
        audit_reason: Why settings are others than before.

    Raises:
        C2TError: A setting that is too small, no such field, or a label that cannot be written.
        BundleError: A file of the bundle changed meanwhile.
        CellFileError: The file cannot be read as counts over known genes, or has no such column.
        OutputError: A place that cannot be written, or the file of cells changed meanwhile.
        EngineError: No engine runs here.
        AuditError: The audit trail takes no line.
    """
    bundle.manifest.need_task(EXPLAIN)
    check_explain_paths(options)
    check_options(bundle, options.describing)
    audited = RunAudit(audit, options.cells, scope="explain", reason=audit_reason)
    mark = CellsMark.of(options.cells)  # before anything of it is read
    with open_cells(options.cells, bundle, options.reading) as reader:
        sizes, sampled = _keep_groups(reader, options)
        for sentence in (reader.counts_report.sentence, reader.gene_report.sentence):
            report(sentence)
        for warning in reader.warnings:
            report(f"warning: {warning}")
        describer = Describer(bundle, options.describing)
        runs = options.explaining.runs
        bar = progress_bar("explaining", runs * reader.n_cells, unit="runs")
        about = _about(bundle, options, describer)

        settings = _settings(bundle, options, reader)
        audited.start(
            bundle,
            engine=describer.engines.label,
            cells=reader.n_cells,
            version=c2t.__version__,
            settings=settings,
            files={},
        )
        run = run_mark("explain", bundle, mark, reader.cell_index, settings)

        def passed(one: Evidence) -> None:
            audited.printed(json_line(one, options.top))
            pass_on(one)

        with keeping(
            options.output, run, reader.cell_index, kind=KeptEvidence, restart=options.restart
        ) as journal:

            def check() -> None:
                with forgetting(journal):
                    bundle.check_unchanged()
                    audited.check_cells()
                    mark.check_unchanged(options.cells, hint="run again")

            with bar if progress or sampled else nullcontext(_ignore) as advance:
                names = GeneNames(bundle.genes, reader)
                explainer = Explainer(
                    bundle, describer, options.explaining, names=names, advance=advance
                )
                for doubt in explainer.doubts:
                    report(f"warning: {doubt}")
                cells_said = counted(reader.n_cells, "cell")
                report(f"{cells_said}, at most {runs:,} runs each; {describer.reason}")
                earlier = 0 if journal is None else journal.done
                if earlier:
                    report(
                        f"going on after {earlier:,} of {cells_said} that an earlier run explained"
                    )
                tally = _Tally(runs, advance, earlier=earlier)
                cells = tally.pass_on(explained(explainer, reader, journal))
                if sampled:
                    groups = list(_by_group(cells, reader, sizes, sampled))
                else:
                    _deliver(cells, options, passed, about=about, check=check)
            if sampled:  # when the bar is gone
                _deliver(groups, options, passed, about=about, check=check)
    done = Explained(
        cells=tally.cells,
        failed=tally.errors.total(),
        error=tally.errors.most_common(1)[0][0] if tally.errors else None,
        groups=len(sampled),
        runs=tally.runs,
        outputs=() if options.output is None else (str(options.output),),
    )
    audited.stop(cells=done.cells, failed=done.failed, outputs=done.outputs)
    return done


def _ignore(amount: int) -> None:
    pass


def _deliver(
    found: Iterable[Evidence],
    options: ExplainFileOptions,
    pass_on: Callable[[Evidence], None],
    *,
    about: dict[str, object],
    check: Callable[[], None],
) -> None:
    """Write or pass on; `check` raises at the end if what is there came of changed files."""
    if options.output is None:
        for one in found:
            pass_on(one)
        check()
        return
    columns = CELL_COLUMNS if options.group_by is None else GROUP_COLUMNS
    write = check_format(options.output)
    with atomic_file(options.output, force=options.force) as path:
        write(path, found, columns, options.top, about)
        check()


def _keep_groups(
    reader: CellReader, options: ExplainFileOptions
) -> tuple[dict[str, int], dict[str, list[int]]]:
    """Choose a sample of each group, the only cells that the reader keeps.

    Returns:
        The size of each group, and the positions in the file of its sample; nothing without groups.

    Raises:
        CellFileError: No such column, or one of measurements; no cell in any group, or too many
            groups.
    """
    column = options.group_by
    if column is None:
        return {}, {}
    if column not in reader.obs_columns:
        shown = ", ".join(reader.obs_columns[:12]) or "no columns"
        problem = f"{reader.name} has no column {column!r} in `obs`"
        raise CellFileError(problem, hint=f"it has {shown}")
    labels = reader.obs_column(column)
    check_labels(column, labels)
    chosen = sample_groups(labels, most=options.per_group, seed=options.explaining.seed)
    if not chosen:
        problem = f"no cell of {reader.name} is in a group of {column!r}"
        raise CellFileError(problem, hint="name another column with --group-by")
    if len(chosen) > GROUPS_MAX:
        problem = f"{column!r} has {len(chosen):,} groups; at most {GROUPS_MAX} are explained"
        raise CellFileError(problem, hint="name a column of types or clusters with --group-by")
    positions = reader.cell_index.tolist()
    sampled = {group: [positions[cell] for cell in cells] for group, cells in chosen.items()}
    reader.keep(sorted(cell for cells in chosen.values() for cell in cells))
    return dict(Counter(labels)), sampled


def _by_group(
    cells: Iterable[CellEvidence],
    reader: CellReader,
    sizes: dict[str, int],
    sampled: dict[str, list[int]],
) -> Iterator[GroupEvidence]:
    """The groups, in alphabetical order; all cells are explained before the first."""
    by_position = dict(zip(reader.cell_index.tolist(), cells, strict=True))
    for group, positions in sampled.items():
        of_group = [by_position[position] for position in positions]
        yield group_evidence(group, sizes[group], of_group)


def _settings(bundle: Bundle, options: ExplainFileOptions, reader: CellReader) -> dict[str, str]:
    """All that changes what is found, by name."""
    explaining = {name: str(value) for name, value in asdict(options.explaining).items()}
    groups = {"group by": str(options.group_by), "per group": str(options.per_group)}
    return {
        **run_settings(bundle, options.describing, reader),
        **explaining,
        **(groups if options.group_by is not None else {}),
        "top": str(options.top),
    }


def _about(bundle: Bundle, options: ExplainFileOptions, describer: Describer) -> dict[str, object]:
    return {
        "bundle": bundle.manifest.name,
        "bundle_sha256": bundle.digest,
        "c2t_version": c2t.__version__,
        "engine": describer.engines.label,
        "explaining": asdict(options.explaining),
        "group_by": options.group_by,
        "per_group": options.per_group,
    }
