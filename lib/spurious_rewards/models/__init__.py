"""Which models there are, how problems become prompts, and the model organisms."""
