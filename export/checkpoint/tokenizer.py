"""The text tokenizer of a decoder's folder, from local files only."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from c2t.runtime.system.errors import CheckpointError


def load_tokenizer(folder: Path) -> tuple[PreTrainedTokenizerBase, str]:
    """Load a fast tokenizer.

    Returns:
        The tokenizer, and the content of its `tokenizer.json`.

    Raises:
        CheckpointError: The folder has no usable tokenizer.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,  # else a folder that brings code makes transformers ask
            # Some versions ask every big vocabulary beside a new config whether it is Mistral's.
            fix_mistral_regex=False,
        )
    # The one call above is all the library's. Its Rust part raises plain `Exception` for a damaged
    # file, and its Python part whatever a missing or wrong entry leads to.
    except Exception as error:
        first = str(error).partition("\n")[0]
        problem = f"no usable tokenizer in {folder}: {first}"
        raise CheckpointError(problem, hint="the folder needs tokenizer.json") from error
    if not tokenizer.is_fast:
        problem = f"the tokenizer in {folder} has no tokenizer.json"
        raise CheckpointError(problem, hint="save it with a current transformers")
    path = folder / "tokenizer.json"
    if path.is_file():
        return tokenizer, path.read_text(encoding="utf-8")
    return tokenizer, tokenizer.backend_tokenizer.to_str()
