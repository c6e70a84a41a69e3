"""Draw docs/gallery.md and its pictures from the bundled model, with fixed seeds.

    .venv/bin/python scripts/gallery.py [ABILITY ...]

`docs/gallery/rocket.png` and `panda.png` are renderings of the emoji corpus that the gallery starts
from, `small.png` is a crop of the panda at 40×28; everything else is drawn here, first try. Labels
name the prompt or the setting. The texts that describe the results are written by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import unclip
from unclip.files import atomic_file, write_text
from unclip.media import read_image
from unclip.media.film import save_film
from unclip.media.grid import make_grid

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "gallery"
ROCKET, PANDA, SMALL = (FOLDER / f"{name}.png" for name in ("rocket", "panda", "small"))
SEED = 7
LOOKED_AT = "11490dacb64a"
"""The model whose pictures the texts describe. Another model needs new texts."""
COMPOSED = (
    (
        "a red apple to the left of a blue car",
        "a fox above a pizza",
        "three purple hearts",
        "a green cat and an orange owl",
    ),
    (
        "a cake to the right of a ghost",
        "a blue mushroom on a yellow background",
        "一只狐狸",
        "两个苹果",
    ),
)
SAID = {"一只狐狸": "a fox (in Chinese)", "两个苹果": "two apples (in Chinese)"}


@dataclass(frozen=True)
class Section:
    """One ability: heading, equivalent commands, text, and the function that draws it."""

    title: str
    commands: str
    text: str
    draw: Callable[[unclip.Pipeline], str]


SECTIONS: dict[str, Section] = {}


def section(
    title: str, commands: str, text: str
) -> Callable[[Callable[[unclip.Pipeline], str]], Callable[[unclip.Pipeline], str]]:
    """Register a drawing function as a section of the page."""

    def add(draw: Callable[[unclip.Pipeline], str]) -> Callable[[unclip.Pipeline], str]:
        SECTIONS[draw.__name__] = Section(title, commands, text, draw)
        return draw

    return add


def sheet(name: str, pictures: list[Image.Image], labels: list[str], columns: int = 0) -> str:
    """Save pictures side by side at 160 pixels; returns the Markdown that shows them."""
    small = [picture.resize((160, 160), Image.Resampling.LANCZOS) for picture in pictures]
    with atomic_file(FOLDER / f"{name}.webp") as beside:
        grid = make_grid(small, columns or len(small), labels)
        grid.save(beside, format="WEBP", quality=88, method=6)
    return f"![{', '.join(labels)}](gallery/{name}.webp)\n"


@section(
    "Text to picture",
    'unclip sweep "a fox" --x prior=eclipse_prior,prior,ar_prior,linear_prior,none --seed 7',
    "One prompt and one seed with each prior. With `none` the text embedding replaces the image "
    "embedding. The prior matters little here, because the decoder also reads the text. "
    "[priors.md](priors.md) compares the priors.",
)
def generate(pipe: unclip.Pipeline) -> str:
    names = [*pipe.model.priors, "none"]
    out = ""
    for index, prompt in enumerate(("a fox", "a guitar on a yellow background")):
        pictures = [pipe.generate(prompt, seed=SEED, prior=name)[0] for name in names]
        out += sheet(f"generate-{index}", pictures, names)
    return out


@section(
    "Composition",
    'unclip generate "a red apple to the left of a blue car" --seed 7',
    "Several objects in one picture, each with its own colour and position, from English or "
    "Chinese prompts. [evaluation.md](evaluation.md) measures how often that works.",
)
def compose(pipe: unclip.Pipeline) -> str:
    out = ""
    for index, prompts in enumerate(COMPOSED):
        pictures = [pipe.generate(prompt, seed=SEED)[0] for prompt in prompts]
        out += sheet(f"compose-{index}", pictures, [SAID.get(one, one) for one in prompts])
    return out


@section(
    "Variations",
    "unclip vary docs/gallery/rocket.png --eta 0.6 --seed 7",
    "The picture is encoded with CLIP and inverted with DDIM, then sampled again. Eta 0 "
    "reproduces it. A higher eta randomises more of the details that the CLIP embedding does not "
    "contain.",
)
def vary(pipe: unclip.Pipeline) -> str:
    etas = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    out = ""
    for name, source in (("rocket", ROCKET), ("panda", PANDA)):
        pictures = [pipe.variations(source, eta=eta, seed=SEED)[0] for eta in etas]
        labels = ["the picture", *(f"eta {eta:g}" for eta in etas)]
        out += sheet(f"vary-{name}", [read_image(source), *pictures], labels)
    return out


@section(
    "Edits",
    'unclip generate "a cat" --seed 7 -o cat.png\n'
    'unclip edit cat.png --box 128,0,128,256 "a cat" -n 3 --seed 7 -o cats/\n'
    'unclip edit cat.png --box 70,90,120,110 "a pizza" -n 3 --seed 7 -o pizzas/',
    "The grey area is repainted; all other pixels stay exactly the same. First with the decoder's "
    "mask channels, then with RePaint, which works with any decoder (`--set inpainting=repaint`).",
)
def edit(pipe: unclip.Pipeline) -> str:
    cat = pipe.generate("a cat", seed=SEED)[0]
    out = ""
    for name, box, prompt in (
        ("half", (128, 0, 256, 256), "a cat"),
        ("middle", (70, 90, 190, 200), "a pizza"),
    ):
        mask = Image.new("L", cat.size, 0)
        mask.paste(255, box)
        hidden = cat.copy()
        hidden.paste((150, 150, 150), mask=mask)
        ours = pipe.edit(cat, mask, prompt, 3, SEED)
        other = pipe.edit(cat, mask, prompt, 3, SEED, inpainting="repaint")
        labels = [f"{prompt}: the mask", *["mask channels"] * 3, *["RePaint"] * 3]
        out += sheet(f"edit-{name}", [hidden, *ours, *other], labels)
    return out


@section(
    "Outpainting",
    'unclip outpaint docs/gallery/panda.png --left 128 --right 64 "a panda" -n 2 --seed 7',
    "The canvas is extended in windows that overlap by half. The picture itself stays exactly the "
    "same. The new background is slightly uneven, and the second panda is cut off.",
)
def outpaint(pipe: unclip.Pipeline) -> str:
    pictures = pipe.outpaint(PANDA, 128, 64, 0, 0, "a panda", 2, SEED)
    with atomic_file(FOLDER / "outpaint.webp") as beside:
        wide = [picture.reduce(2) for picture in pictures]
        make_grid(wide, 2).save(beside, format="WEBP", quality=88)
    return "![two wider pictures](gallery/outpaint.webp)\n"


@section(
    "Image to image",
    'unclip img2img docs/gallery/rocket.png "a guitar" --strength 0.6 --seed 7',
    "The picture is partly noised, then denoised with a new prompt. Here it stays a rocket up to "
    "strength 0.6.",
)
def img2img(pipe: unclip.Pipeline) -> str:
    strengths = (0.2, 0.4, 0.6, 0.8, 1.0)
    pictures = [pipe.image_to_image(ROCKET, "a guitar", s, seed=SEED)[0] for s in strengths]
    labels = ["the picture", *(f"strength {s:g}" for s in strengths)]
    return sheet("img2img", [read_image(ROCKET), *pictures], labels)


@section(
    "Interpolations",
    "unclip interpolate docs/gallery/rocket.png docs/gallery/panda.png --frames 7 --seed 7\n"
    'unclip interpolate "a red apple" "a red car" --frames 20 --fps 10 --seed 7 -o loop.gif',
    "z_i and x_T are interpolated along great circles; the first and last frames are the pictures "
    "themselves. Below, an interpolation between two prompts, and the same one as an animation.",
)
def interpolate(pipe: unclip.Pipeline) -> str:
    between = pipe.interpolate(str(ROCKET), str(PANDA), 7, SEED)
    words = pipe.interpolate("a red apple", "a red car", 7, SEED)
    many = pipe.interpolate("a red apple", "a red car", 20, SEED)
    save_film([one.resize((160, 160)) for one in many], FOLDER / "loop.gif", 10, bounce=True)
    labels = [f"{index}/6" for index in range(7)]
    out = sheet("interpolate-pictures", between, labels)
    return out + sheet("interpolate-words", words, labels) + "![film](gallery/loop.gif)\n"


@section(
    "Text diffs",
    'unclip generate "a fox" --seed 7 -o fox.png\n'
    'unclip textdiff fox.png --from "a fox" --to "a cat" --frames 6 --theta 0.75 --seed 7',
    "z_i is rotated towards the difference between two captions; x_T stays the same. "
    "[text_diff.md](text_diff.md) measures how often only the intended attribute changes. Above a "
    "theta of 0.5 other attributes change too.",
)
def textdiff(pipe: unclip.Pipeline) -> str:
    fox, car = (pipe.generate(prompt, seed=SEED)[0] for prompt in ("a fox", "a red car"))
    out = ""
    labels = ["the picture", *(f"theta {0.15 * index:.2f}" for index in range(1, 6))]
    for name, picture, source, target, seen in (
        ("object", fox, "a fox", "a cat", "It is a cat from 0.45 on."),
        (
            *("colour", car, "a red car", "a blue car"),
            "This fails: the car stays red up to 0.45, and is a blue rocket from 0.60 on.",
        ),
        (
            *("ground", fox, "a fox on a white background", "a fox on a green background"),
            "The background is green from 0.30 on; the fox is lost from 0.60 on.",
        ),
    ):
        pictures = pipe.text_diff(picture, source, target, 6, 0.75, SEED)
        out += f'From "{source}" to "{target}". {seen}\n\n'
        out += sheet(f"textdiff-{name}", pictures, labels) + "\n"
    return out.removesuffix("\n")


@section(
    "Reconstructions",
    "unclip reconstruct docs/gallery/rocket.png --dims 1,2,4,8,16,24 --seed 7",
    "Sampled from the first few principal components of the picture's embedding (figure 7 of the "
    "paper). The space of this small CLIP has a low rank: 24 components hold 96 % of it. With "
    "four components the rocket is recognisable and the panda is not.",
)
def reconstruct(pipe: unclip.Pipeline) -> str:
    dims = [1, 2, 4, 8, 16, 24]
    out = ""
    for name, source in (("rocket", ROCKET), ("panda", PANDA)):
        pictures = pipe.reconstruct(source, dims, SEED)
        labels = ["the picture", *(f"{k} component{'s' * (k > 1)}" for k in dims)]
        out += sheet(f"reconstruct-{name}", [read_image(source), *pictures], labels)
    return out


@section(
    "Probing",
    'unclip generate "an apple" --seed 7 -o apple.png\n'
    'unclip probe apple.png "an apple" "a pizza" "a car"',
    "Zero-shot classification with CLIP, and the typographic attack of figure 6: an apple, and "
    "the same apple with a word written across it. This CLIP was trained without letters, so the "
    "word has no effect here.",
)
def probe(pipe: unclip.Pipeline) -> str:
    labels = ["an apple", "a pizza", "a car"]
    plain = pipe.generate("an apple", seed=SEED)[0]
    rows = ["| picture | " + " | ".join(labels) + " |", "|---|" + "--:|" * len(labels)]
    pictures = []
    for word in ("", "PIZZA", "CAR"):
        picture = plain.copy()
        if word:
            draw = ImageDraw.Draw(picture)
            draw.rectangle((48, 108, 208, 158), fill="white")
            font = ImageFont.load_default(size=44)
            draw.text((128, 133), word, fill="black", font=font, anchor="mm")
        pictures.append(picture)
        shares = " | ".join(f"{100 * share:.1f} %" for share in pipe.probe(picture, labels))
        rows.append(f"| {word or 'the apple'} | {shares} |")
    return sheet("probe", pictures, ["the apple", "PIZZA", "CAR"]) + "\n" + "\n".join(rows) + "\n"


@section(
    "Upscaling",
    "unclip upscale docs/gallery/small.png -o large.png",
    "The upsamplers alone, at any size and aspect ratio: a picture of 40×28 pixels, before and "
    "after.",
)
def upscale(pipe: unclip.Pipeline) -> str:
    small = read_image(SMALL)
    large = pipe.upscale(small)[0]
    with atomic_file(FOLDER / "upscale.webp") as beside:
        pair = [small.resize(large.size, Image.Resampling.NEAREST), large]
        make_grid(pair, 2, ["40x28", f"{large.width}x{large.height}"]).save(
            beside, format="WEBP", quality=88
        )
    return "![before and after](gallery/upscale.webp)\n"


@section(
    "Guidance and re-ranking",
    'unclip generate "a robot" --seed 7 --set clip_guidance_scale=50 -o guided.png\n'
    'unclip generate "a robot" --seed 7 --best-of 8 -o best.png\n'
    'unclip generate "a robot" --seed 7 --set "guidance_interval=[0.2,0.9]" -o interval.png\n'
    'unclip generate "a robot" --seed 7 --set guidance_rescale=0.7 -o rescaled.png',
    "One prompt and one seed: with default settings, with CLIP guidance, the best of eight as "
    "ranked by CLIP, with guidance only at middle noise levels, and with rescaled guidance. "
    "`unclip sweep` draws such grids over any two settings.",
)
def guidance(pipe: unclip.Pipeline) -> str:
    ways = {
        "plain": {},
        "CLIP guidance 50": {"clip_guidance_scale": 50.0},
        "best of 8": {"best_of": 8},
        "interval 0.2 to 0.9": {"guidance_interval": (0.2, 0.9)},
        "rescale 0.7": {"guidance_rescale": 0.7},
    }
    out = ""
    for index, prompt in enumerate(("a robot", "a rocket")):
        pictures = [pipe.generate(prompt, seed=SEED, **how)[0] for how in ways.values()]
        out += sheet(f"guidance-{index}", pictures, list(ways))
    return out


def main() -> None:
    """Draw the named sections, or all of them and the page."""
    pipe = unclip.load()
    if pipe.hash != LOOKED_AT:
        print(f"the texts describe model {LOOKED_AT}, this is {pipe.hash}: check the texts")
    wanted = sys.argv[1:]
    bodies = {}
    for name in wanted or SECTIONS:
        bodies[name] = SECTIONS[name].draw(pipe)
        print(f"docs/gallery: {name}", flush=True)
    if wanted:
        return
    page = [
        "# Gallery\n",
        "The bundled model drew every picture on the first try, with seed 7. The commands above\n"
        "the pictures draw them again. `python scripts/gallery.py` draws all of them.\n",
    ]
    for name, one in SECTIONS.items():
        page.append(f"## {one.title}\n\n```sh\n{one.commands}\n```\n\n{one.text}\n\n{bodies[name]}")
    write_text(ROOT / "docs" / "gallery.md", "\n".join(page))


if __name__ == "__main__":
    main()
