"""One interface over generation engines: prompts in, samples with log-probabilities out."""
