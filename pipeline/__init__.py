"""The pipeline. Its library is the one beside it, also where DVC runs an experiment in a copy of the repository."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))
