"""Strict notebook execution, profiles, run folders and their manifests. Knows nothing of reinforcement learning."""
