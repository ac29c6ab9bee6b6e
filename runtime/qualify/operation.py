"""OQ: the bundle writes its golden texts here, the same ones twice, and refuses what it must."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.describe.verify import Verification, verify_golden_cells
from c2t.runtime.qualify.bad_inputs import check_bad_inputs
from c2t.runtime.qualify.checks import Check, judged
from c2t.runtime.qualify.tampering import check_tampering
from c2t.runtime.system.errors import C2TError

GOLDEN, TWICE = "golden texts", "the same texts twice"
GOLDEN_EXPECTED = "each golden cell has the text that came with the bundle"
TWICE_EXPECTED = "engines that are opened anew write the same texts"


@dataclass(frozen=True, kw_only=True)
class GoldenText:
    """A golden cell, the text that came with the bundle, and the one written here."""

    cell: int
    expected: str
    actual: str
    right: bool


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What was found.

    Attributes:
        engine: What ran the graphs; "": nothing did.
        settings: How texts are made, by name.
        verification: Of the golden cells; None: they could not be described.
    """

    checks: tuple[Check, ...]
    engine: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    golden: tuple[GoldenText, ...] = ()
    verification: Verification | None = None


def check_operation(bundle: Bundle | None, scratch: Path, *, engine: str) -> Operation:
    """Check all of it.

    Args:
        bundle: An open one whose files are right; None: there is none.
        scratch: An empty folder.
        engine: See `c2t.runtime.engines.choose`.
    """
    trail = scratch / "trail"
    trail.mkdir()
    tampering = check_tampering(trail)
    if bundle is None:
        why = "the bundle could not be used"
        missing = [_not_done(GOLDEN, GOLDEN_EXPECTED, why), _not_done(TWICE, TWICE_EXPECTED, why)]
        missing.append(_not_done("refuses bad inputs", "refused, with the reason", why))
        return Operation(checks=(*missing, *tampering))
    settings = {name: str(value) for name, value in asdict(bundle.manifest.generation).items()}
    settings["search"] = _search(bundle.manifest.generation.num_beams)
    settings["engine asked for"] = engine
    inputs = scratch / "inputs"
    inputs.mkdir()
    bad = check_bad_inputs(bundle, inputs)
    try:
        first = verify_golden_cells(bundle, engine)
    except C2TError as error:
        failed = judged("OQ", GOLDEN, expected=GOLDEN_EXPECTED, actual=error.problem, passed=False)
        twice = _not_done(TWICE, TWICE_EXPECTED, "the golden cells could not be described")
        return Operation(checks=(failed, twice, *bad, *tampering), settings=settings)
    equal = first.cells - len(first.differences)
    golden = judged(
        "OQ",
        GOLDEN,
        expected=GOLDEN_EXPECTED,
        actual=f"{equal} of {first.cells} have it ({first.engine})",
        passed=not first.differences,
    )
    return Operation(
        checks=(golden, _again(bundle, first, engine), *bad, *tampering),
        engine=first.engine,
        settings=settings,
        golden=_texts(bundle, first),
        verification=first,
    )


def _again(bundle: Bundle, first: Verification, engine: str) -> Check:
    """Describe the golden cells once more; a text that is no golden one must be the same, too."""
    try:
        second = verify_golden_cells(bundle, engine)
    except C2TError as error:
        return judged("OQ", TWICE, expected=TWICE_EXPECTED, actual=error.problem, passed=False)
    once, twice = ({d.cell: d for d in run.differences} for run in (first, second))
    others = sorted(c for c in once.keys() | twice.keys() if once.get(c) != twice.get(c))
    same = f"{first.cells} cells have the same text twice"
    actual = f"cells with another text the second time: {others}" if others else same
    return judged("OQ", TWICE, expected=TWICE_EXPECTED, actual=actual, passed=not others)


def _texts(bundle: Bundle, found: Verification) -> tuple[GoldenText, ...]:
    others = {difference.cell: difference.found for difference in found.differences}
    return tuple(
        GoldenText(
            cell=number,
            expected=cell.text,
            actual=others.get(number, cell.text),
            right=number not in others,
        )
        for number, cell in enumerate(bundle.golden.cells)
    )


def _search(beams: int) -> str:
    """What a person must know of how texts are found."""
    how = "greedy" if beams == 1 else f"the best of {beams} beams"
    return f"{how}, without chance: a cell always gets the same text"


def _not_done(name: str, expected: str, why: str) -> Check:
    return Check(part="OQ", name=name, expected=expected, actual=why, outcome="not done")
