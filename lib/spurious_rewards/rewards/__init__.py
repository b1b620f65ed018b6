"""Answer extraction and grading, the strategy detector, the reward registry."""
