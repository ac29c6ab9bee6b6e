"""`c2t info`: what a bundle is, from its manifest alone; nothing is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.manifest import Manifest
from c2t.runtime.bundle.template import TextPart
from c2t.runtime.bundle.unsure_rule import UnsureRule
from c2t.runtime.system.text_tables import Section, gigabytes


@dataclass(frozen=True, kw_only=True)
class BundleInfo:
    """The contents of `c2t info --json`.

    Attributes:
        digest: SHA-256 of the manifest; it identifies the bundle.
        bytes: Size of all its files.
        files_checked: Whether the hash of every file was compared, or only names and sizes.
        signer: Fingerprint of the trusted key that has signed it; None: nobody asked for one.
        species: Whose genes and cells it knows; bundles that do not say it know human ones.
        family: Whose kind of model it is.
        tasks: What it can do, by the names of the commands.
        inputs: What a cell becomes for it, in words.
        context: Most text tokens of a prompt and its text together; None without a decoder.
        manifest: All that the bundle says of itself.
        unsure: Its rule for unsure cells; None if it states none.
    """

    path: str
    digest: str
    bytes: int
    files_checked: bool
    signer: str | None
    species: str
    family: str
    tasks: tuple[str, ...]
    inputs: str
    context: int | None
    manifest: Manifest
    unsure: UnsureRule | None = None


def bundle_info(bundle: Bundle, *, files_checked: bool) -> BundleInfo:
    """Collect what `c2t info` shows."""
    m = bundle.manifest
    return BundleInfo(
        path=str(bundle.path),
        digest=bundle.digest,
        bytes=bundle.bytes,
        files_checked=files_checked,
        signer=bundle.trust.fingerprint if bundle.trust else None,
        species=m.species_known,
        family=m.family,
        tasks=m.tasks,
        inputs=m.input_said,
        context=None if m.decoder_part is None else m.decoder.max_positions,
        manifest=m,
        unsure=bundle.unsure_rule,
    )


def sections(info: BundleInfo) -> list[Section]:
    """The same as a text for people; see `c2t.runtime.system.text_tables`."""
    m, writes = info.manifest, info.manifest.has_decoder
    general = [
        ("name", m.name),
        ("folder", info.path),
        ("digest", info.digest),
        ("format", f"{m.format_version}, ONNX opset {m.opset}"),
        ("precision", m.precision),
        ("family", m.family),
        ("tasks", ", ".join(m.tasks) or "none"),
        ("inputs", info.inputs),
        ("species", info.species),
        ("size", f"{gigabytes(info.bytes)} in {len(m.files)} files"),
        ("files", "all as written (SHA-256)" if info.files_checked else "present, sizes right"),
    ]
    if info.signer is not None:
        general.append(("signed", f"with the trusted key {info.signer[:16]}"))
    if m.origin.random_weights:
        general.append(("warning", "random weights: for measuring only, its texts mean nothing"))
    return [
        Section("bundle", general),
        Section("model", _model(m)),
        *([Section("prompt", _prompt(m)), Section("generation", _generation(m))] if writes else []),
        *([] if info.unsure is None else [Section("unsure cells", _unsure(info.unsure))]),
        Section("made from", _origin(m)),
        Section("licences", _licences(m)),
    ]


def _model(m: Manifest) -> list[tuple[str, str]]:
    rows = []
    if m.has_encoder:
        encoder, genes = m.encoder, m.gene_input
        kept = "all" if encoder.rows is None else str(encoder.rows)
        text = f"{encoder.model}\n{encoder.layers_run} of {encoder.layers} layers needed, "
        text += f"{encoder.heads} heads, hidden size {genes.hidden_size}, {kept} rows out"
        tokens = f"at most {genes.input_size} a cell, vocabulary {genes.vocabulary_size:,}"
        projector = f"{m.projector.kind}: at most {m.projector.vectors} vectors a cell"
        rows += [("encoder", text), ("gene tokens", tokens), ("projector", projector)]
    if (space := m.joint_space) is not None:
        texts = "no texts" if space.text is None else f"texts by {space.text.model}"
        text = f"size {space.size}, temperature {space.temperature:g}; {texts}"
        rows.append(("joint space", text))
    if m.has_decoder:
        decoder = m.decoder
        text = f"{decoder.model}\n{decoder.layers} layers, {decoder.heads} heads "
        text += f"({decoder.kv_heads} key/value, size {decoder.head_size}), hidden size "
        text += f"{decoder.hidden_size}, vocabulary {decoder.vocabulary_size:,}, "
        rows.append(("decoder", f"{text}{decoder.max_positions:,} positions"))
    return rows


def _prompt(m: Manifest) -> list[tuple[str, str]]:
    if m.template:
        rows = [("text", part.text) for part in m.template if isinstance(part, TextPart)]
        if (sentence := m.gene_sentence) is not None:
            said = ", ".join(f"{words} ({name})" for name, words in sentence.organisms.items())
            order = "the highest counts first"
            if sentence.listed:
                order = f"in the order of the bundle's list of {sentence.listed:,}"
            rows.append(("genes", f"at most {sentence.genes}, {order}"))
            rows.append(("organism", said))
        if m.question:
            rows.append(("usual question", m.question))
        return [*rows, ("text tokens", f"at most {m.prompt_length:,}")]
    prompt = m.prompt
    rows = [("system", prompt.system_message), ("user", prompt.user_message)]
    if prompt.date is not None:
        rows.append(("date", prompt.date))
    fixed = len(prompt.prefix_ids) + len(prompt.suffix_ids)
    return [*rows, ("text tokens", f"{fixed} around the cell's vectors")]


def _generation(m: Manifest) -> list[tuple[str, str]]:
    settings = m.generation
    beams = settings.num_beams
    ngrams = settings.no_repeat_ngram_size
    search = "greedy" if beams == 1 else f"{beams} beams"
    if settings.temperature > 0:
        search = f"drawn at temperature {settings.temperature:g}"
    rows = [
        ("search", search),
        ("new tokens", f"at most {settings.max_new_tokens}"),
        ("repeats", f"no {ngrams} tokens twice" if ngrams else "allowed"),
        ("end tokens", ", ".join(map(str, settings.eos_token_ids)) or "none"),
    ]
    if settings.repetition_penalty != 1:
        rows.append(("penalty", f"{settings.repetition_penalty:g} of tokens that came before"))
    if settings.stop_strings:
        rows.append(("stop strings", ", ".join(map(repr, settings.stop_strings))))
    return rows


def _unsure(rule: UnsureRule) -> list[tuple[str, str]]:
    files = "\n".join(
        f"{file.cells:,} cells of {file.file}, by {file.label_column}"
        + (f" ({file.which})" if file.which else "")
        for file in rule.fitted_on
    )
    measured = (
        f"{100 * rule.answered:.1f} % answered, {100 * rule.answered_right:.1f} % of those right "
        f"({100 * rule.right:.1f} % of all); calibration error {rule.ece_before:.3f}, of the "
        f"probability {rule.ece_after:.3f}"
    )
    return [
        ("unsure", f"cell types that are right with less than {rule.threshold:g}"),
        ("fitted for", f"{100 * rule.target:g} % right, {rule.method}, {rule.date}"),
        ("fitted on", files),
        ("unseen cells", measured),
    ]


def _origin(m: Manifest) -> list[tuple[str, str]]:
    origin = m.origin
    rows = [
        ("layout", origin.layout),
        ("written", f"{origin.created} by c2t {origin.c2t_version}"),
    ]
    rows += [("file", f"{name}  {sha[:16]}") for name, sha in sorted(origin.files.items())]
    return [*rows, ("notes", origin.notes)] if origin.notes else rows


def _licences(m: Manifest) -> list[tuple[str, str]]:
    rows = [(x.part, f"{x.licence}\n{x.notice}".strip()) for x in m.licences]
    return rows or [("", "none stated")]
