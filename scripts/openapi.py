"""Write studio/openapi.json, the document that the page's types are generated from.

Run from the repository's root: `python scripts/openapi.py`; with `--check` it says whether the file
is what the server gives.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

FILE = Path(__file__).parents[1] / "studio" / "openapi.json"


def text() -> str:
    """The document, as the file has it."""
    from unclip.server.app import routed

    return json.dumps(routed().openapi(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def main() -> int:
    """Write or check."""
    if "--check" in sys.argv[1:]:
        same = FILE.exists() and FILE.read_text(encoding="utf-8") == text()
        print(f"{FILE} is {'as' if same else 'not what'} the server gives it")
        return not same
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(text(), encoding="utf-8")
    print(FILE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
