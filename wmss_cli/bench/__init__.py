"""What ``wmss bench`` measures: fast ways to do the work, and their rivals, side by side."""
