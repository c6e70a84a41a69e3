"""The script that most articles on the DALL·E 2 API have, on your own machine.

    pip install openai==0.28.1 pillow
    unclip serve
    OPENAI_API_BASE=http://127.0.0.1:8000/v1 OPENAI_API_KEY=none python examples/api_openai_028.py

Nothing of the script has changed: the base URL comes from the environment.
"""

from io import BytesIO

import openai
import requests
from PIL import Image

response = openai.Image.create(
    prompt="a red car",
    n=1,
    size="1024x1024",
)
image_url = response["data"][0]["url"]
print(image_url)

image = Image.open(BytesIO(requests.get(image_url, timeout=60).content))
image.save("car.png")
print(f"the picture, {image.width}x{image.height}, is in car.png")
