"""One module per step of the method; a stage is ``run(job) -> Manifest``."""
