"""Execute notebooks strictly, one by one or all of a profile. Knows nothing of reinforcement learning."""
