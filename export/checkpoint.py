"""Loading a checkpoint of any known layout.

One decision: whichever layout it came in, the result is one model in float32 with everything that
belongs to it; nothing later asks where it came from.
"""

from c2t.export.checkpoint_folder import load_checkpoint_folder
from c2t.export.checkpoint_options import CheckpointOptions, LoadedCheckpoint
from c2t.export.checkpoint_parts import load_checkpoint_parts
from c2t.runtime.errors import CheckpointError

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
    if options.folder is None:
        return load_checkpoint_parts(options)
    given = [name for name in _IN_FOLDER if getattr(options, name) is not None]
    if given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        problem = f"{options.folder} carries its own parts; also given: {names}"
        raise CheckpointError(problem, hint="pass the folder alone, or the parts without it")
    return load_checkpoint_folder(options.folder, options)
