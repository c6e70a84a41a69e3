"""Draws with LlamaIndex: `python app_llama_index.py BASE_URL KEY PROMPT` prints what it gives."""

from __future__ import annotations

import os
import sys

from llama_index.tools.openai import OpenAIImageGenerationToolSpec

base, key, prompt = sys.argv[1:]
os.environ["OPENAI_BASE_URL"] = base
sys.stdout.write(OpenAIImageGenerationToolSpec(key).image_generation(prompt))
