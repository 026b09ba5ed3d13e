"""What every layer rests on: configuration, artifacts, schemas, errors, progress."""
