"""Writes the fixture of DALLE2-pytorch's scripts: what its classes compute after a seed.

    PYTHON_OF_PEERS tests/parity/peers/dalle2_scripts.py OUTDIR

dalle2_scripts.json          arguments, names and shapes of the state dicts, losses
dalle2_scripts.safetensors   inputs, tables, embeddings and pictures
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

from _values import filled

sys.path.pop(0)  # this file's folder, where `x_clip` is a file

import torch
import x_clip.visual_ssl
from dalle2_pytorch import DALLE2, Decoder, DiffusionPrior, DiffusionPriorNetwork, Unet
from safetensors.torch import save_file
from torch import Tensor, nn
from x_clip import CLIP

STEPS = 25
SEED = next(
    seed
    for seed in range(1000)
    if 0 in torch.randint(0, STEPS, (6,), generator=torch.Generator().manual_seed(seed))
)
"""One that draws the first timestep, whose loss is another."""
SIZES: dict[str, Any] = {
    "dim_text": 16, "dim_image": 16, "dim_latent": 16, "num_text_tokens": 60,
    "text_enc_depth": 1, "text_seq_len": 6, "text_heads": 2, "visual_enc_depth": 1,
    "visual_heads": 2, "visual_image_size": 16, "visual_patch_size": 4,
}  # fmt: skip
CLIPS: dict[str, dict[str, Any]] = {
    "readme": {
        "use_all_token_embeds": True, "decoupled_contrastive_learning": True,
        "extra_latent_projection": True, "use_visual_ssl": True, "visual_ssl_type": "simclr",
        "use_mlm": False, "text_ssl_loss_weight": 0.05, "image_ssl_loss_weight": 0.05,
    },
    "simsiam": {"use_visual_ssl": True, "extra_latent_projection": True},
    "plain": {},
}  # fmt: skip
NETS: dict[str, dict[str, Any]] = {
    "readme": {"dim": 16, "depth": 2, "dim_head": 8, "heads": 2, "max_text_len": 8},
    "embeds": {
        "dim": 16, "depth": 1, "dim_head": 40, "heads": 2, "max_text_len": 3,
        "num_timesteps": 4, "normformer": True, "num_image_embeds": 2,
    },
}  # fmt: skip
PRIORS: dict[str, dict[str, Any]] = {
    "readme": {"timesteps": 4, "cond_drop_prob": 0.2},
    "embeds": {
        "image_embed_dim": 16, "timesteps": 4, "cond_drop_prob": 0.5, "loss_type": "l1",
        "condition_on_text_encodings": False, "training_clamp_l2norm": True,
    },
}  # fmt: skip
FIRST: dict[str, Any] = {
    "dim": 8, "image_embed_dim": 16, "text_embed_dim": 16, "cond_dim": 4, "channels": 3,
    "dim_mults": (1, 2), "cond_on_text_encodings": True, "max_text_len": 8,
}  # fmt: skip
SECOND: dict[str, Any] = {
    "dim": 8, "image_embed_dim": 16, "cond_dim": 4, "channels": 3, "dim_mults": (1, 2),
}  # fmt: skip
DECODERS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "readme": (
        [FIRST, SECOND],
        {
            "image_sizes": (8, 16), "timesteps": STEPS, "image_cond_drop_prob": 0.1,
            "text_cond_drop_prob": 0.5,
        },
    ),
    "others": (
        [{**FIRST, "cond_on_text_encodings": False}, SECOND],
        {
            "image_sizes": (8, 16), "timesteps": STEPS, "use_noise_for_lowres_cond": True,
            "p2_loss_weight_gamma": 1.0, "loss_type": "huber", "predict_x_start": (True, False),
            "predict_v": (False, True), "beta_schedule": ("linear", "cosine"),
            "vb_loss_weight": 0.5, "blur_prob": 1.0, "auto_normalize_img": False,
        },
    ),
    "unconditional": (
        [{"dim": 8, "dim_mults": (1, 2)}],
        {"image_size": 8, "timesteps": STEPS, "unconditional": True, "learned_variance": False},
    ),
}  # fmt: skip


class Flips(nn.Module):
    """Views that are nobody's chance: the picture, then its mirror image, and so on."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def forward(self, image: Tensor) -> Tensor:
        self.count += 1
        return image if self.count % 2 else image.flip(-1)


def fill(module: nn.Module, name: str) -> dict[str, list[int]]:
    """Give every parameter the numbers of its name, but a CLIP's, which has its own already.

    Returns the state dict's names and shapes.
    """
    learnt = {key for key, _ in module.named_parameters() if "rotary" not in key}
    learnt = {key for key in learnt if not key.startswith("clip.")}
    for key, tensor in module.state_dict(keep_vars=True).items():
        if key in learnt:
            with torch.no_grad():
                tensor.copy_(torch.from_numpy(filled(f"{name}.{key}", tuple(tensor.shape))))
    return {key: list(value.shape) for key, value in module.state_dict().items()}


def seeded() -> None:
    """Before each call."""
    torch.manual_seed(SEED)
    random.seed(SEED)


class Writer:
    """What is told of each case."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.said: dict[str, Any] = {"seed": SEED, "shapes": {}, "losses": {}}
        self.said |= {"sizes": SIZES, "clips": CLIPS, "nets": NETS, "priors": PRIORS}
        self.said["decoders"] = {k: {"unets": u, **v} for k, (u, v) in DECODERS.items()}
        tokens = torch.randint(1, 60, (6, 6))
        for row, length in enumerate((2, 6, 3, 4, 1, 5)):
            tokens[row, length:] = 0
        self.given = {"tokens": tokens, "images": torch.rand(6, 3, 16, 16)}
        self.given |= {"large": torch.rand(6, 3, 32, 32), "embeds": torch.randn(2, 6, 16)}

    def model(self, name: str, module: Any) -> Any:
        """A model, filled."""
        self.said["shapes"][name] = fill(module, name)
        for key, value in module.state_dict().items():
            if "noise_scheduler" in key or "rotary" in key:
                self.given[f"{name}/{key}"] = value.clone()
        return module

    def loss(self, name: str, loss: Tensor, module: nn.Module) -> None:
        """A loss, and the size of its gradient."""
        module.zero_grad()
        loss.backward()
        squares = [(p.grad.double() ** 2).sum() for p in module.parameters() if p.grad is not None]
        self.said["losses"][name] = [loss.item(), float(torch.stack(squares).sum().sqrt())]


def clips(out: Writer) -> Any:
    """x-clip's. Returns a plain one, as priors and decoders are given it."""
    tokens, images = out.given["tokens"], out.given["images"]
    for name, arguments in CLIPS.items():
        net = out.model(f"clip_{name}", CLIP(**SIZES, **arguments)).train()
        if net.use_visual_ssl:
            flips = Flips()
            net.visual_ssl.augment = net.visual_ssl.augment1 = net.visual_ssl.augment2 = flips
        seeded()
        out.loss(f"clip_{name}", net(tokens, images, return_loss=True), net)
        out.given[f"clip_{name}/similarity"] = net.eval()(tokens, images).detach()
    return net


def priors(out: Writer, clip: Any) -> Any:
    """With a CLIP, and of embeddings. Returns the first."""
    tokens, images = out.given["tokens"], out.given["images"]
    text_embed, image_embed = out.given["embeds"]
    network = DiffusionPriorNetwork(**NETS["embeds"])
    alone = out.model("prior_embeds", DiffusionPrior(network, **PRIORS["embeds"]))
    seeded()
    loss = alone(text_embed=text_embed, image_embed=image_embed.clone())
    out.loss("prior_embeds", loss, alone)
    network = DiffusionPriorNetwork(**NETS["readme"])
    prior = out.model("prior_readme", DiffusionPrior(network, clip=clip, **PRIORS["readme"]))
    seeded()
    out.loss("prior_readme", prior(tokens, images), prior)
    seeded()
    out.given["prior_readme/sampled"] = prior.sample(tokens[:2], cond_scale=2.0)
    return prior


def decoders(out: Writer, clip: Any) -> Any:
    """Cascades, and one without condition. Returns the first."""
    tokens, large = out.given["tokens"], out.given["large"]
    made = {}
    for name, (unets, arguments) in DECODERS.items():
        given = {} if arguments.get("unconditional") else {"clip": clip}
        decoder = Decoder(tuple(Unet(**one) for one in unets), **given, **arguments)
        made[name] = out.model(f"decoder_{name}", decoder)
        words = {"text": tokens} if name == "readme" else {}
        for number in range(1, len(unets) + 1):
            seeded()
            images = large if arguments.get("auto_normalize_img", True) else 2 * large - 1
            loss = decoder(images, unet_number=number, **words)
            out.loss(f"decoder_{name}_{number}", loss, decoder)
    seeded()
    z_i = out.given["embeds"][1][:2]
    drawn = made["readme"].sample(image_embed=z_i, text=tokens[:2], cond_scale=2.0)
    out.given["decoder_readme/sampled"] = drawn
    return made["readme"]


def main(folder: Path) -> None:
    """Write the two files."""
    x_clip.visual_ssl.get_default_aug = lambda *_: nn.Identity()  # torchvision's
    out = Writer()
    clip = clips(out)
    prior, decoder = priors(out, clip), decoders(out, clip)
    decoder.eval()  # sampling has left its CLIP in training mode
    out.given["embedded"] = decoder.clip.embed_image(out.given["large"]).image_embed
    seeded()
    tokens = out.given["tokens"]
    out.given["drawn"] = DALLE2(prior=prior, decoder=decoder)(tokens[:2], cond_scale=2.0)
    whole = {key: one.detach().contiguous().clone() for key, one in out.given.items()}
    save_file(whole, folder / "dalle2_scripts.safetensors")
    said = json.dumps(out.said, separators=(",", ":"))
    (folder / "dalle2_scripts.json").write_text(said + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
