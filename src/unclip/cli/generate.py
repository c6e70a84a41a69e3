"""Draw pictures of a sentence.

Without -o, a file is named after the prompt and the seed (a-fox-7.png), and numbered if another
picture has that name (a-fox-7-2.png): nothing is overwritten.

Every PNG stores its prompt, seed, settings and the model's hash, so that `unclip replay` can draw
the same picture again; other formats store nothing. Settings that are not given here have the
model's defaults.

\b
Examples:
  unclip generate "a red car"
  unclip generate "a red car" -n 4 --seed 7 -o out.png   # one grid of four
  unclip generate "a red car" -n 4 --seed 7 -o cars/     # cars/a-red-car-7.png and three more
  unclip generate "a fox" --steps 50 --guidance-scale 4
  unclip generate "a fox" --seed 7 -o -                  # a PNG to stdout
  unclip generate "a fox" --prior prior --set prior_steps=32
  unclip generate "a fox" --prior none --best-of 4
  unclip generate "a fox" --negative-prompt "a car"
  unclip generate "a fox" --model runs/mine/model --device cuda
"""

from ._ability import ability_command

register = ability_command(__name__, "generate")
