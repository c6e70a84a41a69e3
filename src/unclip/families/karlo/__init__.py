"""Karlo: folders of diffusers, read and written, and its makers' own checkpoints."""
