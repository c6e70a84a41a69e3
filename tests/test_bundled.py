"""The model that comes with the package: whole, small enough, and it draws what is asked."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import unclip
from unclip.abilities._latent import of_picture
from unclip.checkpoints.native import verify
from unclip.emoji.english import article, plural
from unclip.evaluate.sharpness import laplacian_energy
from unclip.loading import BUNDLED, bundled_models
from unclip.media import to_tensor
from unclip.train.recipe import load_recipe

MIB = 2**20
BOX = Image.Resampling.BOX


@pytest.fixture(scope="module")
def pipe() -> unclip.Pipeline:
    return unclip.load(device="cpu")


def pixels(picture: Image.Image) -> NDArray[np.float64]:
    return np.asarray(picture, dtype=np.float64)


def test_it_is_whole_and_within_its_size() -> None:
    folder = bundled_models()[BUNDLED]
    sizes = [file.stat().st_size for file in folder.parent.rglob("*") if file.is_file()]
    assert verify(folder) == []
    assert max(sizes) < 15 * MIB
    assert sum(sizes) < 45 * MIB
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "Apache-2.0" in card, "the card names the data's licence"
    assert card == load_recipe(BUNDLED).settings.card


def test_each_of_two_things_has_its_colour_and_its_place(pipe: unclip.Pipeline) -> None:
    for prompt, left, right in (
        ("a red apple to the left of a blue car", "red", "blue"),
        ("a blue car to the left of a red apple", "blue", "red"),
    ):
        picture = pixels(pipe.generate(prompt, seed=7)[0])
        for half, wanted in ((picture[:, :128], left), (picture[:, 128:], right)):
            red, _, blue = half.mean((0, 1))
            assert ("red" if red > blue else "blue") == wanted


def test_a_picture_comes_back_from_its_own_noise(pipe: unclip.Pipeline) -> None:
    """The decoder's x_T has the variance of noise, and draws the fox again."""
    picture = pipe.generate("a fox", seed=7)[0]
    latent = of_picture(pipe, picture, 0, {})
    assert "decoder" in latent.noises and latent.detail is not None
    error = float((latent.detail**2).mean())  # of values in [-1, 1]
    assert 10 * np.log10(2**2 / error) > 24


def energy(picture: Image.Image) -> float:
    return float(laplacian_energy(to_tensor([picture]))[0])


def test_1024_is_the_same_picture_with_sharp_edges(pipe: unclip.Pipeline) -> None:
    """And 512 that, reduced; a variation that leaves nothing to chance is as sharp."""
    own = pipe.generate("a fox", seed=7, steps=4)[0]
    large, half = (pipe.generate("a fox", seed=7, steps=4, size=one)[0] for one in ("1024", "512"))
    assert (large.size, half.size) == ((1024, 1024), (512, 512))
    assert np.abs(pixels(large.resize(own.size, BOX)) - pixels(own)).mean() < 4
    assert np.abs(pixels(large.resize(half.size, BOX)) - pixels(half)).mean() < 4
    enlarged = own.resize(large.size, Image.Resampling.BICUBIC)
    assert energy(large) > 4 * energy(enlarged)
    (same,) = pipe.variations(large, eta=0, size="1024", steps=4)
    assert same.tobytes() == large.tobytes()
    again = pipe.variations(own, eta=0, size="1024", steps=4)[0]
    assert energy(again) > 4 * energy(enlarged)
    assert np.abs(pixels(again.resize(own.size, BOX)) - pixels(own)).mean() < 4


def test_1024_of_the_fast_decoder_and_of_the_best_is_that_enlarged(pipe: unclip.Pipeline) -> None:
    for asked in ({"decoder": "fast"}, {"best_of": 2, "steps": 2}):
        own, large = (
            pipe.generate("a fox", seed=7, size=size, **asked)[0] for size in (None, "1024")
        )
        assert large.size == (1024, 1024)
        assert np.abs(pixels(large.resize(own.size, BOX)) - pixels(own)).mean() < 4


def test_one_seed_is_one_picture_whatever_the_batch(pipe: unclip.Pipeline) -> None:
    two = pipe.generate("a pumpkin", n=2, seed=7)
    one = pipe.generate("a pumpkin", seed=8)[0]
    assert one.size == (256, 256)
    assert np.abs(pixels(two[1]) - pixels(one)).mean() < 2.0
    assert np.abs(pixels(two[0]) - pixels(one)).mean() > 5.0


def test_a_list_gives_what_each_prompt_gives_to_a_level_of_255() -> None:
    """In float32, whose sums are rounded in another way in another batch."""
    pipe, prompts = unclip.load(device="cpu", dtype="float32"), ["a fox", "a red car"]
    together = pipe.generate(prompts, seed=7, steps=5)
    for prompt, picture in zip(prompts, together, strict=True):
        (alone,) = pipe.generate(prompt, seed=7, steps=5)
        assert np.abs(pixels(picture) - pixels(alone)).max() <= 1


@pytest.mark.parametrize(
    ("prompt", "corner", "centre"),
    [
        ("a pumpkin on a blue background", "blue", "red"),
        ("a red apple on a green background", "green", "red"),
        ("a big cactus on a red background", "red", "green"),  # a frog has a mouth in its middle
        ("蓝色背景上的一个苹果", "blue", "red"),  # an apple on a blue background
    ],
)
def test_colours_are_where_the_sentence_puts_them(
    prompt: str, corner: str, centre: str, pipe: unclip.Pipeline
) -> None:
    picture = pixels(pipe.generate(prompt, seed=7)[0])
    channels = ["red", "green", "blue"]
    corners = picture[[8, 8, -8, -8], [8, -8, 8, -8]].mean(0)
    middle = picture[96:160, 96:160].mean((0, 1))
    assert channels[int(corners.argmax())] == corner
    assert channels[int(middle.argmax())] == centre


def test_what_an_edit_paints_has_the_ground_of_what_it_keeps(pipe: unclip.Pipeline) -> None:
    """No rectangle of another tint (it was 10 levels of blue), and no step at its border."""
    picture = pipe.generate("a penguin on a light gray background", seed=7)[0]
    mask = Image.new("L", picture.size, 0)
    mask.paste(255, (100, 10, 245, 110))
    edited = pixels(pipe.edit(picture, mask, "a penguin with an umbrella", seed=3)[0])
    kept = np.asarray(mask) == 0
    assert np.array_equal(edited[kept], pixels(picture)[kept]), "to the byte"
    inside, beside = edited[20:60, 215:237].mean((0, 1)), edited[20:60, 247:].mean((0, 1))
    assert np.abs(inside - beside).max() < 6
    step = np.abs(np.diff(edited[20:60], axis=1)).mean((0, 2))
    assert step[244] < 2, "the border lies between columns 244 and 245"


def test_it_knows_the_words_of_its_captions_and_says_which_it_does_not(
    pipe: unclip.Pipeline,
) -> None:
    unknown = pipe.model.vocabulary.unknown
    for prompt in (
        "a fox above a pizza", "Two blue cars!", "an image of a smiling face, in the snow",
        "三只红色的狐狸在一辆汽车的左边", "浅蓝色背景上的雪人", "a jack-o'-lantern",
    ):  # fmt: skip
        assert set(unknown(prompt)) <= {"in", "snow"}
    assert unknown("a cat riding a bicycle") == ["riding", "bicycle"]
    assert unknown("骑自行车的猫") == ["骑自行车"]
    recipe = load_recipe("emoji-cpu")
    for noun in recipe.settings.data["nouns"]:
        assert not unknown(f"{article(noun)} {noun} and two {plural(noun)}")


def test_fast_is_two_network_calls_of_a_student(pipe: unclip.Pipeline) -> None:
    steps: list[str] = []
    (fast,) = pipe.generate(
        "a fox", seed=7, decoder="fast", on_step=lambda step: steps.append(step.stage)
    )
    assert steps.count("turbo") == 2
    orange = pixels(fast)[96:144, 96:160].mean((0, 1))
    assert orange[0] > 180 and orange[2] < 120
    (usual,) = pipe.generate("a fox", seed=7)
    assert np.abs(pixels(usual) - pixels(fast)).mean() > 1.0
