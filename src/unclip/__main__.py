"""`python -m unclip`: the command, for where the `unclip` script is not on the path."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
