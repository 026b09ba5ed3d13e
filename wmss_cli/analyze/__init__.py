"""Logit statistics, and the card of a data set."""
