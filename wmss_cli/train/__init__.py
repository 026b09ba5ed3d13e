"""The losses (`objectives/`), the weak-strong pair, the DeepSpeed engine, the loop, checkpoints."""
