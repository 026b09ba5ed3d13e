"""The mixed-logit loss, the weak-strong pair, the DeepSpeed engine, the loop, checkpoints."""
