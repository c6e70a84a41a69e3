"""CLIP as it is published: by transformers, OpenAI, open_clip and x-clip."""
