"""Problems: the synthetic task, benchmarks and training sets at pinned revisions, cleaning, contamination."""
