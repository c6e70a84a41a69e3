"""What can be done with a pipeline. One file an ability.

Each is a function of a `Chain`, and a method of `Pipeline` by one line in `facade.py`; what it is
asked for is a `Request`, the file's `REQUEST`.
"""

from ..registry import Registry
from ..request import Request

REQUESTS: Registry[type[Request]] = Registry("unclip.abilities", "REQUEST", "ability")
