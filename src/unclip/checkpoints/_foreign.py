"""What people have on their disks that is not read here, told by its settings or its names.

Tables only: what a class, a model type or a tensor's name gives away.
"""

from __future__ import annotations

PIPELINES = {
    "AltDiffusion": "AltDiffusion",
    "AnimateDiff": "AnimateDiff",
    "AuraFlow": "AuraFlow",
    "CogVideo": "CogVideoX",
    "CogView": "CogView",
    "ConsistencyModel": "a consistency model",
    "DDIM": "an unconditional diffusion model",
    "DDPM": "an unconditional diffusion model",
    "DiT": "DiT",
    "Flux": "FLUX",
    "Hunyuan": "Hunyuan",
    "IF": "DeepFloyd IF",
    "Kandinsky3": "Kandinsky 3",
    "Kandinsky5": "Kandinsky 5",
    "LatentConsistencyModel": "a latent consistency model (LCM)",
    "LDMTextToImage": "latent diffusion of 2022",
    "Lumina": "Lumina",
    "PixArt": "PixArt",
    "QwenImage": "Qwen-Image",
    "Sana": "Sana",
    "StableCascade": "Stable Cascade",
    "StableDiffusion3": "Stable Diffusion 3",
    "StableDiffusionControlNet": "Stable Diffusion with a ControlNet",
    "StableDiffusionInstructPix2Pix": "InstructPix2Pix",
    "StableDiffusionLatentUpscale": "Stable Diffusion's upscaler in latents",
    "StableDiffusionUpscale": "Stable Diffusion's upscaler",
    "StableDiffusionXL": "Stable Diffusion XL",
    "StableVideoDiffusion": "Stable Video Diffusion",
    "TextToVideo": "a text-to-video model",
    "VersatileDiffusion": "Versatile Diffusion",
    "VQDiffusion": "VQ-Diffusion",
    "Wan": "Wan",
    "Wuerstchen": "Wuerstchen",
}
"""Beginnings of the names of diffusers' pipelines; of several that fit, the longest counts."""

MODEL_TYPES = {
    "align": "ALIGN",
    "altclip": "AltCLIP",
    "blip": "BLIP",
    "blip-2": "BLIP-2",
    "chinese_clip": "Chinese-CLIP",
    "clip_text_model": "CLIP's text encoder",
    "clip_vision_model": "CLIP's image encoder",
    "clipseg": "CLIPSeg",
    "dinov2": "DINOv2",
    "gpt2": "GPT-2",
    "M-CLIP": "MultilingualCLIP",
    "siglip": "SigLIP",
    "siglip2": "SigLIP 2",
    "t5": "T5",
    "vit": "a ViT that classifies",
    "xlm-roberta": "XLM-R",
}
"""transformers' `model_type`."""

COMPONENTS = {
    "AutoencoderKL": "an autoencoder (VAE)",
    "AutoencoderTiny": "a tiny autoencoder (VAE)",
    "ControlNetModel": "a ControlNet",
    "FluxTransformer2DModel": "FLUX's transformer",
    "MotionAdapter": "a motion adapter",
    "PriorTransformer": "a prior",
    "SD3Transformer2DModel": "Stable Diffusion 3's transformer",
    "T2IAdapter": "a T2I-Adapter",
    "UNet2DConditionModel": "a U-Net",
    "UNet2DModel": "a U-Net",
    "VQModel": "an autoencoder (VQ)",
}
"""diffusers' classes of single components."""

NAMES = (
    (r"lora_(unet|te\d?|transformer)_|\.lora[._](A|B|up|down|linear_layer)\b", "a LoRA, which "
     "changes another model's weights"),
    (r"hada_w1_a|lokr_w1|oft_diag", "a LyCORIS, which changes another model's weights"),
    (r"ip_adapter\.|image_proj_model\.", "an IP-Adapter, which is added to another model"),
    (r"controlnet_cond_embedding\.|(^|\.)control_model\.|input_hint_block\.", "a ControlNet, "
     "which is added to another model"),
    (r"(^|\.)(emb_params|string_to_param)|^<[^.]+>$|^clip_[gl]$", "a textual inversion, "
     "which adds words to another model"),
    (r"conditioner\.embedders\.", "a single file of Stable Diffusion XL"),
    (r"(^|\.)joint_blocks\.0\.", "Stable Diffusion 3"),
    (r"(^|\.)double_blocks\.0\.", "FLUX"),
    (r"^(model\.)?diffusion_model\.", "a U-Net alone (model.diffusion_model.*): take a file that "
     "has the autoencoder and the text encoder too"),
    (r"^logit_bias$", "SigLIP"),
    (r"^(encoder|decoder)\.conv_in\.|^first_stage_model\.", "an autoencoder (VAE) alone"),
    (r"^vision_model\.|^text_model\.", "a CLIP of transformers, without its config.json: give "
     "the folder that holds both"),
    (r"^(down_blocks|mid_block)\.", "a component of a model in the layout of diffusers: give the "
     "folder with its model_index.json"),
    (r"^transformer_blocks\.0\.|^prd_embedding$", "a transformer of diffusers: give the folder "
     "with its model_index.json"),
)  # fmt: skip
"""Pattern of a tensor's name -> what has such a one; the first that fits counts."""
