"""PageRank by hand on four terms, and against networkx on a random graph and the Cell Ontology."""

import networkx
import numpy as np
import pytest
from shared_data import shared

from c2t.calibration.metrics.ontology_similarity import OntologySimilarity
from c2t.runtime.labels.ontology import Ontology, Term
from c2t.runtime.labels.ontology_file import read_ontology


def ontology(parents: dict[str, tuple[str, ...]]) -> Ontology:
    return Ontology("test", [Term(id=k, label=k, parents=p) for k, p in parents.items()])


def networkx_scores(found: Ontology, start: int) -> np.ndarray:
    graph = networkx.DiGraph()
    graph.add_nodes_from(range(len(found)))
    graph.add_edges_from(found.edges)
    scores = networkx.pagerank(
        graph, alpha=0.9, personalization={start: 1}, tol=1e-14, max_iter=10_000
    )
    return np.array([scores[number] for number in range(len(found))])


def test_four_terms_by_hand():
    #   cell -> t -> cd4
    #       \-> b
    similarity = OntologySimilarity(
        ontology({"cell": (), "t": ("cell",), "b": ("cell",), "cd4": ("t",)})
    )
    # From "t": 1, then 0.9 to its only child; sum 1.9.
    assert similarity.scores(1) == pytest.approx([0, 1 / 1.9, 0, 0.9 / 1.9])
    # From "cell": 1; 0.45 to each child; 0.9 * 0.45 to the grandchild; sum 2.305.
    assert similarity.scores(0) == pytest.approx(np.array([1, 0.45, 0.45, 0.405]) / 2.305)
    assert similarity.similarity(1, 3) == pytest.approx(np.log2(0.9 / 1.9 * 1e4 + 1))
    assert similarity.similarity(3, 3) == pytest.approx(np.log2(10_001))
    # A parent, a sibling and no term at all are unrelated.
    assert similarity.similarity(1, 0) == similarity.similarity(1, 2) == 1
    assert similarity.similarity(1, None) == 1


def test_scores_below_the_least_count_as_unrelated():
    children = {f"child{n}": ("top",) for n in range(10_000)}
    similarity = OntologySimilarity(ontology({"top": (), **children}))
    assert 0 < similarity.scores(0)[5] < 1e-4
    assert similarity.similarity(0, 5) == 1


@pytest.mark.parametrize("cyclic", [False, True])
def test_equals_networkx(cyclic: bool):
    rng = np.random.default_rng(5)
    names = [f"t{n}" for n in range(60)]
    parents = {
        name: tuple(rng.choice(names[:n] if n and not cyclic else names, 2)) if n else ()
        for n, name in enumerate(names)
    }
    found = ontology(parents)
    similarity = OntologySimilarity(found)
    for start in (0, 3, 17, 59):
        assert similarity.scores(start) == pytest.approx(networkx_scores(found, start), abs=1e-10)


def test_equals_networkx_on_the_cell_ontology():
    found = read_ontology(shared("ontologies/cl_2019-08-12.obo"))
    similarity = OntologySimilarity(found)
    t_cell, cd4 = found.find("T cell"), found.find("CD4-positive helper T cell")
    assert found.terms[t_cell].id == "CL:0000084"
    assert found.terms[cd4].id == "CL:0000492"
    assert similarity.scores(t_cell) == pytest.approx(networkx_scores(found, t_cell), abs=1e-10)
    assert 1 < similarity.similarity(t_cell, cd4) < similarity.similarity(t_cell, t_cell)
    assert similarity.similarity(t_cell, found.find("neuron")) == 1
