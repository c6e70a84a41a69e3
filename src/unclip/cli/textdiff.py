"""Change a picture by the difference between two descriptions.

The first frame is the picture itself, cropped to its middle square.

\b
Examples:
  unclip textdiff fox.png --from "a fox" --to "a cat"
  unclip textdiff fox.png --from "a fox" --to "a blue fox" --theta 0.4 -o strip.png
  unclip textdiff fox.png --from "a fox" --to "a cat" --frames 16 --fps 8 -o loop.gif
"""

from ._ability import ability_command

register = ability_command(__name__, "text_diff")
