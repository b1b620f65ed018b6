"""Keep what lies on disk: run folders, manifests, whole-file writes, locks, paths, configurations behind run ids."""
