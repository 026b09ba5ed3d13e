"""Is this answer right? Used by curation and by evaluation alike."""
