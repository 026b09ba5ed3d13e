"""Fast paths and their rivals, side by side: what ``wmss bench`` measures."""
