from types import SimpleNamespace

import numpy as np
import pytest
from tiny_bundle import make_bundle
from tiny_models import tiny_cell

from c2t.calibration.evaluate.comparison import Forced, compare, compare_tokens, force
from c2t.calibration.evaluate.teacher_forcing import BLOCK, TeacherForcing, kl_divergence
from c2t.calibration.metrics.bootstrap import Bootstrap, BootstrapOptions
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.open import open_engines

BOOTSTRAP = Bootstrap(3, BootstrapOptions(resamples=100))


def said(text: str | None, *tokens: int) -> SimpleNamespace:
    return SimpleNamespace(text=text, tokens=tokens)


def test_tokens_by_hand():
    assert compare_tokens([1, 2, 3], [1, 2, 3]) == (3, 3, None)
    assert compare_tokens([1, 2, 3], [1, 9, 3, 4]) == (2, 4, 1)
    assert compare_tokens([1, 2], [1, 2, 3]) == (2, 3, 2)
    assert compare_tokens([], [5]) == (0, 1, 0)


def test_comparison_by_hand():
    judged = [said("a", 1, 2, 3), said("b", 1, 2), said(None)]
    other = [said("a", 1, 2, 3), said("c", 1, 4, 5), said("d", 7)]
    forced = [Forced(tokens=3, same_choice=3, kl=0.0), Forced(tokens=3, same_choice=2, kl=0.6)]
    found = compare(judged, other, BOOTSTRAP, [*forced, None])
    assert found.cells == 2
    assert found.identical_texts.value == 0.5
    assert found.token_agreement.value == pytest.approx(4 / 6)
    assert found.forced_agreement.value == pytest.approx(5 / 6)
    assert found.kl_per_token.value == pytest.approx(0.1)
    assert (found.first_divergence, found.text_lengths) == ((1,), (3,))


def test_other_vocabularies_are_compared_by_text_only():
    judged = [said("a", 1), said("b", 1), said("c", 2)]
    found = compare(judged, judged, BOOTSTRAP, None, "the tokenizers differ")
    assert found.identical_texts.value == 1
    assert found.token_agreement is found.kl_per_token is found.forced_agreement is None
    assert found.not_compared == "the tokenizers differ"


def test_kl_by_hand():
    p, q = np.log([[0.5, 0.5], [0.9, 0.1]]), np.log([[0.25, 0.75], [0.9, 0.1]])
    expected = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    assert kl_divergence(p, q) == pytest.approx([expected, 0])
    with np.errstate(divide="ignore"):
        certain = np.log([[1.0, 0.0]])
    assert kl_divergence(certain, p[:1]) == pytest.approx(np.log(2))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("other"), seed=9)


def forcing(tiny, longest=40) -> TeacherForcing:
    engines = open_engines(tiny.bundle, EngineOptions(threads=1))
    return TeacherForcing(tiny.bundle, engines, longest=longest)


def test_distributions_are_pytorchs(tiny):
    """A text longer than two blocks, against one run of the PyTorch model over all of it."""
    torch = pytest.importorskip("torch")
    model = tiny.loaded.model
    cell = tiny_cell(20)
    text = np.random.default_rng(0).integers(7, 300, 2 * BLOCK + 5).tolist()
    with torch.no_grad():
        embedded = model.prompt_embeddings(model.project(model.encode(cell)), tiny.loaded.prompt)
        words = model.decoder.get_input_embeddings()(torch.tensor(text))
        whole = torch.cat([embedded, words])[None]
        logits = model.decoder(inputs_embeds=whole).logits[0, len(embedded) - 1 : -1]
        expected = logits.double().log_softmax(-1).numpy()
    judge = forcing(tiny)
    prompt = judge.prompt(cell.numpy().astype(np.int32))
    for _ in range(2):  # what an earlier text left in the cache does not matter
        found = np.concatenate(list(judge.log_probabilities(prompt, text)))
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < 1e-3
    assert list(judge.log_probabilities(prompt, [])) == []


def test_a_bundle_agrees_with_itself_and_not_with_another(tiny, other):
    genes = tiny_cell(12).numpy().astype(np.int32)
    text = [20, 21, 22, 23, 24]
    same, different = forcing(tiny), forcing(other)
    (alike,) = force(same, same, iter([(genes, genes, text)]))
    assert (alike.tokens, alike.same_choice, alike.kl) == (5, 5, 0)
    (unlike,) = force(different, same, iter([(genes, genes, text)]))
    assert unlike.kl > 0.01
