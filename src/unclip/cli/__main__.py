"""`python -m unclip.cli`, for where the `unclip` script is not on the path."""

import sys

from .app import main

sys.exit(main())
