"""Loading a checkpoint of any known layout.

One decision: whichever layout it came in, the result is one model in float32 with everything that
belongs to it; nothing later asks where it came from.
"""

from c2t.export.checkpoint_folder import load_checkpoint_folder
from c2t.export.checkpoint_options import CheckpointOptions, LoadedCheckpoint
from c2t.runtime.errors import CheckpointError


def load_checkpoint(options: CheckpointOptions) -> LoadedCheckpoint:
    """Load a checkpoint.

    Args:
        options: Where its parts are.

    Raises:
        CheckpointError: It cannot be used as it is; every offending tensor is listed.
    """
    if options.folder is not None:
        return load_checkpoint_folder(options.folder)
    problem = "no checkpoint named"
    raise CheckpointError(problem, hint="pass a folder, or --geneformer, --llama and --checkpoint")
