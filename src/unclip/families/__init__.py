"""Foreign models, one package each: network, stage, configuration, names of tensors and format.

What a package gives (`FORMAT`, `STAGE`, `NETWORK` of a public module) is found by the registries.
"""
