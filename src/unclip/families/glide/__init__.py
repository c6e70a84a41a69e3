"""GLIDE."""
