"""Asks published questions: the most probable of a question's options is the answer.

Two decisions. The decoder reads every option behind the prompt, and writes nothing. So no answer is
lost by its form, and models that were never taught one are compared by what they believe. And a
question that the bundle's own prompt has no place for, such as one about no cell, is put to a chat
model as it is published: a system message and a user message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from c2t.calibration.questions.question_file import CELL_TYPE, PublishedQuestion
from c2t.calibration.results.questions import AskedQuestion
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.template import fill_template, template_fields
from c2t.runtime.describe.caption_names import cell_type_place
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.describe.worker import cache_capacity
from c2t.runtime.generation.candidate_names import CandidateNames, NamePlace, candidate_names
from c2t.runtime.generation.prompt import CellPrompt, PromptRunner
from c2t.runtime.generation.scoring import CandidateScorer
from c2t.runtime.system.errors import C2TError, EvaluationError

# How CellVerse asks chat models to begin their answer; "" ends a text.
CHAT_PLACE = NamePlace(opening="Final Answer:", articles=("",), ends=("", ".", "\n"))


class QuestionAsker:
    """Asks questions of one bundle.

    Args:
        bundle: Reads gene sentences.
        options: Engine, threads and batch.

    Attributes:
        engine: What runs the decoder.

    Raises:
        EvaluationError: A bundle that reads counts, not the names of genes.
        EngineError: No engine runs here.
    """

    def __init__(self, bundle: Bundle, options: DescribeOptions) -> None:
        check_bundle(bundle)
        self._bundle = bundle
        self._fields = template_fields(bundle.manifest.template)
        describer = Describer(bundle, options)
        self._engines, self.engine = describer.engines, describer.engines.label
        capacity = None
        if self._engines.fixed_shape:
            capacity = cache_capacity(bundle.manifest, describer.generation)
        self._scorer = CandidateScorer(
            self._engines.decoder,
            PromptRunner(self._engines.decoder, (), constant=bundle.constant_prefix),
            rows=options.batch_size,
            capacity=capacity,
        )
        # Questions say their options themselves; without a place for them, the bundle names types.
        chats = "question" in self._fields or bool(bundle.manifest.chat)
        self._place = CHAT_PLACE if chats else cell_type_place(describer.fields.rules)
        # Cells of such prompts are more than the genes of one, in the order of their expression.
        self._always_chats = reads_no_such_cell(bundle)
        self._names: dict[tuple[str, ...], CandidateNames | str] = {}

    def ask(
        self,
        questions: Sequence[PublishedQuestion],
        *,
        advance: Callable[[int], None] = lambda amount: None,
    ) -> Iterator[AskedQuestion]:
        """Ask questions one by one, in their order."""
        for question in questions:
            yield self._ask(question)
            advance(1)

    def _ask(self, question: PublishedQuestion) -> AskedQuestion:
        try:
            prompt = CellPrompt(np.array(self._prompt(question), dtype=np.int32))
            names = self._candidates(question.options)
            with self._engines.exclusive():
                (scores,) = names.combine(self._scorer.score([prompt], names.trie))
        except C2TError as error:
            return _result(question, None, None, None, error.problem)
        if np.isnan(scores).any():
            return _result(question, None, None, None, "the decoder's logits are not finite")
        total = float(np.logaddexp.reduce(scores))
        best = int(scores.argmax())
        share = float(np.exp(scores[best] - total))
        return _result(question, question.options[best], share, float(np.exp(total)), None)

    def _prompt(self, question: PublishedQuestion) -> tuple[int, ...]:
        """Text tokens of the prompt.

        Raises:
            C2TError: The bundle has no place for such a question, or it is too long.
        """
        manifest = self._bundle.manifest
        sentence = manifest.gene_sentence
        assert sentence is not None
        if manifest.chat and (self._always_chats or not question.genes):
            turns = {"instruction": question.instruction, "question": question.message}
            (ids,) = fill_template(manifest.chat, self._bundle.text_encoder, turns)
            return ids
        genes = question.genes[: sentence.genes]
        if not genes and "genes" in self._fields:
            problem = "it asks about no cell, and the bundle's prompt has the genes of one"
            raise C2TError(problem, hint="ask a bundle whose prompt is the question alone")
        if "question" not in self._fields and question.task != CELL_TYPE:
            problem = "the bundle's prompt asks for the cell type alone"
            raise C2TError(problem, hint="ask a bundle whose prompt has a place for a question")
        text = question.text
        if "genes" not in self._fields and question.genes:
            text = f"{text}\n{{gene_names}}: {sentence.separator.join(genes)}"
        values = {
            "genes": sentence.separator.join(genes),
            "count": str(len(genes)),
            "organism": next(iter(sentence.organisms.values())),
            "question": text,
        }
        (ids,) = fill_template(manifest.template, self._bundle.text_encoder, values)
        return ids

    def _candidates(self, options: tuple[str, ...]) -> CandidateNames:
        found = self._names.get(options)
        if found is None:
            try:
                found = candidate_names(self._bundle, options, self._place)
            except C2TError as error:
                found = error.problem
            self._names[options] = found
        if isinstance(found, str):
            raise C2TError(found, hint="its options cannot be compared")
        return found


def check_bundle(bundle: Bundle) -> None:
    """Refuse bundles that cannot be asked published questions.

    Raises:
        EvaluationError: Says why.
    """
    manifest = bundle.manifest
    if manifest.gene_sentence is None:
        problem = f"the questions name genes in their order, and {manifest.name!r} reads counts"
        raise EvaluationError(problem, hint="ask a bundle of gene sentences: see `c2t info`")
    if reads_no_such_cell(bundle) and not manifest.chat:
        problem = f"the prompt of {manifest.name!r} is one of several cells"
        if manifest.gene_sentence.listed:
            problem = f"{manifest.name!r} reads the genes of a cell in another order"
        raise EvaluationError(problem, hint="ask a bundle whose prompt has one cell, or a chat's")


def reads_no_such_cell(bundle: Bundle) -> bool:
    """Whether the cells of its prompt are others than the genes that a question names."""
    sentence, fields = bundle.manifest.gene_sentence, template_fields(bundle.manifest.template)
    return bool(fields & {"cells", "labels"}) or (sentence is not None and sentence.listed > 0)


def _result(
    question: PublishedQuestion,
    answer: str | None,
    probability: float | None,
    mass: float | None,
    error: str | None,
) -> AskedQuestion:
    return AskedQuestion(
        task=question.task,
        options=len(question.options),
        right=question.right,
        answer=answer,
        probability=probability,
        mass=mass,
        error=error,
    )
