"""Foreign models, a room each: network, stage, configuration, names of tensors and format.

What a room gives (`FORMAT`, `STAGE`, `NETWORK` of a public module) is found by the registries.
"""
