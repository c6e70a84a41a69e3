"""Redraw a picture to match a sentence.

The layout stays roughly the same. The picture is cropped to its middle square.

\b
Examples:
  unclip img2img sketch.png "a pizza"
  unclip img2img sketch.png "a pizza" --strength 0.8 -n 4 --seed 7 -o pizzas.png
"""

from ._ability import ability_command

register = ability_command(__name__, "image_to_image")
