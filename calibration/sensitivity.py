"""How much each product's quantisation alone disturbs the model, and which to leave out first.

One decision: every product gets the cheap figure (the noise in its own output, from calibration);
the few noisiest get the telling one: how far the decoder's next-token distributions move when that
product alone is quantised, along texts that the float32 bundle wrote.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from c2t.calibration.calibration_plan import CalibrationPlan, ProductReport
from c2t.calibration.comparison import force
from c2t.calibration.products import StoredGraph
from c2t.calibration.quantised_graph import write_quantised
from c2t.calibration.recipe import GraphRecipe
from c2t.calibration.system_inputs import CalibrationCell
from c2t.calibration.teacher_forcing import TeacherForcing
from c2t.runtime.bundle import GRAPHS, Bundle
from c2t.runtime.engine import EngineOptions
from c2t.runtime.manifest import Manifest
from c2t.runtime.onnxruntime_engine import open_engines
from c2t.runtime.progress import progress_bar

# Texts that a product is judged along.
FORCED_CELLS = 6


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """One product.

    Args:
        graph: File of its graph.
        product: Its name.
        sqnr: Of its output, in dB.
        kl: Mean KL(float32 || quantised) of a text token, in nats, with this product alone
            quantised; None where it was not measured.
    """

    graph: str
    product: str
    sqnr: float
    kl: float | None = None


def rank(reports: Sequence[ProductReport]) -> list[Sensitivity]:
    """All products, the noisiest first."""
    found = [Sensitivity(graph=r.graph, product=r.product, sqnr=r.sqnr) for r in reports]
    return sorted(found, key=lambda s: (s.sqnr, s.graph, s.product))


def measure_divergence(
    bundle: Bundle,
    plan: CalibrationPlan,
    ranked: Sequence[Sensitivity],
    cells: Sequence[CalibrationCell],
    *,
    worst: int,
    scratch: Path,
    threads: int | None,
) -> list[Sensitivity]:
    """Measure KL for the `worst` first of a ranking, and put them in order of it.

    Args:
        bundle: The float32 bundle.
        plan: The calibration.
        ranked: All products, the noisiest first.
        cells: Cells with the float32 bundle's texts.
        worst: How many products to measure.
        scratch: Where changed graphs can lie for a while; best beside the bundle.
        threads: Threads of the engines.
    """
    cells = [cell for cell in cells if cell.text_tokens][:FORCED_CELLS]
    measured = []
    with progress_bar("sensitivity", min(worst, len(ranked)), unit="products") as advance:
        for item in ranked[:worst]:
            measured.append(
                replace(item, kl=_divergence(bundle, plan, item, cells, scratch, threads))
            )
            advance(1)
    measured.sort(key=lambda s: -(s.kl or 0.0))
    return [*measured, *ranked[worst:]]


def _divergence(
    bundle: Bundle,
    plan: CalibrationPlan,
    item: Sensitivity,
    cells: Sequence[CalibrationCell],
    scratch: Path,
    threads: int | None,
) -> float:
    """Mean KL of a text token with one product quantised."""
    if not cells:
        return 0.0
    longest = max(len(cell.text_tokens) for cell in cells)
    # Opened for a few texts: packing weights would cost more time and memory than it saves.
    options = EngineOptions(threads=threads, spin=False, prepack=False)
    # Nothing is folded for the other products either, so that their weights need no copy.
    alone = GraphRecipe(products={item.product: plan.recipes[item.graph].products[item.product]})
    with _one_graph(bundle, item.graph, alone, scratch) as files:
        systems = [
            TeacherForcing(bundle, engines, longest=longest, threads=threads)
            for engines in (open_engines(files, options), open_engines(bundle, options))
        ]
        found = list(
            force(
                systems[0],
                systems[1],
                ((c.gene_tokens, c.gene_tokens, c.text_tokens) for c in cells),
            )
        )
        del systems
    return sum(f.kl for f in found) / sum(f.tokens for f in found)


@dataclass(frozen=True)
class _Files:
    """A bundle's graphs with one of them replaced."""

    manifest: Manifest
    bundle: Bundle
    name: str
    changed: Path

    def file(self, name: str) -> Path:
        """The changed graph, or the bundle's."""
        return self.changed if name == self.name else self.bundle.file(name)


@contextmanager
def _one_graph(bundle: Bundle, name: str, recipe: GraphRecipe, scratch: Path) -> Iterator[_Files]:
    """Write one changed graph to a temporary folder, with no copy of what stays as it was."""
    assert name in GRAPHS
    with TemporaryDirectory(prefix=".c2t-", dir=scratch) as folder:
        path = Path(folder) / f"changed.{name}"
        data = bundle.file(f"{name}.data")
        try:
            os.link(data, path.with_name(data.name))
        except OSError:  # another file system, or one without links
            share = False
        else:
            share = True
        write_quantised(StoredGraph(bundle.file(name)), path, recipe, share=share)
        yield _Files(bundle.manifest, bundle, name, path)
