"""Every output of every graph of a bundle, compared with PyTorch's.

One decision: each graph gets PyTorch's own input, so that a failure names the graph that is wrong.
All failures are collected before the one error is raised.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors.numpy import load_file
from transformers import PreTrainedModel

from c2t.export.encoders.families import encoder_family
from c2t.export.model.loaded_checkpoint import LoadedCheckpoint
from c2t.export.model.model import Cell2TextModel
from c2t.export.parity.decoder import CASES, check_decoder
from c2t.export.parity.result import ParityResult, compare, raise_failures
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.session import open_session
from c2t.runtime.system.progress import Advance, progress_bar


def check_parity(
    loaded: LoadedCheckpoint, bundle: Path, sequences: Sequence[Sequence[int]]
) -> list[ParityResult]:
    """Compare the graphs of a bundle folder with the model that they were made from.

    Args:
        loaded: The checkpoint, float32.
        bundle: Folder with the three graphs and `gene_embedding.safetensors`.
        sequences: Gene tokens of real cells (at least one), special tokens included.

    Returns:
        Every comparison, to be kept with the bundle.

    Raises:
        ParityError: An output differs; all that do are listed.
    """
    model = loaded.model
    batches = list(_encoder_batches(model, sequences))
    work = len(batches) + len(CASES)
    with torch.inference_mode(), progress_bar("comparing", work, unit="cases") as advance:
        results = [
            *_check_encoder_and_projector(model, bundle, batches, advance),
            *check_decoder(
                model.decoder,
                bundle / "decoder.onnx",
                [
                    model.prompt_embeddings(cell, loaded.prompt)
                    for cell in _two_cells(model, sequences)
                ],
                prefix=len(loaded.prompt.prefix_ids),
                options=_engine_options(),
                advance=advance,
            ),
        ]
    raise_failures(results)
    return results


def check_text_parity(
    decoder: PreTrainedModel, bundle: Path, prompts: Sequence[Sequence[int]]
) -> list[ParityResult]:
    """Compare the decoder graph of a bundle folder with the model that it was made from.

    Args:
        decoder: float32, in evaluation mode.
        bundle: Folder with `decoder.onnx`.
        prompts: Text tokens of whole prompts (at least one); the longest and the shortest are run.

    Returns:
        Every comparison, to be kept with the bundle.

    Raises:
        ParityError: An output differs; all that do are listed.
    """
    longest, shortest = max(prompts, key=len), min(prompts, key=len)
    table = decoder.get_input_embeddings()
    with torch.inference_mode(), progress_bar("comparing", len(CASES), unit="cases") as advance:
        results = [
            *check_decoder(
                decoder,
                bundle / "decoder.onnx",
                [table(torch.tensor(list(ids))) for ids in (longest, shortest)],
                prefix=common_beginning(longest, shortest),
                options=_engine_options(),
                advance=advance,
            )
        ]
    raise_failures(results)
    return results


def common_beginning(one: Sequence[int], other: Sequence[int]) -> int:
    """How many text tokens two prompts have in common at their beginning."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _engine_options() -> EngineOptions:
    """As many threads as PyTorch. The weights stay mapped: the model's are in memory already."""
    return EngineOptions(threads=torch.get_num_threads(), prepack=False)


def _encoder_batches(
    model: Cell2TextModel, sequences: Sequence[Sequence[int]]
) -> Iterator[torch.Tensor]:
    """Give gene tokens [B, S] of cells of one length, from one gene to the longest input."""
    longest = max(sequences, key=len)
    # A projector may take fewer rows than the encoder gives: a perceiver has a table of positions.
    positions = int(model.encoder.config.max_position_embeddings)
    positions = min(positions, model.projector.longest_input() or positions)
    shorter = max(1, min(model.top_k, len(longest)) - 1)
    least = _least(model, longest)
    cells = [least, max(least, longest[:shorter], key=len), *sequences]
    # The longest input there can be, made of the real cells one after the other.
    joined = [token for cell in sequences for token in cell]
    cells.append((joined * (1 + positions // len(joined)))[:positions])
    seen: set[tuple[int, ...]] = set()
    for cell in cells:
        if tuple(cell) not in seen:
            seen.add(tuple(cell))
            yield torch.tensor([list(cell)])
    common = min(len(cell) for cell in sequences)
    yield torch.tensor([list(cell[:common]) for cell in (sequences[0], sequences[-1])])


def _least(model: Cell2TextModel, cell: Sequence[int]) -> list[int]:
    """The first gene of a cell; with its special tokens where a mean leaves these out."""
    if model.mean_of in (None, slice(None)):
        return list(cell[:1])
    return [cell[0], cell[1], cell[-1]]


def _check_encoder_and_projector(
    model: Cell2TextModel, bundle: Path, batches: Sequence[torch.Tensor], advance: Advance
) -> Iterator[ParityResult]:
    family = encoder_family(model.encoder.config.model_type)
    tables = load_file(bundle / "gene_embedding.safetensors")
    encoder = open_session(bundle / "encoder.onnx", _engine_options())
    projector = open_session(bundle / "projector.onnx", _engine_options())
    together: list[torch.Tensor] = []  # a row of each cell, for a projector that takes groups
    for tokens in batches:
        case = f"{tokens.shape[0]} x {tokens.shape[1]} genes"
        embeddings = family.embed_with_tables(model.encoder.config, tables, tokens.numpy())
        expected = family.embed(model.encoder, tokens).numpy()
        yield compare(embeddings, expected, graph="gene_embedding", name="embeddings", case=case)
        rows = model.encode(tokens)
        (hidden,) = encoder.run(["hidden"], {"embeddings": expected})
        yield compare(hidden, rows.numpy(), graph="encoder", name="hidden", case=case)
        (vectors,) = projector.run(["cell_vectors"], {"hidden": rows.contiguous().numpy()})
        expected = model.project(rows).numpy()
        yield compare(vectors, expected, graph="projector", name="cell_vectors", case=case)
        if model.projector.takes_cells:
            together.append(rows[:1])
        advance(1)
    if together:
        group = torch.cat(together, dim=1)
        (vectors,) = projector.run(["cell_vectors"], {"hidden": group.numpy()})
        expected, case = model.project(group).numpy(), f"a group of {len(together)} cells"
        yield compare(vectors, expected, graph="projector", name="cell_vectors", case=case)


def _two_cells(model: Cell2TextModel, sequences: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """Two cells of different length: a short one, and the longest."""
    longest = max(sequences, key=len)
    half = longest[: max(1, min(model.top_k, len(longest)) // 2)]
    short = max(_least(model, longest), half, key=len)
    return [model.project(model.encode(torch.tensor(list(cell)))) for cell in (longest, short)]
