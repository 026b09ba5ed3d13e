"""What a person types: options, tables, progress. No logic, and no torch."""
