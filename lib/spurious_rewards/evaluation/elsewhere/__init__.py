"""Outputs and metrics made elsewhere: read the files of other tools, grade them, compare before with after."""
