"""`python -m prefork`."""

import sys

from .cli import main

sys.exit(main())
