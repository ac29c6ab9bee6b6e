"""Labels compared for cells in a joint space: the softmax of scores, without a decoder.

One decision: a label is read as it is given, unless the caller puts it into a sentence: the space
was trained on sentences, and which ones is the model's affair.

Source: Radford et al., 2021 (zero-shot classification by a joint space).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.tasks import ANNOTATE
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.describe.embedder import Embedder
from c2t.runtime.describe.labelled_cell import LabelledCell
from c2t.runtime.describe.several_texts import several_texts
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.joint.scores import joint_scores, label_log_probabilities
from c2t.runtime.joint.text_tower import TextTowerEngine
from c2t.runtime.system.errors import C2TError

LABEL_FIELD = "{label}"
DEFAULT_TEMPLATE = LABEL_FIELD
TEMPLATE_LETTERS_MAX = 2000


class JointAnnotator:
    """Compares labels for cells by a joint space; threads may share it.

    Args:
        bundle: A bundle with a joint space of cells and texts.
        labels: Different labels.
        embedder: Has the encoder; made of the same bundle.
        template: A text with {label} in it.
        temperature: What log probabilities are divided by; fitted by
            `c2t.runtime.annotate.calibration`.
        tower: Has the text tower; made of the same bundle. None: opened here.

    Attributes:
        doubts: What the user should know about the labels, a sentence each.

    Raises:
        BundleError: The bundle has no joint space.
        C2TError: A template without {label}, a label that is empty or there twice, a temperature
            that is none.
        EngineError: The text tower fails.
    """

    def __init__(
        self,
        bundle: Bundle,
        labels: Sequence[str],
        embedder: Embedder,
        *,
        template: str = DEFAULT_TEMPLATE,
        temperature: float = 1.0,
        tower: TextTowerEngine | None = None,
    ) -> None:
        bundle.manifest.need_task(ANNOTATE)
        labels = several_texts(labels, "label")
        check_template(template)
        if not (np.isfinite(temperature) and temperature > 0):
            problem = f"temperature is {temperature}"
            raise C2TError(problem, hint="give a number above 0; 1 changes nothing")
        if len(set(labels)) < len(labels):
            problem = "a label is there twice"
            raise C2TError(problem, hint="give different labels")
        self.labels = labels
        self._embedder = embedder
        self._scale = bundle.manifest.space.temperature
        self._temperature = temperature
        tower = tower or TextTowerEngine(bundle, EngineOptions(threads=embedder.options.threads))
        texts = tower.encode([template.replace(LABEL_FIELD, label) for label in labels])
        self._vectors = texts.vectors
        self.doubts = texts.warnings

    def annotate(self, cells: CellReader | Iterable[EncodedCells]) -> Iterator[LabelledCell]:
        """Compare the labels for each cell, in the order of the cells.

        The log probabilities are among the labels: their mass is 1 for every cell.

        Args:
            cells: A cell reader, or chunks of encoded cells.

        Raises:
            CellFileError: The file cannot be read further.
            EngineError: The engine fails for every cell of the first batches.
        """
        for part in self._embedder.embed(cells):
            assert part.joint is not None
            logs = label_log_probabilities(joint_scores(part.joint, self._vectors, self._scale))
            for place, (name, error) in enumerate(zip(part.ids, part.errors, strict=True)):
                yield LabelledCell(
                    cell=str(name),
                    labels=self.labels,
                    log_probabilities=None if error else logs[place],
                    temperature=self._temperature,
                    genes_used=int(part.genes_used[place]),
                    error=error,
                )


def check_template(template: str) -> None:
    """Refuse a text that labels cannot be put into.

    Raises:
        C2TError: It has no {label}, or is too long.
    """
    if LABEL_FIELD not in template or len(template) > TEMPLATE_LETTERS_MAX:
        problem = f"the template of labels is {template[:60]!r}"
        hint = f"give a text with {LABEL_FIELD} in it, of at most {TEMPLATE_LETTERS_MAX} letters"
        raise C2TError(problem, hint=hint)


def template_refused() -> C2TError:
    """Why a bundle with a decoder takes no template."""
    problem = "a template of labels is for a joint space; this bundle's decoder reads captions"
    return C2TError(problem, hint="leave --label-template or label_template out")
