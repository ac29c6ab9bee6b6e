"""Loading a checkpoint of any known layout.

One decision: whichever layout it came in, the result is one model in float32 with everything that
belongs to it; nothing later asks where it came from.
"""

from dataclasses import replace
from pathlib import Path

from c2t.export.checkpoint.folder import PHRASES, load_checkpoint_folder
from c2t.export.checkpoint.options import CheckpointOptions, LoadedCheckpoint
from c2t.export.checkpoint.parts import load_checkpoint_parts
from c2t.runtime.system.errors import CheckpointError

# A folder that `save_checkpoint` wrote holds these itself; two answers would be one too many.
_IN_FOLDER = (
    "geneformer",
    "llama",
    "checkpoint",
    "adapter",
    "token_dictionary",
    "gene_medians",
    "ensembl_mapping",
    "gene_names",
    "emb_layer",
    "top_k",
    "perceiver_heads",
    "lora_alpha",
)


def load_checkpoint(options: CheckpointOptions) -> LoadedCheckpoint:
    """Load a checkpoint.

    Args:
        options: Where its parts are.

    Raises:
        CheckpointError: It cannot be used as it is; every offending tensor is listed.
    """
    phrases = options.phrases
    if options.folder is None:
        loaded = load_checkpoint_parts(options)
    else:
        loaded = _load_folder(options.folder, options)
        own = options.folder / PHRASES
        phrases = own if phrases is None and own.is_file() else phrases
    if phrases is None:
        return loaded
    return replace(loaded, phrases=phrases, source_files={**loaded.source_files, PHRASES: phrases})


def _load_folder(folder: Path, options: CheckpointOptions) -> LoadedCheckpoint:
    given = [name for name in _IN_FOLDER if getattr(options, name) is not None]
    if given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        problem = f"{folder} carries its own parts; also given: {names}"
        raise CheckpointError(problem, hint="pass the folder alone, or the parts without it")
    return load_checkpoint_folder(folder, options)
