"""Draw variations of a picture.

What CLIP sees in the picture stays, the rest is random. The picture is cropped to its middle
square.

\b
Examples:
  unclip vary fox.png
  unclip vary fox.png -n 9 --eta 1 --seed 7 -o foxes.png   # one grid of nine
  unclip vary fox.png -o foxes/                            # one file each: fox-vary-SEED.png
"""

from ._ability import ability_command

register = ability_command(__name__, "vary", n=4)
