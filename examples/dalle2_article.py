"""The example that most articles on the DALL·E 2 API have, on your own machine.

    pip install openai==0.28.1
    unclip serve
    OPENAI_API_BASE=http://127.0.0.1:8000/v1 OPENAI_API_KEY=none python examples/dalle2_article.py

Nothing of the call has changed: the base URL comes from the environment.
"""

import openai
import requests

response = openai.Image.create(
    prompt="a red car",
    n=1,
    size="1024x1024",
)
image_url = response["data"][0]["url"]
print(image_url)

with open("car.png", "wb") as file:
    file.write(requests.get(image_url, timeout=60).content)
print("the picture is in car.png")
