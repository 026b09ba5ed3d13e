"""Logit statistics, plots, the closing report."""
