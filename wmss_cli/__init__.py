"""wmss: post-training of language models by Weak-Driven Learning."""

__version__ = "0.2.0"
