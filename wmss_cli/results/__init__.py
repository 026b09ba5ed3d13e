"""What a study found: statistics, comparison, tables, plots, page."""
