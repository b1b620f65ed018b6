"""The tiny model of the generation tests serves the evaluation tests too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "generation"))
