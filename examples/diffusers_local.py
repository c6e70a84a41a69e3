"""Stable Diffusion's script, on a folder of your own: `pipe(prompt).images[0]`.

    python examples/diffusers_local.py path/to/stable-diffusion-v1-5 "a red car"

Only the import is another. It reads any model that `unclip.load` reads, diffusers' folders among
them, and downloads nothing; without a folder it is the bundled model. car.png is drawn twice: the
same generator gives the same picture.
"""

import sys

import torch

import unclip
from unclip.compat.diffusers import StableDiffusionPipeline  # in place of diffusers

bundled = f"{unclip.__path__[0]}/weights/emoji-cpu"
folder, prompt = (sys.argv[1:] + [bundled, "a red car"][len(sys.argv) - 1 :])[:2]

pipe = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32).to("cpu")


def draw():
    """As articles do."""
    generator = torch.Generator().manual_seed(7)
    return pipe(prompt, num_inference_steps=10, guidance_scale=2.5, generator=generator).images[0]


image, again = draw(), draw()
image.save("car.png")
print(f"the picture is in car.png, and drawn again it is {'the same' if image == again else 'new'}")
