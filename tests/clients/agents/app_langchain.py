"""Draws with LangChain: `python app_langchain.py BASE_URL KEY PROMPT` writes an address."""

from __future__ import annotations

import sys

from langchain_community.utilities.dalle_image_generator import DallEAPIWrapper

base, key, prompt = sys.argv[1:]
sys.stdout.write(DallEAPIWrapper(base_url=base, api_key=key).run(prompt))
