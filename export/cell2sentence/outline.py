"""A checkpoint that reads gene sentences, before its weights are read and with them.

One decision: the folder is Hugging Face's, of any decoder family, as it was downloaded. Only the
prompt is not in it: it is the family's published one, or a file's; nor is CellReasoner's list.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from c2t.export.cell2sentence.chat_turns import any_chat, chat_text
from c2t.export.cell2sentence.example_genes import example_genes
from c2t.export.cell2sentence.model import SentenceModel
from c2t.export.cell2sentence.organisms import read_organisms
from c2t.export.cell2sentence.published import FAMILIES, SentenceFamily, Turns
from c2t.export.cell2sentence.rules import ANSWER_RULES, CELL_TYPE_RULES, NO_RULES
from c2t.export.cell2sentence.template import (
    QUESTION_TOKENS,
    example_values,
    read_template,
    template_parts,
    with_bundle_fields,
)
from c2t.export.checkpoint.configs import CONFIG, read_decoder_config, read_json
from c2t.export.checkpoint.options import CheckpointOptions, option_name
from c2t.export.checkpoint.settings import licence_of, override_settings
from c2t.export.checkpoint.tensors.assembly import build_part
from c2t.export.checkpoint.tensors.collect import check_adapter, collect_decoder
from c2t.export.checkpoint.text.generation import read_generation
from c2t.export.checkpoint.text.tokenizer import encode, load_tokenizer
from c2t.export.decoders.families import decoder_family
from c2t.export.model.loaded_checkpoint import CaptionFiles, CheckpointSettings
from c2t.runtime.bundle.gene_order import read_gene_order
from c2t.runtime.bundle.gene_sentence import GeneSentence
from c2t.runtime.bundle.tasks import ANNOTATE, ASK, DESCRIBE
from c2t.runtime.bundle.template import Template, TextPart, longest_prompt, template_fields
from c2t.runtime.fields.rules import FieldRules
from c2t.runtime.system.errors import CheckpointError

# Of a gene's name, the space before it included: published tokenizers take 4 on average, and 9 for
# an Ensembl id. A cell that needs more in the mean is an error of that cell.
GENE_TOKENS_MAX = 8
# Options that are of Cell2Text's own checkpoints.
_OTHERS = (
    *("folder", "geneformer", "llama", "checkpoint", "token_dictionary", "gene_medians"),
    *("ensembl_mapping", "gene_names", "system_message", "system_message_file", "user_message"),
    *("placeholder_token", "date", "perceiver_heads", "perceiver_positions", "qformer_heads"),
    *("emb_layer", "top_k", "text_model", "text_lower_case", "chat", "pooling", "leave_out"),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedSentences:
    """A checkpoint with its weights, ready to be exported.

    Attributes:
        model: In evaluation mode, float32, without gradients.
        outline: All the rest of it.
        layout: Which layout was recognised, in words.
        source_files: Every file that was read, by a name that is unique.
    """

    model: SentenceModel
    outline: SentenceOutline
    layout: str
    source_files: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class SentenceOutline:
    """All of a checkpoint but its weights.

    Attributes:
        family: What kind of model it is.
        options: Where its parts are.
        folder: The model's.
        decoder: Its config.
        tokenizer: Its text tokenizer.
        tokenizer_json: Content of `tokenizer.json`.
        sentence: How a cell becomes genes.
        listed: The list whose order the genes have; empty: that of their counts.
        template: The prompt.
        question: What it asks where nobody does; "" if nothing is usual.
        chat: The model's own chat about anything; empty: it is not asked so.
        typical_prompt: Text tokens of a prompt with as many genes as it takes.
        settings: Name, generation defaults, licences, notes.
        captions: Files about the texts that it was trained on.
        said: What was chosen where nothing was asked for, a sentence each.
    """

    family: SentenceFamily
    options: CheckpointOptions
    folder: Path
    decoder: PretrainedConfig
    tokenizer: PreTrainedTokenizerBase
    tokenizer_json: str
    sentence: GeneSentence
    listed: tuple[str, ...]
    template: Template
    question: str
    chat: Template
    typical_prompt: int
    settings: CheckpointSettings
    captions: CaptionFiles
    said: tuple[str, ...] = ()

    @property
    def asks(self) -> bool:
        """Whether the prompt has a place for a question."""
        return "question" in template_fields(self.template)

    @property
    def rules(self) -> FieldRules:
        """How its answers become fields, where no file of rules says otherwise."""
        name = self.options.template or self.family.usual_template
        if name not in self.family.cell_types:
            return NO_RULES
        return ANSWER_RULES if self.family.plain_answers else CELL_TYPE_RULES

    @property
    def tasks(self) -> tuple[str, ...]:
        """What the bundle can do."""
        if not self.asks:
            return (DESCRIBE, ANNOTATE)
        if not self.question:
            return (ASK,)
        return (DESCRIBE, *((ANNOTATE,) if self.rules is ANSWER_RULES else ()), ASK)

    def load(self) -> LoadedSentences:
        """Read the weights.

        Raises:
            CheckpointError: A tensor is missing, has no place, or has another shape.
        """
        family = decoder_family(self.decoder.model_type)
        collected = collect_decoder(self.options, self.folder, family)
        config = collected.merge_adapter(family, self.decoder)
        decoder = build_part(family, config, collected.parts["decoder"], part="decoder")
        model = SentenceModel(decoder)
        model.requires_grad_(False)
        model.eval()
        return LoadedSentences(
            model=model,
            outline=self,
            layout="; ".join([self.family.title, *collected.story]),
            source_files=collected.files | self.captions.named() | self._list_file(),
        )

    def _list_file(self) -> dict[str, Path]:
        path = self.options.gene_order
        return {} if path is None else {f"gene order/{path.name}": path}


def outline_sentences(options: CheckpointOptions) -> SentenceOutline:
    """Read all of a checkpoint but the weights, within seconds.

    Raises:
        CheckpointError: An option, a file or the tokenizer cannot be used.
    """
    family = FAMILIES[options.family or ""]
    folder = _check_options(options, family)
    listed = _list_of(options, family)
    check_adapter(options)
    decoder = read_decoder_config(folder)
    trained = [] if options.adapter is None else [options.adapter]
    tokenizer, tokenizer_json = load_tokenizer(
        folder, trained=trained, chat_template=options.chat_template
    )
    genes = family.top_genes if options.top_genes is None else options.top_genes
    genes = min(genes, len(listed)) if listed else genes
    what, prompt = read_template(options.template, family)
    question = prompt.question if isinstance(prompt, Turns) else ""
    text = chat_text(tokenizer, prompt) if isinstance(prompt, Turns) else prompt
    text = with_bundle_fields(text, genes)
    sentence = GeneSentence(
        genes=genes,
        organisms=read_organisms(options.organism, family),
        separator=family.separator,
        upper_case=family.upper_case,
        listed=len(listed),
    )
    generation = read_generation(options, folder, tokenizer, usual=family.generation)
    passed: dict[str, Any] = {
        n: value for n, value in family.passed.items() if getattr(options, n) is None
    }
    generation = replace(generation, **passed)
    fixed, around, typical = _lengths(text, tokenizer, sentence)
    room = decoder_family(decoder.model_type).max_positions(decoder) - generation.max_new_tokens
    longest = room - fixed
    if "{cells}" not in text:
        asked = QUESTION_TOKENS if "{question}" in text or "{labels}" in text else 0
        longest = min(longest, around + genes * GENE_TOKENS_MAX + asked)
    settings = CheckpointSettings(
        name=folder.resolve().name,
        system_message="",
        generation=generation,
        licences=(licence_of("decoder", folder),),
        notes=f"{what}; {genes} genes",
    )
    template = template_parts(text, tokenizer, longest=max(1, longest))
    return SentenceOutline(
        family=family,
        options=options,
        folder=folder,
        decoder=decoder,
        tokenizer=tokenizer,
        tokenizer_json=tokenizer_json,
        sentence=sentence,
        listed=listed,
        template=template,
        question=question,
        chat=_chat(text, template, tokenizer),
        typical_prompt=fixed + typical,
        settings=override_settings(settings, options),
        captions=CaptionFiles(
            phrases=options.phrases, fields=options.fields, terms=tuple(options.ontology or ())
        ),
        said=tuple(_said(options, family, sentence, passed)),
    )


def _check_options(options: CheckpointOptions, family: SentenceFamily) -> Path:
    """The model's folder, if the options are those of this family."""
    others = (
        *_OTHERS,
        *(() if family.is_chat else ("chat_template",)),
        *(("organism",) if family.listed else ("gene_order",)),
    )
    given = [
        option_name(name) for name in others if getattr(options, name) not in (None, False, [])
    ]
    if given:
        problem = f"a model of {family.title} has no use for these; given: {', '.join(given)}"
        hint = f"--family {family.name} takes --model FOLDER"
        hint += " and --gene-order FILE" if family.listed else ""
        raise CheckpointError(problem, hint=f"{hint}, and what `c2t export --help` says of it")
    folder = options.model
    if folder is None:
        problem = f"--family {family.name} needs --model, the folder of the model"
        raise CheckpointError(problem, hint="`c2t help cell2sentence` says how to get one")
    if not (folder / CONFIG).is_file():
        problem = f"{folder} is no model's folder: it has no {CONFIG}"
        raise CheckpointError(problem, hint="pass the folder with config.json, weights, tokenizer")
    if read_json(folder / CONFIG).get("format") == "c2t-checkpoint":
        problem = f"{folder} is a Cell2Text checkpoint, which has an encoder"
        raise CheckpointError(problem, hint=f"export it as it is: `c2t export {folder} -o BUNDLE`")
    return folder


def _list_of(options: CheckpointOptions, family: SentenceFamily) -> tuple[str, ...]:
    """The list of genes that a family needs."""
    if not family.listed:
        return ()
    if options.gene_order is None:
        problem = f"{family.title} reads genes in the order of a list, which its folder has not"
        hint = "pass --gene-order FILE: data/ranked_hvg.list of its repository; see `c2t help ask`"
        raise CheckpointError(problem, hint=hint)
    return read_gene_order(options.gene_order, error=CheckpointError)


def _chat(text: str, template: Template, tokenizer: PreTrainedTokenizerBase) -> Template:
    """The chat about anything of a model whose prompt asks; no longer than its prompts."""
    chat = any_chat(tokenizer) if "{question}" in text else None
    if chat is None:
        return ()
    chat = with_bundle_fields(chat, 0, cells=0)
    parts = template_parts(chat, tokenizer, longest=1)
    rest = longest_prompt(template, vectors=0) - longest_prompt(parts, vectors=0) + QUESTION_TOKENS
    return tuple(
        TextPart(text=part.text, longest=rest)
        if isinstance(part, TextPart) and "question" in part.fields
        else part
        for part in parts
    )


def _lengths(
    text: str, tokenizer: PreTrainedTokenizerBase, sentence: GeneSentence
) -> tuple[int, int, int]:
    """Text tokens beside the part with the genes; of that without genes; and with all it takes."""
    parts = template_parts(text, tokenizer, longest=0)
    texts = [part for part in parts if isinstance(part, TextPart) and not part.longest]
    longest = max(sentence.organisms.values(), key=len)
    values = example_values(sentence, [], longest)
    around = sum(len(encode(tokenizer, part.fill(values))) for part in texts)
    filled = example_values(sentence, example_genes(sentence.genes), longest)
    typical = sum(len(encode(tokenizer, part.fill(filled))) for part in texts)
    return longest_prompt(parts, vectors=0), around, typical


def _said(
    options: CheckpointOptions,
    family: SentenceFamily,
    sentence: GeneSentence,
    passed: dict[str, Any],
) -> Iterator[str]:
    """What nobody asked for."""
    if options.template is None:
        usual = family.usual_template
        yield f"the prompt is the published one for {usual}; --template chooses another"
    if options.top_genes is None and family.is_chat:
        published = ", as published" if sentence.genes == family.top_genes else ""
        yield f"a sentence has at most {sentence.genes:,} genes{published}"
    elif options.top_genes is None:
        yield (
            f"a sentence has {sentence.genes} genes, the package's usual number; the model's card "
            "says how many it was trained with: --top-genes"
        )
    if options.organism is None:
        names = " and ".join(f"{words} ({name})" for name, words in sentence.organisms.items())
        one = "" if family.listed else "; --organism names one alone"
        yield f"the model is taken to know {names}{one}"
    if passed:
        listed = ", ".join(f"{name} {value:g}" for name, value in passed.items())
        yield f"texts are written with {listed}, as by the authors' code"
