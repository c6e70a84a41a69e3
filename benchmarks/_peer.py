"""One side of `benchmarks/peers.py`, run in the environment of the measured implementation.

Reads lines of JSON: first the set-up, then one line per run. Answers each with one line of JSON.
Imports this project only to measure it.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

PROMPT = "a photo of a red fox in a snowy forest"
Run = Callable[[int], Any]
READY: dict[str, Callable[..., Run]] = {}


def ready(fn: Callable[..., Run]) -> Callable[..., Run]:
    """Register a set-up function; it returns the function of a seed that is timed."""
    READY[fn.__name__] = fn
    return fn


@ready
def karlo_ours(folder: str, steps: list[int], dtype: str, **settings: Any) -> Run:
    import unclip

    pipe = unclip.load(folder, "cpu", getattr(torch, dtype))
    prior, decoder, upsampler = steps

    def run(seed: int) -> Any:
        return pipe.generate(
            PROMPT,
            seed=seed,
            prior_steps=prior,
            steps=decoder,
            upsampler_steps=upsampler,
            **settings,
        )[0]

    return run


@ready
def karlo_command(folder: str, steps: list[int], dtype: str) -> Run:
    """`unclip generate`."""
    import tempfile

    from unclip.cli import main as unclip_command

    prior, decoder, upsampler = steps

    def run(seed: int) -> Any:
        with tempfile.TemporaryDirectory() as out:
            code = unclip_command(
                [
                    *("generate", PROMPT, "--model", folder, "--seed", str(seed)),
                    *("--steps", str(decoder), "--set", f"prior_steps={prior}"),
                    *("--set", f"upsampler_steps={upsampler}", "--device", "cpu"),
                    *("--dtype", dtype),
                    *("-o", f"{out}/picture.png"),
                ]
            )
        if code:
            raise SystemExit(f"unclip generate ended with {code}")

    return run


@ready
def karlo_diffusers(folder: str, steps: list[int], dtype: str) -> Run:
    from diffusers import UnCLIPPipeline

    pipe = UnCLIPPipeline.from_pretrained(folder, torch_dtype=getattr(torch, dtype))
    pipe.set_progress_bar_config(disable=True)
    prior, decoder, upsampler = steps

    def run(seed: int) -> Any:
        return pipe(
            PROMPT,
            generator=torch.Generator().manual_seed(seed),
            prior_num_inference_steps=prior,
            decoder_num_inference_steps=decoder,
            super_res_num_inference_steps=upsampler,
        ).images[0]

    return run


@ready
def karlo_prior_ours(folder: str, steps: int, batch: int, dtype: str) -> Run:
    import unclip
    from unclip.rng import Rng

    pipe = unclip.load(folder, "cpu", getattr(torch, dtype))
    cond = pipe.model.clip("reading").encode_text(pipe.read([PROMPT] * batch))
    prior: Any = pipe.stages["prior"]

    def run(seed: int) -> Any:
        return prior.sample_data(cond, Rng(list(range(seed, seed + batch))), {"steps": steps})

    return run


@ready
@torch.no_grad()
def karlo_prior_diffusers(folder: str, steps: int, batch: int, dtype: str) -> Run:
    from diffusers import UnCLIPPipeline

    pipe = UnCLIPPipeline.from_pretrained(folder, torch_dtype=getattr(torch, dtype))
    embed, hidden, mask = pipe._encode_prompt(PROMPT, "cpu", batch, True)

    @torch.no_grad()
    def run(seed: int) -> Any:
        scheduler = pipe.prior_scheduler
        scheduler.set_timesteps(steps)
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(batch, embed.shape[1], generator=generator).to(embed.dtype)
        for index, t in enumerate(scheduler.timesteps):
            both = pipe.prior(
                torch.cat([x, x]),
                timestep=t,
                proj_embedding=embed,
                encoder_hidden_states=hidden,
                attention_mask=mask,
            ).predicted_image_embedding
            without, given = both.chunk(2)
            last = index + 1 == len(scheduler.timesteps)
            before = None if last else scheduler.timesteps[index + 1]
            x = scheduler.step(
                without + 4.0 * (given - without), t, x, prev_timestep=before, generator=generator
            ).prev_sample
        return x

    return run


LAION_PRIOR = {"dim": 512, "depth": 6, "dim_head": 64, "heads": 8}
LAION_UNET = {
    "dim": 128,
    "image_embed_dim": 512,
    "text_embed_dim": 512,
    "cond_dim": 128,
    "channels": 3,
    "dim_mults": (1, 2, 4, 8),
    "cond_on_text_encodings": True,
}
"""The shapes of DALLE2-pytorch's README."""


def _laion_prior(steps: int, context: int) -> dict[str, Any]:
    net = {**LAION_PRIOR, "max_text_len": context}
    return {"net": net, "image_embed_dim": 512, "timesteps": steps, "cond_drop_prob": 0.2}


def _laion_decoder(steps: int) -> dict[str, Any]:
    return {"unets": [LAION_UNET], "image_sizes": [64], "timesteps": steps}


def _laion_inputs(batch: int) -> tuple[Any, Any]:
    torch.manual_seed(1)
    return torch.randn(batch, 77, 512), torch.nn.functional.normalize(torch.randn(batch, 512))


def _quiet_peer() -> Any:
    import dalle2_pytorch.dalle2_pytorch as peer

    peer.tqdm = lambda it, **_: it
    torch.manual_seed(0)
    return peer


@ready
def laion_prior_theirs(
    file: str, steps: int, batch: int, context: int, guidance: float, dtype: str
) -> Run:
    peer = _quiet_peer()
    config = _laion_prior(steps, context)
    net = peer.DiffusionPriorNetwork(**config["net"])
    model = peer.DiffusionPrior(**{**config, "net": net}).eval()
    torch.save(model.state_dict(), file)
    text, embed = _laion_inputs(batch)
    shape, cond = (batch, 512), {"text_embed": embed, "text_encodings": text}

    def run(seed: int) -> Any:
        torch.manual_seed(seed)
        return model.p_sample_loop(shape, cond, cond_scale=guidance)

    return run


@ready
def laion_decoder_theirs(file: str, steps: int, batch: int, guidance: float, dtype: str) -> Run:
    peer = _quiet_peer()
    drops = {"image_cond_drop_prob": 0.1, "text_cond_drop_prob": 0.5}
    net = peer.Unet(**LAION_UNET)
    model = peer.Decoder(unet=(net,), image_sizes=(64,), timesteps=steps, **drops).eval()
    torch.save(model.state_dict(), file)
    text, embed = _laion_inputs(batch)

    def run(seed: int) -> Any:
        torch.manual_seed(seed)
        return model.sample(image_embed=embed, text_encodings=text, cond_scale=guidance)

    return run


def _ours(kind: str, file: str, config: dict[str, Any], dtype: str) -> Any:
    """Our stage with the weights written by the peer's process."""
    from pathlib import Path

    from unclip.checkpoints.archive import open_tensors
    from unclip.families.laion import laion

    path = Path(file)
    saved = laion.Saved(path, kind, open_tensors(path), config, path, "")
    part = laion.prior_part(saved, None) if kind == "prior" else laion.unet_parts(saved, None)[0]
    stage = part.build()
    part.fill(stage, kind, getattr(torch, dtype), torch.device("cpu"))
    return stage


@ready
def laion_prior_ours(
    file: str, steps: int, batch: int, context: int, guidance: float, dtype: str
) -> Run:
    from unclip.rng import Rng
    from unclip.types import Cond

    stage = _ours("prior", file, _laion_prior(steps, context), dtype)
    text, embed = _laion_inputs(batch)
    words = torch.ones(batch, text.shape[1], dtype=torch.bool)
    cond = Cond(text_embed=embed, text_encodings=text, text_mask=words)

    def run(seed: int) -> Any:
        rng = Rng(list(range(seed, seed + batch)))
        return stage.sample_data(cond, rng, {"guidance_scale": guidance})

    return run


@ready
def laion_decoder_ours(file: str, steps: int, batch: int, guidance: float, dtype: str) -> Run:
    from unclip.rng import Rng
    from unclip.types import Cond

    stage = _ours("decoder", file, _laion_decoder(steps), dtype)
    text, embed = _laion_inputs(batch)
    words = torch.ones(batch, text.shape[1], dtype=torch.bool)
    cond = Cond(image_embed=embed, text_encodings=text, text_mask=words)

    def run(seed: int) -> Any:
        rng = Rng(list(range(seed, seed + batch)))
        return stage.sample_data(cond, rng, {"guidance_scale": guidance})

    return run


def _examples(batch: int, side: int) -> dict[str, Any]:
    """Pictures, embeddings and text encodings of a batch, the same for both sides."""
    torch.manual_seed(2)
    return {
        "image": torch.randint(0, 256, (batch, side, side, 3), dtype=torch.uint8),
        "image_embed": torch.nn.functional.normalize(torch.randn(batch, 512)),
        "text_embed": torch.nn.functional.normalize(torch.randn(batch, 512)),
        "text_encodings": torch.randn(batch, 77, 512),
    }


@ready
def train_prior_theirs(file: str, batch: int, dtype: str) -> Run:
    from dalle2_pytorch.trainer import DiffusionPriorTrainer

    peer = _quiet_peer()
    config = _laion_prior(1000, 77)
    model = peer.DiffusionPrior(**{**config, "net": peer.DiffusionPriorNetwork(**config["net"])})
    torch.save(model.state_dict(), file)
    half = {"accelerator_mixed_precision": "bf16"} if dtype == "bfloat16" else {}
    trainer = DiffusionPriorTrainer(
        diffusion_prior=model, lr=3e-4, wd=1e-2, max_grad_norm=1.0, ema_beta=0.99, **half
    ).train()
    seen = _examples(batch, 64)
    given = {key: seen[key] for key in ("image_embed", "text_embed", "text_encodings")}

    def run(seed: int) -> Any:
        loss = trainer(**given)
        trainer.update()
        return loss

    return run


@ready
def train_decoder_theirs(file: str, batch: int, dtype: str) -> Run:
    from dalle2_pytorch.trainer import DecoderTrainer

    peer = _quiet_peer()
    drops = {"image_cond_drop_prob": 0.1, "text_cond_drop_prob": 0.5}
    model = peer.Decoder(
        unet=(peer.Unet(**LAION_UNET),), image_sizes=(64,), timesteps=1000, **drops
    )
    torch.save(model.state_dict(), file)
    half = {"accelerator_mixed_precision": "bf16"} if dtype == "bfloat16" else {}
    trainer = DecoderTrainer(
        model, lr=3e-4, wd=1e-2, max_grad_norm=1.0, ema_beta=0.99, **half
    ).train()
    seen = _examples(batch, 64)
    image = seen["image"].permute(0, 3, 1, 2).float() / 255
    given = {key: seen[key] for key in ("image_embed", "text_encodings")}

    def run(seed: int) -> Any:
        loss = trainer(image, unet_number=1, **given)
        trainer.update(1)
        return loss

    return run


class _Same:
    """A loader that gives one batch for ever."""

    world = 1

    def __init__(self, batch: dict[str, Any], size: int) -> None:
        self.batch, self.batch_size, self.first = batch, size, 0

    def __next__(self) -> dict[str, Any]:
        self.first += self.batch_size
        return dict(self.batch)

    def resize(self, batch_size: int) -> None:
        """It is of that size."""

    def state_dict(self) -> dict[str, Any]:
        """There is no place to go on from."""
        return {}


def _trainer(stage: Any, loader: Any, settings: Any, seed: int = 0) -> Any:
    """Our trainer of a stage, whose batches hold all that a CLIP would say."""
    from pathlib import Path
    from tempfile import gettempdir

    from unclip.nn.clip import ClipConfig
    from unclip.stages.clip import ClipStage, ClipStageConfig
    from unclip.train.task import Task
    from unclip.train.trainer import Trainer

    tower = {"width": 512, "depth": 1, "heads": 1}
    text = {**tower, "vocab_size": 300, "context": 77}
    width = stage.config.network.embed_dim
    vision = {**tower, "image_size": 64, "patch_size": 64}
    size = {"embed_dim": width, "text": text, "vision": vision}
    clip = ClipStage(ClipStageConfig(network=ClipConfig.parse(size)))  # it has nothing to do
    return Trainer(Task(stage, clip), loader, settings, Path(gettempdir()), seed)


def _trained(
    kind: str, file: str, config: dict[str, Any], given: dict[str, Any], **drops: float
) -> Run:
    """A step of our trainer, with the weights that the peer's process wrote."""
    from unclip.train.config import TrainConfig

    stage = _ours(kind, file, config, "float32").requires_grad_(True).train()
    stage.config = stage.config.model_copy(update=drops)
    batch = given["batch"]
    seen = {**_examples(batch, 64), "text_mask": torch.ones(batch, 77, dtype=torch.bool)}
    seen["text_tokens"] = torch.zeros(batch, 77, dtype=torch.long)
    settings = TrainConfig(
        batch_size=batch,
        precision=given["dtype"],
        ema=0.99,
        learning_rate=3e-4,
        activation_checkpointing=given["checkpointing"],
    )
    trainer = _trainer(stage, _Same(seen, batch), settings)
    return lambda seed: float(trainer.advance()["loss"])


@ready
def train_prior_ours(file: str, checkpointing: bool = False, **given: Any) -> Run:
    given = {**given, "checkpointing": checkpointing}
    return _trained("prior", file, _laion_prior(1000, 77), given, drop_text=0.2, drop_image=0.2)


@ready
def train_decoder_ours(file: str, checkpointing: bool = False, **given: Any) -> Run:
    given = {**given, "checkpointing": checkpointing}
    return _trained("decoder", file, _laion_decoder(1000), given, drop_text=0.5, drop_image=0.1)


@ready
def train_clip_ours(recipe: str, batch: int, micro_batch: int | None, dtype: str) -> Run:
    """A step of a recipe's CLIP, whole or in pieces (GradCache)."""
    from unclip.stages.clip import ClipStage
    from unclip.train.recipe import load_recipe

    made = load_recipe(recipe)
    changes = {"batch_size": batch, "micro_batch": micro_batch, "precision": dtype}
    settings, stage = made.trained["clip"].model_copy(update=changes), made.stage("clip").config
    text, side = stage.network.text, stage.network.vision.image_size
    torch.manual_seed(0)
    seen = {
        "image": torch.randint(0, 256, (batch, side, side, 3), dtype=torch.uint8),
        "text_tokens": torch.randint(1, text.vocab_size, (batch, text.context)),
        "text_mask": torch.ones(batch, text.context, dtype=torch.bool),
    }
    trainer = _trainer(ClipStage(stage), _Same(seen, batch), settings)
    return lambda seed: float(trainer.advance()["loss"])


def peak_bytes() -> int:
    """Peak memory of this process, without that inherited from its parent."""
    with contextlib.suppress(OSError), open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    answer = sys.stdout
    sys.stdout = sys.stderr  # keep output of libraries out of the answers
    order = json.loads(sys.stdin.readline())
    torch.set_num_threads(order["threads"])
    run = READY[order["what"]](**order["with"])
    print(json.dumps({"ready": True}), file=answer, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        started = time.perf_counter()
        made = run(asked["seed"])
        seconds = time.perf_counter() - started
        if asked.get("save"):
            made.save(asked["save"])
        peak = peak_bytes()
        print(json.dumps({"seconds": seconds, "peak": peak}), file=answer, flush=True)


if __name__ == "__main__":
    main()
