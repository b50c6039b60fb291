"""`python -m fenchel` is the command `fenchel`."""

import sys

from .experiments.cli import main

sys.exit(main())
