"""What can be done with a pipeline. One file an ability.

Each is a function of a `Pipeline`, and a method of it by one line in `pipeline.py`; what it is
asked for is a `Request`, the file's `REQUEST`.
"""

from ..registry import Registry
from ..request import Request

REQUESTS: Registry[type[Request]] = Registry("unclip.abilities", "REQUEST", "ability")
