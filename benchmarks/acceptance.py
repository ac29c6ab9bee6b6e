"""Record how drafts fare along the demo's own texts, for `c2t bench --whole`.

    python benchmarks/acceptance.py BUNDLE PBMC3K.h5ad -o runtime/bench/whole/demo_acceptance.json

Held-out cells are described. Along each text, the drafter of the bundle proposes behind every token
what it would propose there for a cell that is written alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

import c2t
from c2t.examples.demo.held_out import is_held_out
from c2t.runtime.bench.whole.acceptance import RecordedText, Recording
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.generation.drafts import Drafter, common_length
from c2t.runtime.generation.ngram_ban import NgramBan
from c2t.runtime.generation.phrase_table import PHRASES_NAME, load_phrase_table


def record_text(drafter: Drafter, tokens: tuple[int, ...], ngram: int) -> RecordedText:
    """Drafts along a text; the drafter learns from them as it does when it writes."""
    cursor, ban = drafter.begin(), NgramBan(ngram)
    drafted, right = [], []
    learned = 0  # where the next step begins
    for place, token in enumerate(tokens):
        draft = drafter.propose(cursor, ban, len(tokens) - 1 - place)
        draft = draft.cut(common_length([draft]))
        rest = tokens[place:]
        pairs = zip(draft.tokens, rest, strict=False)
        same = next((n for n, (a, b) in enumerate(pairs) if a != b), len(draft.tokens))
        drafted.append(len(draft.tokens))
        right.append(same)
        if place == learned:
            drafter.learn(draft, same)
            learned = place + same + 1
        drafter.advance(cursor, token)
        ban.append(token)
    return RecordedText(drafted=drafted, right=right)


def main() -> None:
    """Write the recording."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("cells", type=Path)
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    with c2t.open(arguments.bundle) as model:
        manifest = model.bundle.manifest
        with open_cells(arguments.cells, model.bundle) as reader:
            ids = [cell for cell in reader.cell_ids if is_held_out(cell)][: arguments.texts]
        described = model.describe(arguments.cells, reading=CellOptions(cells=tuple(ids)))
        path = model.bundle.file(PHRASES_NAME)
        drafter = Drafter(load_phrase_table(path, manifest.decoder.vocabulary_size))
        ngram = manifest.generation.no_repeat_ngram_size
        texts = [record_text(drafter, cell.tokens, ngram) for cell in described if cell.text]
    recording = Recording(
        what=f"the demo's texts of the first {len(texts)} held-out cells of {arguments.cells.name}",
        command="python benchmarks/acceptance.py BUNDLE PBMC3K.h5ad -o FILE",
        texts=texts,
    )
    arguments.output.write_bytes(msgspec.json.encode(recording) + b"\n")
    steps = sum(_steps(text) for text in texts)
    print(f"{sum(len(text.right) for text in texts) / steps:.2f} tokens a step")


def _steps(text: RecordedText) -> int:
    place = steps = 0
    while place < len(text.right):
        place += text.right[place] + 1
        steps += 1
    return steps


if __name__ == "__main__":
    main()
