"""CellWhisperer's chat on disk becomes a bundle that writes what PyTorch writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_chat import (
    TEMPLATE,
    USUAL,
    VECTORS,
    WIDTH,
    chat_decoder,
    chat_projector,
    chat_tensors,
    chat_tokenizer,
    write_chat,
)
from tiny_decoders import LOGITS, GraphRun
from tiny_joint import JointFolders, tiny_joint, write_joint_folders
from tiny_models import TinySizes, tiny_cell
from tolerance import FLOAT32, worst_difference
from transformers import GenerationConfig

from c2t.export.cellwhisperer.chat import outline_chat
from c2t.export.checkpoint.options import CheckpointOptions
from c2t.export.model.joint import JointModel
from c2t.export.pipeline import ExportOptions, export_bundle
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.asker import Asker
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.describe.question import Question
from c2t.runtime.describe.verify import verify_golden_cells
from c2t.runtime.generation.bundle_prompts import bundle_prompts
from c2t.runtime.system.errors import CheckpointError

QUESTION = "Which T cell is it?"
NEW_TOKENS = 12
LENGTHS = (15, 4, 15, 30)


@dataclass
class Chat:
    """The parts of a chat in PyTorch, put together here by hand."""

    joint: JointModel
    folders: JointFolders
    folder: Path
    template: Path

    def __post_init__(self) -> None:
        self.decoder, self.projector = chat_decoder(), chat_projector()

    def options(self, **other: Any) -> CheckpointOptions:
        chosen = {
            "geneformer": self.folders.geneformer,
            "text_model": self.folders.text_model,
            "checkpoint": self.folders.checkpoint,
            "chat": self.folder,
            "template": str(self.template),
            "max_new_tokens": NEW_TOKENS,
        }
        return CheckpointOptions(family="cellwhisperer", **(chosen | other))

    def vectors(self, places: torch.Tensor) -> torch.Tensor:
        """Soft tokens [8, D] of places [N, J]: the published order."""
        return self.projector(places.mean(dim=0)).view(VECTORS, WIDTH)

    def rows(self, places: torch.Tensor, question: str) -> torch.Tensor:
        """The decoder's input [1, T, D], tokenised around the cell as LLaVA does."""
        tokenizer, table = chat_tokenizer(), self.decoder.get_input_embeddings()
        text = TEMPLATE.replace(f"{{question:{USUAL}}}", question)
        before, behind = (tokenizer(half)["input_ids"] for half in text.split("<image>"))
        assert before[0] == behind[0] == tokenizer.bos_token_id
        assert before.count(tokenizer.eos_token_id) == 1
        parts = [table(torch.tensor(before)), self.vectors(places), table(torch.tensor(behind[1:]))]
        return torch.cat(parts)[None]

    def text(self, places: torch.Tensor, question: str, **settings: Any) -> list[int]:
        """What `generate` writes."""
        rows = self.rows(places, question)
        config = GenerationConfig(
            max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=2, pad_token_id=2, **settings
        )
        mask = torch.ones(rows.shape[:2], dtype=torch.long)
        (ids,) = self.decoder.generate(
            inputs_embeds=rows, attention_mask=mask, generation_config=config
        )
        return ids.tolist()


def make_chat(folder: Path, *, version: int = 1, shards: str = "safetensors") -> Chat:
    joint = tiny_joint(version=version)
    folders = write_joint_folders(folder / "joint", joint, version=version)
    template = folder / "template.txt"
    template.write_text(f"{TEMPLATE}\n", encoding="utf-8")
    chat = Chat(joint, folders, folder / "chat", template)
    write_chat(chat.folder, chat.decoder, chat_tensors(chat.decoder, chat.projector), shards=shards)
    return chat


@pytest.fixture(scope="module", params=[(1, "safetensors"), (2, "bin")])
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Chat, Bundle, list[torch.Tensor], list[str]]:
    """A chat, its bundle, some cells, and what the export said."""
    version, shards = request.param
    folder = tmp_path_factory.mktemp("chat")
    chat = make_chat(folder, version=version, shards=shards)
    said: list[str] = []
    export = ExportOptions(output=folder / "bundle", checkpoint=chat.options())
    bundle = export_bundle(export, report=said.append)
    sizes = TinySizes(version=version)
    return chat, bundle, [tiny_cell(n, sizes, seed=n + i) for i, n in enumerate(LENGTHS)], said


def places_of(chat: Chat, cells: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([chat.joint.embed_cells(cell[None]) for cell in cells])


def chunk(cells: list[torch.Tensor]) -> EncodedCells:
    return EncodedCells.of_tokens([cell.tolist() for cell in cells])


def test_logits_are_those_of_pytorch(exported) -> None:
    chat, bundle, cells, said = exported
    manifest = bundle.manifest
    assert manifest.family == "cellwhisperer"
    assert manifest.tasks == ("describe", "ask", "embed")
    assert (manifest.question, manifest.projector.vectors) == (USUAL, VECTORS)
    assert manifest.generation.repetition_penalty == 1
    assert any("--repetition-penalty 1.2" in sentence for sentence in said)
    describer = Describer(bundle, DescribeOptions(engine="cpu", threads=1))
    run = GraphRun(bundle.file("decoder.onnx"), chat.decoder.config)
    table = chat.decoder.get_input_embeddings().weight.numpy()
    for question in (USUAL, QUESTION):
        prompts = bundle_prompts(bundle, {"question": question})
        for cell, place in zip(cells, places_of(chat, cells), strict=True):
            vectors = describer.engines.encoder.encode(cell[None].numpy().astype(np.int32))[0]
            assert worst_difference(vectors, chat.vectors(place[None]).numpy()) < FLOAT32
            prompt = prompts.of_vectors(vectors.copy())
            rows = table[np.maximum(prompt.token_ids, 0)]
            rows[prompt.token_ids < 0] = prompt.vectors
            expected = chat.decoder(inputs_embeds=chat.rows(place[None], question)).logits
            found = run.logits(rows[None], [len(rows)])
            assert worst_difference(found, expected.numpy()) < LOGITS


def test_texts_are_those_of_generate(exported) -> None:
    chat, bundle, cells, _ = exported
    describer = Describer(bundle, DescribeOptions(engine="cpu", threads=1))
    places = places_of(chat, cells)
    described = [list(each.tokens) for each in describer.describe([chunk(cells)])]
    assert described == [chat.text(place[None], USUAL) for place in places]
    assert not verify_golden_cells(bundle, "cpu").differences
    for penalty in (1.0, 1.2):
        options = DescribeOptions(engine="cpu", threads=1, repetition_penalty=penalty)
        asker = Asker(Describer(bundle, options), bundle, Question(text=QUESTION))
        answers = asker.ask_cells([chunk(cells)], bundle.manifest.gene_input)
        expected = [
            chat.text(place[None], QUESTION, repetition_penalty=penalty) for place in places
        ]
        assert [list(answer.tokens) for answer in answers] == expected


def test_a_group_is_the_mean_of_places(exported) -> None:
    chat, bundle, cells, _ = exported
    describer = Describer(bundle, DescribeOptions(engine="cpu", threads=1))
    places = places_of(chat, cells)
    mean = describer.group_mean
    tokens = [cell.numpy().astype(np.int32) for cell in cells]
    found = dict(mean.encoded(describer.engines, tokens, 8))
    vectors = mean.of([found[place] for place in range(len(cells))])
    assert worst_difference(vectors, chat.vectors(places).numpy()) < FLOAT32
    after = np.mean([found[place].vectors for place in range(len(cells))], axis=0)
    assert worst_difference(after, chat.vectors(places).numpy()) > 100 * FLOAT32
    asker = Asker(describer, bundle, Question(text=QUESTION))
    (answer,) = asker.ask_together(chunk(cells), bundle.manifest.gene_input)
    assert list(answer.tokens) == chat.text(places, QUESTION)


def test_a_template_without_a_usual_question_only_asks(tmp_path: Path) -> None:
    chat = make_chat(tmp_path)
    chat.template.write_text(TEMPLATE.replace(f":{USUAL}", ""), encoding="utf-8")
    outline, said = outline_chat(chat.options(repetition_penalty=1.2))
    assert outline.settings.generation.repetition_penalty == 1.2
    assert not any("1.2" in sentence for sentence in said)
    export = ExportOptions(output=tmp_path / "bundle", checkpoint=chat.options(pooling="mean"))
    bundle = export_bundle(export)
    assert bundle.manifest.tasks == ("ask", "embed")
    assert not verify_golden_cells(bundle, "cpu").differences


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Ha " * 300 + "{question}<image>", "room for a prompt of 500 tokens"),
        (None, "the wording of the chat's prompt is not in its files"),
        ("[INST] {question} [/INST]", "has <image> 0 times"),
        ("[INST] What is this?\n<image> [/INST]", "{question} 0 times"),
        ("[INST] {question}\n<image> {genes} [/INST]", "a brace that is none"),
        ("<s>[INST] {question}\n<image> [/INST]", "begins with '<s>'"),
    ],
)
def test_refuses_templates(tmp_path: Path, text: str | None, words: str) -> None:
    chat = make_chat(tmp_path)
    if text is not None:
        chat.template.write_text(text, encoding="utf-8")
    options = chat.options(**({"template": None} if text is None else {}))
    with pytest.raises(CheckpointError) as caught:
        outline_chat(options)
    assert words in caught.value.problem
    assert caught.value.hint


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"mm_projector_type": "mlp2x_gelu"}, "mm_projector_type is 'mlp2x_gelu'"),
        ({"mm_projector_type": None}, "mm_projector_type is None"),
        ({"mm_hidden_size": "20"}, "mm_hidden_size is '20'"),
        ({"mm_use_im_start_end": True}, "mm_use_im_start_end is True"),
        ({"model_type": "llava_llama"}, "model_type is 'llava_llama'"),
        ({"mm_new_thing": 3}, "mm_new_thing is 3"),
        ({"vocab_size": 1}, "the decoder's table has 1 rows"),
    ],
)
def test_refuses_configs_before_weights(tmp_path: Path, config: dict, words: str) -> None:
    chat = make_chat(tmp_path)
    write_chat(tmp_path / "other", chat.decoder, {}, **config)
    export = ExportOptions(
        output=tmp_path / "bundle", checkpoint=chat.options(chat=tmp_path / "other")
    )
    with pytest.raises(CheckpointError) as caught:
        export_bundle(export)
    assert words in caught.value.problem
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("left_out", "config", "words"),
    [
        ("model.mm_projector.", {}, "has no model.mm_projector.0.weight, model.mm_projector.0"),
        ("model.mm_projector.2.bias", {}, "has no model.mm_projector.2.bias"),
        ("nothing", {"mm_hidden_size": 21}, "reads 21 numbers of a cell (mm_hidden_size), the"),
        ("nothing", {"vocab_size": 500}, "model.embed_tokens.weight: has shape"),
        ("lm_head", {}, "lm_head.weight"),
    ],
)
def test_refuses_weights(tmp_path: Path, left_out: str, config: dict, words: str) -> None:
    chat = make_chat(tmp_path)
    tensors = chat_tensors(chat.decoder, chat.projector)
    held = {name: t for name, t in tensors.items() if not name.startswith(left_out)}
    write_chat(tmp_path / "other", chat.decoder, held, **config)
    outline, _ = outline_chat(chat.options(chat=tmp_path / "other"))
    with pytest.raises(CheckpointError) as caught:
        outline.load()
    assert words in caught.value.problem


def test_tensors_of_no_part_are_named_or_left_out(tmp_path: Path) -> None:
    chat = make_chat(tmp_path)
    tensors = chat_tensors(chat.decoder, chat.projector)
    more = tensors | {"model.vision_tower.weight": torch.ones(3, 3)}
    write_chat(tmp_path / "other", chat.decoder, more)
    outline, _ = outline_chat(chat.options(chat=tmp_path / "other"))
    with pytest.raises(CheckpointError, match=r"model\.vision_tower\.weight"):
        outline.load()
    named = chat.options(chat=tmp_path / "other", leave_out=["model.vision_tower."])
    assert outline_chat(named)[0].load().model.projector.config.kind == "mlp2x_8t"


def test_refuses_options_of_others(tmp_path: Path) -> None:
    chat = make_chat(tmp_path)
    with pytest.raises(CheckpointError, match="chat does not have these: --top-k"):
        outline_chat(chat.options(top_k=3))
    alone = chat.options(chat=None)
    with pytest.raises(CheckpointError, match=r"no decoder; given: --template, --max-new-tokens"):
        export_bundle(ExportOptions(output=tmp_path / "bundle", checkpoint=alone))
