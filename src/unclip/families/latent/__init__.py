"""Models that diffuse latents: Kandinsky 2.2, Stable unCLIP, Stable Diffusion."""
