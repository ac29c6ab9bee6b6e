"""Cells as prompts with gene sentences: which genes, in which order, called what, of whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from cell_libraries import anndata, sp
from tiny_data import sentence_bundle

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.gene_sentence import GeneSentence
from c2t.runtime.bundle.gene_vocabulary import GeneVocabulary
from c2t.runtime.bundle.template import TextPart
from c2t.runtime.bundle.text_tokenizer import decode_text
from c2t.runtime.cells.counted_cells import CountedCellReader
from c2t.runtime.cells.inputs.gene_sentence import SentencePrompts
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader, open_cells
from c2t.runtime.system.errors import BundleError, CellFileError

BOTH = {"human": "Homo sapiens", "mouse": "Mus musculus"}
NAMES = ("CD3E", "ACTB", "GAPDH", "B2M", "TMSB4X", "FTL")


class Letters:
    """A token for each letter."""

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(map(ord, text))

    encode_letters = encode


def prompts(genes: int = 4, organisms: dict[str, str] = BOTH, longest: int = 99) -> SentencePrompts:
    return SentencePrompts(
        sentence=GeneSentence(genes=genes, organisms=organisms),
        template=(TextPart(text="{organism}/{count}: {genes}", longest=longest),),
        encoder=Letters(),
        values={},
    )


def cells(
    counts: Any, names: Any = NAMES, *, obs: Any = None, var: Any = None, log: bool = False
) -> Any:
    values = np.asarray(counts, np.float32)
    data = anndata.AnnData(sp.csr_matrix(np.log1p(values) if log else values))
    data.var_names = list(names)
    data.obs_names = [f"cell {n}" for n in range(data.n_obs)]
    for name, column in (obs or {}).items():
        data.obs[name] = column
    for name, column in (var or {}).items():
        data.var[name] = column
    return data


def said(
    data: Any,
    sentences: SentencePrompts | None = None,
    genes: Any = None,
    **options: Any,
) -> list[str | None]:
    """The prompt, or the error, of each cell."""
    reading = CellOptions(**options)
    with CellReader(data, genes, sentences or prompts(organisms={"human": "human"}), reading) as r:
        (chunk,) = r.chunks()
    texts = ["".join(map(chr, tokens)) for tokens in chunk.tokens]
    return [error or text for error, text in zip(chunk.errors, texts, strict=True)]


def test_the_largest_counts_come_first_and_ties_go_by_the_symbol() -> None:
    data = cells([[2, 5, 2, 0, 2, 9], [0, 0, 0, 0, 1, 0]])
    assert said(data) == ["human/4: FTL ACTB CD3E GAPDH", "human/1: TMSB4X"]


def test_order_is_that_of_the_logarithms() -> None:
    data = cells([[2, 5, 2, 0, 2, 9]])
    assert said(cells([[2, 5, 2, 0, 2, 9]], log=True), values="log1p") == said(data)


def test_columns_of_one_symbol_are_summed() -> None:
    """Also where values are logarithms: 1 + 3 is more than 3."""
    names = ("actb", "FTL", "ACTB-1", "B2M", "NKX2-1", "CD3E")
    counts = [[1, 3, 3, 2, 1, 0]]
    expected = ["human/4: ACTB FTL B2M NKX2-1"]
    assert said(cells(counts, names)) == expected
    assert said(cells(counts, names, log=True), values="log1p") == expected


def test_entries_of_one_column_are_summed() -> None:
    """As everywhere in scipy: a row of a CSR matrix may name a column twice."""
    data = cells([[1, 3, 0, 0, 0, 0]])
    data.X = sp.csr_matrix(
        (np.array([1, 3, 2, 2], np.float32), np.array([0, 1, 2, 2]), np.array([0, 4])), (1, 6)
    )
    assert said(data, values="counts") == ["human/3: GAPDH ACTB CD3E"]


def test_names_that_nobody_knows_stand_in_the_sentence() -> None:
    names = ("ACTB", "novel gene", "AC000001.1", "<|endoftext|>", "é", "nan")
    data = cells([[1, 2, 3, 4, 5, 6]], names)
    assert said(data) == ["human/4: É <|ENDOFTEXT|> AC000001.1 NOVEL GENE"]


def test_a_bad_cell_costs_no_other() -> None:
    counts = [[np.nan, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0], [0] * 6, [-1, 1, 1, 1, 1, 1]]
    assert said(cells(counts), values="counts") == [
        "cell has 1 NaN value",
        "human/1: CD3E",
        "cell is empty",
        "cell has 1 negative value",
    ]


def test_a_prompt_that_is_too_long_is_an_error_of_its_cell() -> None:
    data = cells([[1, 2, 3, 4, 5, 6], [1, 0, 0, 0, 0, 0]])
    found = said(data, prompts(organisms={"human": "human"}, longest=15))
    assert found[0] == "cell has no prompt: the prompt's text has 29 tokens, not 15"
    assert found[1] == "human/1: CD3E"


def test_antibodies_and_spike_ins_are_no_genes() -> None:
    names = ("CD3E", "ADT_CD3", "ERCC-00002", "B2M", "TMSB4X", "FTL")
    assert said(cells([[1, 9, 9, 1, 0, 0]], names)) == ["human/2: B2M CD3E"]
    kinds = ["Gene Expression"] * 4 + ["Antibody Capture"] * 2
    data = cells([[1, 2, 3, 4, 5, 6]], var={"feature_types": kinds})
    assert said(data) == ["human/4: B2M GAPDH ACTB CD3E"]


IDS = [f"ENSG{n:011d}" for n in range(6)]


def test_symbols_are_found_in_another_column() -> None:
    data = cells([[1, 2, 0, 0, 0, 0]], IDS, var={"gene_name": NAMES})
    assert said(data) == ["human/2: ACTB CD3E"]


def test_a_column_of_few_words_is_none_of_symbols() -> None:
    kinds = ["protein_coding"] * 5 + ["lncRNA"]
    data = cells([[1, 2, 0, 0, 0, 0]], IDS, var={"gene_biotype": kinds, "symbol": NAMES})
    assert said(data) == ["human/2: ACTB CD3E"]


def test_ids_without_a_table_are_refused() -> None:
    with pytest.raises(CellFileError, match="no table to look Ensembl ids up in") as error:
        said(cells([[1, 2, 0, 0, 0, 0]], IDS))
    assert "--gene-column" in (error.value.hint or "")


def test_ids_are_translated_by_a_table() -> None:
    genes = GeneVocabulary(
        ensembl_id=np.array(IDS[:5], "S"),
        token=np.arange(5, dtype=np.int32),
        median=np.ones(5),
        alias=np.array(["ENSG99999999999", "CD3E", "ACTB", "BETA-ACTIN"], "S"),
        alias_gene=np.array([1, 0, 1, 1], np.int32),
    )
    names = [f"{IDS[0]}.7", *IDS[1:]]
    data = cells([[1, 2, 3, 0, 0, 0]], names)
    assert said(data, genes=genes) == [f"human/3: {IDS[2]} ACTB CD3E"]


MOUSE = ("Cd3e", "Actb", "Gapdh", "B2m", "Tmsb4x", "Ftl1")
GENOMES = [f"GRCh38_{name}" for name in NAMES], [f"mm10_{name}" for name in MOUSE]
ONE = [[2, 1, 0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("names", "obs", "options", "expected"),
    [
        (NAMES, {}, {}, "Homo sapiens/2: CD3E ACTB"),
        (MOUSE, {}, {}, "Mus musculus/2: CD3E ACTB"),
        (NAMES, {"organism": ["Mus musculus"]}, {}, "Mus musculus/2: CD3E ACTB"),
        (MOUSE, {"organism": ["NCBITaxon:9606"]}, {}, "Homo sapiens/2: CD3E ACTB"),
        (GENOMES[0], {}, {}, "Homo sapiens/2: CD3E ACTB"),
        (GENOMES[1], {}, {}, "Mus musculus/2: CD3E ACTB"),
        # Also where the symbols are written as those of a human.
        ([f"mm10___{name}" for name in NAMES], {}, {}, "Mus musculus/2: CD3E ACTB"),
        (NAMES, {}, {"species": "mouse"}, "Mus musculus/2: CD3E ACTB"),
        (MOUSE, {}, {"organism": "human"}, "Homo sapiens/2: CD3E ACTB"),
    ],
)
def test_the_species_is_what_the_file_or_the_user_says(
    names: Any, obs: Any, options: dict[str, str], expected: str
) -> None:
    assert said(cells(ONE, names, obs=obs), prompts(), **options) == [expected]


def test_a_guess_is_said() -> None:
    with CellReader(cells(ONE), None, prompts()) as reader:
        (warning,) = reader.warnings
    assert warning == (
        "nothing in the file says whether its cells are of human or mouse: taken as human; if they "
        "are not, pass `--organism mouse`"
    )


def test_a_mixture_of_two_genomes_is_said() -> None:
    data = cells([[2, 1, 0, 0, 0, 9], [9, 0, 0, 2, 1, 0]], [*GENOMES[0][:3], *GENOMES[1][:3]])
    with CellReader(data, None, prompts()) as reader:
        some, taken = reader.warnings
        assert "1 of 2 cells looked at have most of their counts in genes of another" in some
        assert taken == (
            "names of genes have genomes of human and mouse: taken as human; if they are not, pass "
            "`--organism mouse`"
        )
    assert said(data, prompts())[0] == "cell has most of its counts in genes of another species"


def test_the_genome_in_the_names_needs_no_warning() -> None:
    for names in GENOMES:
        with CellReader(cells(ONE, names), None, prompts()) as reader:
            assert not reader.warnings


@pytest.mark.parametrize(
    ("names", "obs", "options", "message"),
    [
        (NAMES, {"organism": ["zebrafish"]}, {}, "the bundle knows human or mouse cells, but"),
        (MOUSE, {}, {"species": "human"}, "--species says human, but these cells look like"),
        (GENOMES[1], {}, {"species": "human"}, "genome in the names of `var_names` is `mouse`"),
        ([f"rn6_{n}" for n in MOUSE], {}, {}, "genome in the names of `var_names` is `rat`"),
        (GENOMES[1], {"organism": ["human"]}, {}, "genome in the names of `var_names` is `mouse`"),
        (NAMES, {}, {"species": "rat"}, "--species rat: the bundle knows human or mouse cells"),
        (NAMES, {}, {"organism": "rat"}, "--organism rat: the bundle knows human or mouse cells"),
        (NAMES, {}, {"species": "mouse", "orthologues": "x.csv"}, "it carries no genes over"),
    ],
)
def test_cells_of_no_known_species_are_refused(
    names: Any, obs: Any, options: dict[str, str], message: str
) -> None:
    with pytest.raises(CellFileError, match=message):
        said(cells(ONE, names, obs=obs), prompts(), **options)


def test_a_bundle_of_a_species_that_nobody_knows_is_refused() -> None:
    """Before the file is opened: there is none at this path."""
    bundle = sentence_bundle()
    sentence = msgspec.structs.replace(
        bundle.manifest.gene_sentence, organisms={"human": "human", "elf": "Elf"}
    )
    stranger = Bundle(
        bundle.path, bundle.manifest.replace(gene_sentence=sentence), bundle.digest, {}
    )
    with pytest.raises(BundleError, match="'elf'"):
        open_cells("nowhere.h5ad", stranger)


def test_cells_of_several_species_in_one_file() -> None:
    organism = ["Homo sapiens", "Mus musculus", "Homo sapiens", "Danio rerio"]
    data = cells(ONE * 4, obs={"organism": organism})
    assert said(data, prompts()) == [
        "Homo sapiens/2: CD3E ACTB",
        "Mus musculus/2: CD3E ACTB",
        "Homo sapiens/2: CD3E ACTB",
        "cell is of another species: obs['organism'] is `Danio rerio`",
    ]
    with CellReader(data, None, prompts(), CellOptions(cells=[1, 2])) as reader:
        reader.keep([1])
        (chunk,) = reader.chunks()
    assert "".join(map(chr, chunk.tokens[0])) == "Homo sapiens/2: CD3E ACTB"


def test_what_is_guessed_or_left_out_of_several_species_is_said() -> None:
    organism = ["Homo sapiens", "Mus musculus", "Danio rerio", "unknown", "unknown"]
    data = cells(ONE * 5, obs={"organism": organism})
    with CellReader(data, None, prompts(), CellOptions()) as reader:
        error, taken = (warning for warning in reader.warnings if "organism" in warning)
    assert error == (
        "obs['organism'] is `Danio rerio` for 1 cells: these get an error, since the bundle knows "
        "human or mouse cells"
    )
    assert taken == "obs['organism'] is `unknown` for 2 cells: taken as human"


def test_the_committed_bundle_reads_the_published_prompt() -> None:
    bundle = sentence_bundle()
    with open_cells(cells([[3, 2, 1, 0, 0, 0]]), bundle) as reader:
        (chunk,) = reader.chunks()
    text = decode_text(bundle.tokenizer, chunk.tokens[0].tolist())
    assert text == (
        "The following is a list of 20 gene names ordered by descending expression level in a "
        "Homo sapiens cell. Your task is to give the cell type which this cell belongs to based on "
        "its gene expression.\nCell sentence: CD3E ACTB GAPDH.\n"
        "The cell type corresponding to these genes is:"
    )
    assert chunk.genes_used.tolist() == chunk.genes_found.tolist() == [3]


def test_counts_in_a_request_are_read_as_those_of_a_file() -> None:
    bundle = sentence_bundle()
    counts = [{"CD3E": 3.0, "ACTB": 2.0}, {"FTL": 1.0}, {}]
    reader = CountedCellReader(bundle)
    read = reader.read(counts, ["a", "b", "c"], CellOptions(species="mouse"))
    data = cells([[3, 2, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1], [0] * 6])
    with open_cells(data, bundle, CellOptions(species="mouse")) as file:
        (chunk,) = file.chunks()
    assert [t.tolist() for t in read.cells.tokens] == [t.tolist() for t in chunk.tokens]
    assert list(read.cells.errors) == [None, None, "cell is empty"]
    assert reader.read_json([b'{"CD3E": 1}'], ["a"]) is None


def test_a_special_word_in_a_name_is_only_letters(tmp_path: Path) -> None:
    bundle = sentence_bundle()
    data = cells([[3, 2, 1, 0, 0, 0]], ("<|endoftext|>", *NAMES[1:]))
    with open_cells(data, bundle) as reader:
        (chunk,) = reader.chunks()
    tokens = chunk.tokens[0].tolist()
    assert 0 not in tokens  # the end token
    assert "<|ENDOFTEXT|> ACTB" in decode_text(bundle.tokenizer, tokens)
