"""Evaluation cells and their records, statistics, majority labels, strategy analysis."""
