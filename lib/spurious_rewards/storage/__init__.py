"""What lies on disk: run folders, manifests, whole-file writes, locks, paths, and the configuration behind a run id."""
