"""One causal language model and its tokenizer: find, load, compare, ask for logits, save."""
