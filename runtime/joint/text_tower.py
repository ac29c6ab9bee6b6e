"""The text tower of a bundle: texts become vectors of the joint space, on the CPU.

One decision: a text that is too long is cut, as in training, and whoever asked is told so. Texts of
equal length share a batch; nothing is padded, so a text's vector does not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.joint_space import TextTower
from c2t.runtime.bundle.manifest import TEXT_GRAPH
from c2t.runtime.engine_protocol import ENCODER_BATCH_TOKENS, EngineOptions, Float32
from c2t.runtime.engines.cpu.session import RUN_HINT, open_session
from c2t.runtime.engines.onnxruntime_library import onnxruntime_errors
from c2t.runtime.joint.word_pieces import WordPieces, open_word_pieces
from c2t.runtime.system.errors import C2TError, EngineError, first_line

TEXTS_MAX = 10_000
SHOWN = 60  # letters of a text in a message
TEXT_TOKENIZER = "text_tokenizer.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedTexts:
    """Texts in the joint space.

    Attributes:
        texts: As they were given.
        vectors: [N, J] float32 of length 1.
        tokens: Text tokens of each that were read, [CLS] and [SEP] included.
        cut: Places of the texts that were too long, and so were read in part.
    """

    texts: tuple[str, ...]
    vectors: Float32
    tokens: tuple[int, ...]
    cut: tuple[int, ...]

    @property
    def warnings(self) -> list[str]:
        """What was cut, a sentence; none if nothing was."""
        if not self.cut:
            return []
        first = self.texts[self.cut[0]]
        shown = first if len(first) <= SHOWN else f"{first[:SHOWN]}..."
        more = f" and {len(self.cut) - 1:,} more" if len(self.cut) > 1 else ""
        most = max(self.tokens)
        return [f"a text is longer than the {most} tokens that are read of it: {shown!r}{more}"]


class TextTowerEngine:
    """The opened text tower; threads may share it.

    Args:
        bundle: A bundle with a text tower.
        options: Threads and memory.

    Raises:
        BundleError: It has none, or its tokenizer is not as the manifest says.
        EngineError: The graph cannot be opened.
    """

    def __init__(self, bundle: Bundle, options: EngineOptions | None = None) -> None:
        self._spec: TextTower = bundle.manifest.text_tower
        self._size = bundle.manifest.space.size
        self._pieces: WordPieces = open_word_pieces(bundle.file(TEXT_TOKENIZER))
        check_pieces(self._pieces, self._spec)
        # A text takes milliseconds: idle threads must not spin beside those of the encoder.
        options = replace(options or EngineOptions(), spin=False)
        self._session = open_session(bundle.file(TEXT_GRAPH), options)

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        """Vectors of texts.

        Args:
            texts: At least one, at most `TEXTS_MAX`.

        Raises:
            C2TError: A text is empty or far too long, or there are too many.
            EngineError: A run failed.
        """
        if not 0 < len(texts) <= TEXTS_MAX:
            problem = f"{len(texts):,} texts were given"
            raise C2TError(problem, hint=f"give 1 to {TEXTS_MAX:,}")
        ids, cut = [], []
        for place, text in enumerate(texts):
            own = self._pieces.encode(text)
            if not own:
                problem = f"text {place + 1} is empty: {text[:SHOWN]!r}"
                raise C2TError(problem, hint="say in words what the cells are")
            room = self._spec.input_size - 2
            if len(own) > room:
                cut.append(place)
            ids.append([self._spec.cls_token, *own[:room], self._spec.sep_token])
        vectors = np.empty((len(ids), self._size), dtype=np.float32)
        for group in _equally_long(ids):
            vectors[group] = self._run(np.array([ids[place] for place in group], dtype=np.int64))
        return EncodedTexts(
            texts=tuple(texts),
            vectors=vectors,
            tokens=tuple(map(len, ids)),
            cut=tuple(cut),
        )

    def _run(self, ids: np.ndarray) -> Float32:
        try:
            (vectors,) = self._session.run(["text_vectors"], {"text_ids": ids})
        except onnxruntime_errors() as error:
            problem = f"the text tower failed on {list(ids.shape)} tokens: {first_line(error)}"
            raise EngineError(problem, hint=RUN_HINT) from error
        if not np.isfinite(vectors).all():
            problem = "the text tower gave numbers that are not finite"
            raise EngineError(problem, hint=RUN_HINT)
        found: Float32 = vectors
        return found


def check_pieces(pieces: WordPieces, spec: TextTower) -> None:
    """Refuse a tokenizer with tokens that the tower has no row for.

    Raises:
        BundleError: Of a bundle that was put together from two.
    """
    from c2t.runtime.system.errors import BundleError

    most = max(*pieces.vocabulary.values(), spec.cls_token, spec.sep_token)
    if most >= spec.vocabulary_size:
        problem = (
            f"{TEXT_TOKENIZER} has text token {most}, the text tower {spec.vocabulary_size} rows"
        )
        raise BundleError(problem, hint="export the bundle again")


def _equally_long(ids: Sequence[Sequence[int]]) -> list[list[int]]:
    """Places of texts of one length, as many together as a batch takes."""
    groups: dict[int, list[list[int]]] = {}
    for place, own in enumerate(ids):
        of_length = groups.setdefault(len(own), [[]])
        if of_length[-1] and (len(of_length[-1]) + 1) * len(own) > ENCODER_BATCH_TOKENS:
            of_length.append([])
        of_length[-1].append(place)
    return [group for of_length in groups.values() for group in of_length]
