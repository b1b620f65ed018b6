"""Compare two final answers; `rewards.grading` is the door, README.md says what it rests on."""
