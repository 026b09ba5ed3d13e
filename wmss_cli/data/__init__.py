"""From records on disk to token ids: sources, filters, the renderer, the token table, batches."""
