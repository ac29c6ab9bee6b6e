"""The graphs of a joint space, compared with the PyTorch model that they were made from.

One decision: as for other bundles, each graph gets PyTorch's own input; the scores of cells and
texts are compared besides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file

from c2t.export.cellwhisperer.outline import LoadedJoint
from c2t.export.cellwhisperer.text_tokenizer import TEXTS
from c2t.export.encoders.families import encoder_family
from c2t.export.parity.result import ParityResult, compare, raise_failures
from c2t.runtime.bundle.manifest import TEXT_GRAPH
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.session import open_session
from c2t.runtime.joint.scores import joint_scores
from c2t.runtime.system.progress import progress_bar


def check_joint_parity(
    loaded: LoadedJoint, folder: Path, sequences: Sequence[Sequence[int]]
) -> list[ParityResult]:
    """Compare the graphs of a bundle folder with the model.

    Args:
        loaded: The checkpoint, float32.
        folder: Has the three graphs and `gene_embedding.safetensors`.
        sequences: Gene tokens of cells (at least one), special tokens included.

    Returns:
        Every comparison, to be kept with the bundle.

    Raises:
        ParityError: An output differs; all that do are listed.
    """
    cells, texts = _cells(loaded, sequences), _texts(loaded)
    options = EngineOptions(threads=torch.get_num_threads(), prepack=False)
    work = len(cells) + len(texts)
    results: list[ParityResult] = []
    with torch.inference_mode(), progress_bar("comparing", work, unit="cases") as advance:
        of_texts = []
        session = open_session(folder / TEXT_GRAPH, options)
        for ids in texts:
            case = f"a text of {ids.shape[1]} tokens"
            (vectors,) = session.run(["text_vectors"], {"text_ids": ids.numpy()})
            expected = loaded.model.embed_texts(ids)
            results.append(
                compare(vectors, expected.numpy(), graph="text", name="text_vectors", case=case)
            )
            of_texts.append((vectors, expected))
            advance(1)
        found = np.concatenate([vectors for vectors, _ in of_texts])
        wanted = torch.cat([expected for _, expected in of_texts])
        for case, vectors, expected, parts in _compare_cells(loaded, folder, cells, options):
            results += parts
            temperature = loaded.model.temperature
            scores = joint_scores(vectors, found, temperature)
            results.append(
                compare(
                    scores,
                    loaded.model.scores(expected, wanted).numpy(),
                    graph="joint space",
                    name="scores",
                    case=f"{case}, {len(found)} texts",
                )
            )
            advance(1)
    raise_failures(results)
    return results


def _compare_cells(
    loaded: LoadedJoint, folder: Path, cells: Sequence[torch.Tensor], options: EngineOptions
) -> Iterator[tuple[str, np.ndarray, torch.Tensor, list[ParityResult]]]:
    """Case, our vectors, PyTorch's, and the comparisons of gene tables, encoder and projector."""
    model = loaded.model
    family = encoder_family(model.encoder.config.model_type)
    tables = load_file(folder / "gene_embedding.safetensors")
    encoder = open_session(folder / "encoder.onnx", options)
    projector = open_session(folder / "projector.onnx", options)
    for tokens in cells:
        case = f"{tokens.shape[0]} x {tokens.shape[1]} genes"
        embeddings = family.embed_with_tables(model.encoder.config, tables, tokens.numpy())
        rows = family.embed(model.encoder, tokens).numpy()
        (hidden,) = encoder.run(["hidden"], {"embeddings": rows})
        expected_hidden = model.encode(tokens).contiguous()
        given = {"hidden": expected_hidden.numpy()}
        (vectors,) = projector.run(["cell_vectors"], given)
        expected = model.embed_cells(tokens)
        yield (
            case,
            vectors[:, 0],
            expected,
            [
                compare(embeddings, rows, graph="gene_embedding", name="embeddings", case=case),
                compare(hidden, given["hidden"], graph="encoder", name="hidden", case=case),
                compare(
                    vectors[:, 0],
                    expected.numpy(),
                    graph="projector",
                    name="cell_vectors",
                    case=case,
                ),
            ],
        )


def _cells(loaded: LoadedJoint, sequences: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """Gene tokens [B, S] of cells of one length: each, the shortest there is, and two together."""
    special = loaded.outline.genes.cls_token is not None
    longest = max(map(list, sequences), key=len)
    shortest = [longest[0], longest[1], longest[-1]] if special else longest[:1]
    common = min(map(len, sequences))
    batches = [[list(sequence)] for sequence in sequences]
    pair = [list(sequences[0][:common]), list(sequences[-1][:common])]
    return [torch.tensor(batch) for batch in (*batches, [shortest], pair)]


def _texts(loaded: LoadedJoint) -> list[torch.Tensor]:
    """Text tokens [1, T] of texts of the field, and of the longest text that is read."""
    outline = loaded.outline
    pieces, most = outline.tokenizer.pieces, outline.text_tokens - 2
    own = [pieces.encode(text)[:most] for text in TEXTS]
    joined = [token for ids in own for token in ids]
    own.append((joined * (1 + most // len(joined)))[:most])
    ends = outline.tokenizer
    return [torch.tensor([[ends.cls_token, *ids, ends.sep_token]]) for ids in own if ids]
