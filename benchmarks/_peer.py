"""One side of `benchmarks/peers.py`, in the environment of whichever implementation it measures.

Reads lines of JSON: what to make ready, then what to run; answers each with one line of JSON. It
imports nothing of this project but where it measures this project.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

Run = Callable[[int], Any]
READY: dict[str, Callable[..., Run]] = {}


def ready(fn: Callable[..., Run]) -> Callable[..., Run]:
    """Register what makes something ready to be timed; gives what is timed, a function of a seed."""
    READY[fn.__name__] = fn
    return fn


@ready
def karlo_ours(folder: str, steps: list[int], dtype: str, **settings: Any) -> Run:
    import unclip

    pipe = unclip.load(folder, "cpu", getattr(torch, dtype))
    prior, decoder, upsampler = steps

    def run(seed: int) -> Any:
        return pipe.generate(
            "a photo of a red fox in a snowy forest",
            seed=seed,
            prior_steps=prior,
            steps=decoder,
            upsampler_steps=upsampler,
            **settings,
        )[0]

    return run


@ready
def karlo_diffusers(folder: str, steps: list[int], dtype: str) -> Run:
    from diffusers import UnCLIPPipeline

    pipe = UnCLIPPipeline.from_pretrained(folder, torch_dtype=getattr(torch, dtype))
    pipe.set_progress_bar_config(disable=True)
    prior, decoder, upsampler = steps

    def run(seed: int) -> Any:
        return pipe(
            "a photo of a red fox in a snowy forest",
            generator=torch.Generator().manual_seed(seed),
            prior_num_inference_steps=prior,
            decoder_num_inference_steps=decoder,
            super_res_num_inference_steps=upsampler,
        ).images[0]

    return run


def main() -> None:
    answer = sys.stdout
    sys.stdout = sys.stderr  # what libraries print is not an answer
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
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": seconds, "peak": peak}), file=answer, flush=True)


if __name__ == "__main__":
    main()
