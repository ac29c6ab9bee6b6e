"""The text side of a checkpoint: tokenizer, chat template, prompt and generation settings."""
