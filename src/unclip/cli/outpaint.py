"""Extend a picture beyond its edges.

The picture itself stays the same to the byte.

\b
Examples:
  unclip outpaint fox.png --left 64 --right 64 "a fox"
  unclip outpaint fox.png --top 128 "a fox on a blue background" -n 4 --seed 7 -o foxes/
"""

from ._ability import ability_command

register = ability_command(__name__, "outpaint")
