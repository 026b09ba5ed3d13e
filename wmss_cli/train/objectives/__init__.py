"""What a training minimises: a table of objectives over hidden states and heads."""
