"""Benchmarks, and engines that generate answers to them."""
