"""Every ability with every kind of foreign model: a picture, or one line that says what is lacking.

What works is what `capabilities` says, which knows of the model's stages alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import unclip
from unclip.abilities._capabilities import capabilities
from unclip.checkpoints.convert import WRITERS, convert, write_as
from unclip.checkpoints.format import FORMATS, Options, Plan, open_model
from unclip.errors import CheckpointError, UsageError
from unclip.facade import Pipeline

FIXTURES = Path(__file__).parent / "fixtures"
PICTURE = Image.radial_gradient("L").resize((16, 16)).convert("RGB")
OTHER = Image.new("RGB", (16, 16), (200, 30, 60))
SHADES = [Image.new("RGB", (16, 16), (shade, 90, 255 - shade)) for shade in (0, 80, 160, 240)]
MASK = Image.new("L", (16, 16), 255)
WORDS = "a fox"

ABILITIES: dict[str, tuple[str, Callable[..., Any]]] = {
    "generate": ("generate", lambda p, **few: p.generate(WORDS, **few)),
    "generate with a negative prompt": (
        "generate", lambda p, **few: p.generate(WORDS, negative_prompt="snow", **few),
    ),
    "img2img": ("img2img", lambda p, **few: p.image_to_image(PICTURE, WORDS, **few)),
    "edit": ("edit", lambda p, **few: p.edit(PICTURE, MASK, WORDS, **few)),
    "outpaint": ("outpaint", lambda p, **few: p.outpaint(PICTURE, left=4, prompt=WORDS, **few)),
    "vary": ("vary", lambda p, **few: p.variations(PICTURE, **few)),
    "interpolate pictures": (
        "interpolate", lambda p, **few: p.interpolate(PICTURE, OTHER, frames=2, **few),
    ),
    "textdiff": ("textdiff", lambda p, **few: p.text_diff(PICTURE, WORDS, "a cat", 2, **few)),
    "reconstruct": (
        "reconstruct", lambda p, **few: p.reconstruct(PICTURE, [1], pictures=SHADES, **few),
    ),
    "upscale": ("upscale", lambda p, **few: p.upscale(PICTURE, **upsampling(few))),
    "probe": ("probe", lambda p, **few: p.probe(PICTURE, [WORDS, "a cat"])),
}  # fmt: skip
"""Name -> (what `capabilities` calls it, a call)."""

pytestmark = pytest.mark.filterwarnings("ignore::unclip.errors.SettingWarning")
"""All have the same settings, whatever they run."""

OPTIONAL: dict[str, Callable[..., Any]] = {
    "best of": lambda p, **few: p.generate(WORDS, best_of=2, **few),
    "without prior": lambda p, **few: p.generate(WORDS, prior="none", **few),
    "interpolate sentences": lambda p, **few: p.interpolate(WORDS, "a cat", frames=2, **few),
    "CLIP guidance": lambda p, **few: p.generate(WORDS, clip_guidance_scale=1.0, **few),
    "CLIP guidance of a picture": lambda p, **few: p.variations(
        PICTURE, clip_guidance_scale=1.0, **few
    ),
    "another prior": lambda p, **few: p.generate(WORDS, prior="prior", **few),
}
"""What depends on more than the stages: a picture or a line of words."""


def upsampling(few: dict[str, int]) -> dict[str, int]:
    """Those settings that are the upsamplers'."""
    return {key: value for key, value in few.items() if key.startswith("upsampler")}


MODELS: dict[str, Callable[[Any], tuple[Path, Path | None]]] = {
    "Karlo": lambda f: (f.karlo(images=False), None),
    "Karlo's image variation": lambda f: (f.karlo(images=True), None),
    "Kandinsky": lambda f: (f.kandinsky("both"), None),
    "Kandinsky's decoder": lambda f: (f.kandinsky("decoder"), None),
    "Kandinsky's prior": lambda f: (f.kandinsky("prior"), None),
    "Stable Diffusion": lambda f: (f.stable_diffusion(), None),
    "Stable Diffusion in a file": lambda f: (f.single_file("2"), None),
    "Stable Diffusion that inpaints": lambda f: (f.single_file("inpaint"), None),
    "Stable unCLIP of pictures": lambda f: (f.stable_unclip(images=True), None),
    "Stable unCLIP of texts": lambda f: (f.stable_unclip(images=False), None),
    "GLIDE": lambda f: (f.glide("base", "upsample"), None),
    "GLIDE's decoder": lambda f: (f.glide("base"), None),
    "GLIDE's upsampler": lambda f: (f.glide("upsample"), None),
    "LAION": lambda f: (f.laion("prior", "decoder"), f.clip(16)),
    "LAION's prior": lambda f: (f.laion("prior"), f.clip(16)),
    "LAION's decoder": lambda f: (f.laion("decoder"), f.clip(16)),
    "CLIP": lambda f: (f.clip(24), None),
}
"""Name -> its path, and the CLIP that it is given."""

ADVICE = {
    ("Karlo", "vary"): r"no image encoder of CLIP.*--clip",
    ("Karlo's image variation", "generate"): r"no prior.*text-to-image folder.*prior='none'",
    ("Kandinsky's decoder", "generate"): r"no prior.*prior's folder.*--clip",
    ("Kandinsky's decoder", "vary"): r"no CLIP.*prior's folder.*--clip",
    ("Kandinsky's prior", "generate"): r"no stage that makes a picture.*decoder",
    ("Stable Diffusion", "best of"): r"no CLIP.*re-ranking.*give CLIP weights with --clip",
    ("Stable Diffusion", "vary"): r"no decoder that draws from an image embedding",
    ("Stable Diffusion", "interpolate sentences"): r"image embedding.*which interpolation needs",
    ("Stable unCLIP of pictures", "generate"): r"no prior.*StableUnCLIPPipeline.*--clip",
    ("Stable unCLIP of texts", "vary"): r"no image encoder of CLIP.*whole.*--clip",
    ("Stable Diffusion", "probe"): r"no CLIP, which probing needs; .* as the model itself",
    ("Karlo", "probe"): r"no image encoder of CLIP.* as the model itself",
    ("GLIDE", "best of"): r"give CLIP weights with --clip",
    ("GLIDE", "CLIP guidance"): r"no CLIP, which CLIP guidance needs.*Karlo",
    ("GLIDE's upsampler", "generate"): r"no decoder.*base\.pt",
    ("LAION's decoder", "generate"): r"no prior.*lay a prior's files.*prior='none'",
    ("LAION's prior", "generate"): r"no stage that makes a picture.*lay a decoder's files",
    ("CLIP", "generate"): r"it is a CLIP alone.*--clip",
}
"""What is said to whom: the way out fits where the model comes from."""


@pytest.fixture(scope="module", autouse=True)
def small_latents() -> Iterator[None]:
    """Those of single files, which do not say how large theirs are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unclip.families.latent.single_file.EPS_SIDE", 8)
        patch.setattr("unclip.families.latent.single_file.V_SIDE", 8)
        yield


@pytest.fixture(scope="module", params=MODELS)
def model(
    request: pytest.FixtureRequest,
    folders: Callable[[Path], Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, Pipeline]:
    root = tmp_path_factory.mktemp("models")
    path, clip = MODELS[request.param](folders(root))
    return request.param, unclip.load(path, "cpu", torch.float32, clip=clip)


def few(pipe: Pipeline) -> dict[str, int]:
    """Two steps of every stage that has steps."""
    kinds = {name: getattr(stage.config, "sampling", None) for name, stage in pipe.stages.items()}
    steps = [name for name, sampling in kinds.items() if hasattr(sampling, "steps")]
    return {"steps" if name == "decoder" else f"{name}_steps": 2 for name in steps}


def said(call: Callable[..., Any], pipe: Pipeline) -> str:
    """What a person is told, nothing where there is a picture."""
    try:
        assert call(pipe, **few(pipe))
    except UsageError as error:
        words = str(error)
    else:
        words = ""
    assert "\n" not in words
    return words


def test_what_is_offered_works_and_all_else_says_why_not(model: tuple[str, Pipeline]) -> None:
    name, pipe = model
    able = capabilities(pipe.stages)
    for ability, (command, call) in ABILITIES.items():
        words = said(call, pipe)
        assert (words == "") == (command in able), f"{ability}: {words or 'a picture'}"
        if (name, ability) in ADVICE:
            with pytest.raises(UsageError, match=ADVICE[name, ability]):
                call(pipe, **few(pipe))
        assert "[stages." not in words, "nobody trains a part of somebody else's model"


def test_what_depends_on_more_gives_a_picture_or_says_why_not(model: tuple[str, Pipeline]) -> None:
    name, pipe = model
    for ability, call in OPTIONAL.items():
        words = said(call, pipe)
        if (name, ability) in ADVICE:
            with pytest.raises(UsageError, match=ADVICE[name, ability]):
                call(pipe, **few(pipe))
        assert "[stages." not in words, "nobody trains a part of somebody else's model"


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("Karlo", "tokenizer"),
        ("Kandinsky", "one/tokenizer"),
        ("Stable Diffusion", "tokenizer"),
        ("Stable unCLIP of texts", "tokenizer"),
    ],
)
def test_a_missing_tokenizer_can_be_named(
    name: str, where: str, folders: Callable[[Path], Any], tmp_path: Path
) -> None:
    path, _ = MODELS[name](folders(tmp_path))
    moved = (path / where).rename(tmp_path / "words")
    with pytest.raises(CheckpointError, match=rf"{where} has no tokenizer .* --tokenizer"):
        open_model(path).load(torch.float32)
    for given in (moved, moved / "vocab.json"):
        model = open_model(path, Options(tokenizer=given)).load(torch.float32, low_memory=True)
        assert model.tokenizer.vocab_size == 514


OWN_TESTS = {"unclip", "karlo-original"}
"""Formats whose round trip is in tests/checkpoints and tests/parity/test_karlo_original.py."""


def same(first: Plan, second: Plan) -> None:
    """The same stages, settings apart that a layout has no place for, and the same tensors."""
    assert list(first.parts) == list(second.parts)
    for name, part in first.parts.items():
        mine, its = (p.parts[name].translated(p.place_of(name)) for p in (first, second))
        assert type(second.parts[name].config) is type(part.config)
        assert second.parts[name].config.network == part.config.network  # type: ignore[attr-defined]
        assert set(mine) == set(its)
        assert all(torch.equal(mine[key].read(), its[key].read()) for key in mine)


@pytest.fixture(params=MODELS)
def planned(
    request: pytest.FixtureRequest,
    folders: Callable[[Path], Any],
    tmp_path: Path,
) -> Plan:
    path, clip = MODELS[request.param](folders(tmp_path))
    return open_model(path, Options(clip=clip))


def test_written_as_our_own_folder_a_model_is_read_again(planned: Plan, tmp_path: Path) -> None:
    convert(planned, tmp_path / "ours")
    ours = open_model(tmp_path / "ours")
    same(planned, ours)
    assert [p.config for p in ours.parts.values()] == [p.config for p in planned.parts.values()]


def test_every_layout_that_takes_a_model_is_read_again(planned: Plan, tmp_path: Path) -> None:
    written = []
    for layout in WRITERS.names():
        with suppress(UsageError):
            write_as(layout, planned, tmp_path / layout)
            written.append(layout)
    for layout in written:
        same(planned, open_model(tmp_path / layout))
    assert ("diffusers" in written) == (planned.family == "karlo")


def test_every_format_has_an_example(folders: Callable[[Path], Any], tmp_path: Path) -> None:
    found = set()
    for number, build in enumerate(MODELS.values()):
        (tmp_path / str(number)).mkdir()
        path, clip = build(folders(tmp_path / str(number)))
        found.add(open_model(path, Options(clip=clip)).family)
    assert found | OWN_TESTS == {FORMATS[name].name for name in FORMATS.names()}
