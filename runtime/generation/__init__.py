"""Generation with the meaning of Hugging Face `generate` on `inputs_embeds`, over any engine."""
