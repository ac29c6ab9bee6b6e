"""Writes published_sentences.json: gene sentences by the published package `cell2sentence` itself.

Run it in an environment of its own, which has the package (1.2.0), scanpy and anndata:

    python make_published_sentences.py PBMC3K.h5ad

There, equal values come in random order. So genes of equal counts are sorted before a sentence is
recorded; all the rest is the package's. Of the human cells only hashes are kept, no data.
"""

import hashlib
import json
import sys
from importlib.metadata import version
from pathlib import Path

import anndata
import numpy as np
import scanpy
from cell2sentence.csdata import CSData
from cell2sentence.prompt_formatter import C2SPromptFormatter, get_cell_sentence_str
from scipy.sparse import csr_matrix

HERE = Path(__file__).parent
HUMAN_CELLS = 60
GENES = 200
# Names as they are written in mouse data: no upper case, and some that are no usual symbols.
MOUSE = [
    *("Cd3e", "Cd3d", "Ms4a1", "Lyz2", "mt-Co1", "mt-Nd4l", "H2-Aa", "H2-Eb1", "Xist", "Actb"),
    *("Gm10076", "2810417H13Rik", "Rpl13a", "Rps27rt", "Malat1", "Igkc", "Hbb-bs", "Tmsb4x"),
    *("a", "AI413582", "Nkg7", "Gzma", "ENSMUSG00000095041", "S100a8", "B2m", "Ptprcap"),
]


def sentences(cells: anndata.AnnData) -> list[str]:
    """What the package makes of counts, the genes of equal counts sorted."""
    counts = csr_matrix(cells.X).toarray()
    ready = cells.copy()
    scanpy.pp.normalize_total(ready)
    scanpy.pp.log1p(ready, base=10)
    dataset, vocabulary = CSData.adata_to_arrow(ready)
    if len(vocabulary) != ready.n_vars:
        problem = "two columns have one name in upper case, which the package mixes up"
        raise ValueError(problem)
    column = {name: i for i, name in enumerate(vocabulary)}
    return [
        " ".join(tied_sorted(text.split(" "), {n: row[i] for n, i in column.items()}))
        for text, row in zip(dataset["cell_sentence"], counts, strict=True)
    ]


def tied_sorted(names: list[str], count: dict[str, float]) -> list[str]:
    """The same names; those that follow each other with one count are sorted."""
    done: list[str] = []
    while names:
        equal = [name for name in names if count[name] == count[names[0]]]
        if set(names[: len(equal)]) != set(equal):
            problem = f"genes with {count[names[0]]} counts do not follow each other"
            raise ValueError(problem)
        done += sorted(equal)
        names = names[len(equal) :]
    return done


def mouse_cells() -> anndata.AnnData:
    """Eight cells with many equal counts, one of them with a single gene."""
    counts = np.random.default_rng(5).poisson(1.5, (8, len(MOUSE))).astype(np.float32)
    counts[3] = 0
    counts[3, 4] = 7
    cells = anndata.AnnData(csr_matrix(counts))
    cells.var_names = MOUSE
    return cells


def main(pbmc3k: Path) -> None:
    """Write the record."""
    human = anndata.read_h5ad(pbmc3k)
    human = human[np.linspace(0, human.n_obs - 1, HUMAN_CELLS).astype(int)].copy()
    mouse = mouse_cells()
    said = sentences(mouse)
    formatter = C2SPromptFormatter("cell_type_prediction", GENES)
    genes, number = get_cell_sentence_str({"cell_sentence": said[0]}, num_genes=GENES)
    prompt = formatter.prompts_dict["model_input"][0].format(
        num_genes=number, organism="Mus musculus", cell_sentence=genes
    )
    record = {
        "package": f"cell2sentence {version('cell2sentence')}",
        "genes": GENES,
        "human": {
            str(name): hashlib.sha256(text.encode()).hexdigest()
            for name, text in zip(human.obs_names, sentences(human), strict=True)
        },
        "mouse": {
            "symbols": MOUSE,
            "counts": csr_matrix(mouse.X).toarray().astype(int).tolist(),
            "sentences": said,
        },
        "mouse_prompt": prompt,
        "answer": formatter.prompts_dict["response"][0],
    }
    path = HERE / "published_sentences.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8", newline="")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
