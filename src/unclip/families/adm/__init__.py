"""The U-Net of guided-diffusion as GLIDE, Karlo and Kandinsky vary it."""
