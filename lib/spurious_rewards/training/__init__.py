"""GRPO with one clean cut at the clip: configuration, clip modes, trainer, diagnostics, resume."""
