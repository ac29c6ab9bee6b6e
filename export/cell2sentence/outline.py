"""A Cell2Sentence checkpoint before its weights are read, and with them.

One decision: the folder is Hugging Face's, of any decoder family, as it was downloaded. Only the
prompt is not in it: it is the family's published one, or a file's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from c2t.export.cell2sentence.example_genes import example_genes
from c2t.export.cell2sentence.model import SentenceModel
from c2t.export.cell2sentence.organisms import read_organisms
from c2t.export.cell2sentence.published import DEFAULT, SEPARATORS, TOP_GENES
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
from c2t.runtime.bundle.gene_sentence import GeneSentence
from c2t.runtime.bundle.template import Template, TextPart, longest_prompt, template_fields
from c2t.runtime.system.errors import CheckpointError

FAMILY = "cell2sentence"
# What holds where no file says otherwise: `generate`'s own, and room for any name of a cell type.
GENERATION = {"max_new_tokens": 100, "no_repeat_ngram_size": 0}
# Of a gene's name, the space before it included: published tokenizers take 4 on average, and 9 for
# an Ensembl id. A cell that needs more in the mean is an error of that cell.
GENE_TOKENS_MAX = 8
# Options that are of Cell2Text's own checkpoints.
_OTHERS = (
    *("folder", "geneformer", "llama", "checkpoint", "token_dictionary", "gene_medians"),
    *("ensembl_mapping", "gene_names", "system_message", "system_message_file", "user_message"),
    *("placeholder_token", "date", "perceiver_heads", "perceiver_positions", "qformer_heads"),
    *("emb_layer", "top_k", "chat_template", "text_model", "text_lower_case", "chat"),
    *("pooling", "leave_out"),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedSentences:
    """A Cell2Sentence checkpoint with its weights, ready to be exported.

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
    """All of a Cell2Sentence checkpoint but its weights.

    Attributes:
        options: Where its parts are.
        folder: The model's.
        decoder: Its config.
        tokenizer: Its text tokenizer.
        tokenizer_json: Content of `tokenizer.json`.
        sentence: How a cell becomes genes.
        template: The prompt.
        typical_prompt: Text tokens of a prompt with as many genes as it takes.
        settings: Name, generation defaults, licences, notes.
        captions: Files about the texts that it was trained on.
        said: What was chosen where nothing was asked for, a sentence each.
    """

    options: CheckpointOptions
    folder: Path
    decoder: PretrainedConfig
    tokenizer: PreTrainedTokenizerBase
    tokenizer_json: str
    sentence: GeneSentence
    template: Template
    typical_prompt: int
    settings: CheckpointSettings
    captions: CaptionFiles
    said: tuple[str, ...] = ()

    @property
    def asks(self) -> bool:
        """Whether the prompt has a place for a question."""
        return "question" in template_fields(self.template)

    @property
    def names_cell_type(self) -> bool:
        """Whether the prompt is the published one whose answer is the name of a cell type."""
        return self.options.template in (None, DEFAULT)

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
            layout="; ".join(["Cell2Sentence", *collected.story]),
            source_files=collected.files | self.captions.named(),
        )


def outline_sentences(options: CheckpointOptions) -> SentenceOutline:
    """Read all of a Cell2Sentence checkpoint but the weights, within seconds.

    Raises:
        CheckpointError: An option, a file or the tokenizer cannot be used.
    """
    folder = _check_options(options)
    check_adapter(options)
    decoder = read_decoder_config(folder)
    trained = [] if options.adapter is None else [options.adapter]
    tokenizer, tokenizer_json = load_tokenizer(folder, trained=trained)
    genes = TOP_GENES if options.top_genes is None else options.top_genes
    what, text = read_template(options.template)
    text = with_bundle_fields(text, genes)
    organisms = read_organisms(options.organism)
    generation = read_generation(options, folder, tokenizer, usual=GENERATION)
    separator = SEPARATORS.get(options.template or DEFAULT, " ")
    fixed, around, typical = _lengths(
        text, tokenizer, GeneSentence(genes=genes, organisms=organisms, separator=separator)
    )
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
    return SentenceOutline(
        options=options,
        folder=folder,
        decoder=decoder,
        tokenizer=tokenizer,
        tokenizer_json=tokenizer_json,
        sentence=GeneSentence(genes=genes, organisms=organisms, separator=separator),
        template=template_parts(text, tokenizer, longest=max(1, longest)),
        typical_prompt=fixed + typical,
        settings=override_settings(settings, options),
        captions=CaptionFiles(
            phrases=options.phrases, fields=options.fields, terms=tuple(options.ontology or ())
        ),
        said=tuple(_said(options, genes, organisms)),
    )


def _check_options(options: CheckpointOptions) -> Path:
    """The model's folder, if the options are those of this family."""
    given = [
        option_name(name) for name in _OTHERS if getattr(options, name) not in (None, False, [])
    ]
    if given:
        problem = f"a Cell2Sentence model has no encoder and no messages; given: {', '.join(given)}"
        raise CheckpointError(problem, hint="--family cell2sentence takes --model FOLDER alone")
    folder = options.model
    if folder is None:
        problem = "--family cell2sentence needs --model, the folder of the model"
        raise CheckpointError(problem, hint="`c2t help cell2sentence` says how to get one")
    if not (folder / CONFIG).is_file():
        problem = f"{folder} is no model's folder: it has no {CONFIG}"
        raise CheckpointError(problem, hint="pass the folder with config.json, weights, tokenizer")
    if read_json(folder / CONFIG).get("format") == "c2t-checkpoint":
        problem = f"{folder} is a Cell2Text checkpoint, which has an encoder"
        raise CheckpointError(problem, hint=f"export it as it is: `c2t export {folder} -o BUNDLE`")
    return folder


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


def _said(options: CheckpointOptions, genes: int, organisms: dict[str, str]) -> list[str]:
    """What nobody asked for."""
    said = []
    if options.template is None:
        said.append(f"the prompt is the published one for {DEFAULT}; --template chooses another")
    if options.top_genes is None:
        said.append(
            f"a sentence has {genes} genes, the package's usual number; the model's card says how "
            "many it was trained with: --top-genes"
        )
    if options.organism is None:
        names = " and ".join(f"{words} ({name})" for name, words in organisms.items())
        said.append(f"the model is taken to know {names}; --organism names one alone")
    return said
