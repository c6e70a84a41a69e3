"""Enlarge a picture with the model's upsamplers.

The picture may have any size and shape.

\b
Examples:
  unclip upscale fox.png -o large.png
  unclip upscale fox.png --steps 20 --set upsampler_eta=0
"""

from ._ability import ability_command

register = ability_command(__name__, "upscale")
