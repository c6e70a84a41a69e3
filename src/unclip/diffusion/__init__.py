"""The mathematics of diffusion: schedules, parameterizations, guidance, samplers, objectives.

This package does not depend on networks, files or conditions: a denoiser is a callable.
"""
