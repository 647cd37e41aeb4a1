"""``python -m jaxsci``: the command line."""

import sys

from jaxsci.cli import main

sys.exit(main())
