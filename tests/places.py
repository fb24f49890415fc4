"""Where the repository is, and which packages are its rooms."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ROOMS = [ROOT / room for room in PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]
"""What the wheel installs."""
