"""Writes the fixtures of DALLE2-pytorch 1.1.0, the version that the published weights are of.

    DALLE2_PYTORCH_1_1_0=FOLDER PYTHON_OF_PEERS tests/parity/peers/laion_1_1_0.py OUTDIR

It cannot be installed beside the newer version: FOLDER is where `pip install --target` put it.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, os.environ["DALLE2_PYTORCH_1_1_0"])
    laion = runpy.run_path(str(Path(__file__).with_name("laion.py")))
    assert laion["OLD"], f"found version {laion['VERSION']}"
    laion["main"](Path(sys.argv[1]))
