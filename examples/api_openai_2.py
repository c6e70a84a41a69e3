"""The same by OpenAI's client of today (2.x, 3.x): a picture, a part of it anew, variations.

    pip install openai pillow
    unclip serve
    OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=none python examples/api_openai_2.py

Nothing of the calls is ours: the base URL comes from the environment. The strip in api.png shows a
fox above a tree, the same fox above a pizza, and two variations of that.
"""

import base64
import io

from openai import OpenAI
from PIL import Image

SIDE = 256
client = OpenAI()
as_png = {"model": "dall-e-2", "size": f"{SIDE}x{SIDE}", "response_format": "b64_json"}


def png(picture: Image.Image) -> bytes:
    """What the API takes."""
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()


def pictures(response) -> list[Image.Image]:
    """What it gives."""
    return [Image.open(io.BytesIO(base64.b64decode(one.b64_json))) for one in response.data]


(first,) = pictures(client.images.generate(prompt="a fox above a tree", **as_png))

mask = Image.new("RGBA", first.size, "black")
mask.paste((0, 0, 0, 0), (0, SIDE // 2, SIDE, SIDE))  # transparent: to be painted
prompt = "a fox above a pizza"  # of the whole, as there
(edited,) = pictures(client.images.edit(image=png(first), mask=png(mask), prompt=prompt, **as_png))

varied = pictures(client.images.create_variation(image=png(edited), n=2, **as_png))

strip = Image.new("RGB", (4 * SIDE, SIDE))
for place, picture in enumerate([first, edited, *varied]):
    strip.paste(picture, (place * SIDE, 0))
strip.save("api.png")
print("the pictures are in api.png")
