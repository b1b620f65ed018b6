"""Strict notebook execution and profiles. Knows nothing of reinforcement learning."""
