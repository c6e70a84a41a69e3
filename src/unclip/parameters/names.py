"""What Stable Diffusion web UI calls the samplers of this package."""

from __future__ import annotations

A1111 = {
    "ddim": "DDIM",
    "ddpm": "DDPM",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "euler": "Euler",
    "euler_ancestral": "Euler a",
    "heun": "Heun",
    "pndm": "PLMS",
    "unipc": "UniPC",
}
