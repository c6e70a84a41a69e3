"""The mathematics of diffusion: schedules, parameterizations, guidance, samplers, objectives.

Nothing here knows of networks, files or conditions: a denoiser is a callable.
"""
