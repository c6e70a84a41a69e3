"""Repaint a part of a picture.

The rest stays the same to the byte.

\b
Examples:
  unclip edit fox.png --box 128,0,128,256 "a cat"     # paints the right half
  unclip edit plate.png --mask mask.png "a pizza" -n 4 --seed 7 -o pizzas/
  unclip edit holed.png "a fox"                       # paints where holed.png is transparent
"""

from ._ability import ability_command

register = ability_command(__name__, "edit")
