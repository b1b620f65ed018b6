"""The clip term alone: exact identities and moments, a softmax bandit, its exact chain, and sweeps over both."""
