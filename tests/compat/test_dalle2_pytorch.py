"""DALLE2-pytorch's scripts, small: they run, load strictly, and what is not read is refused."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import packaging.version as version_module
import pytest
import torch
from torch import Tensor

from unclip.checkpoints.keymap import to_theirs
from unclip.compat import dalle2_pytorch
from unclip.compat.dalle2_pytorch import (
    CLIP,
    DALLE2,
    Decoder,
    DiffusionPrior,
    DiffusionPriorNetwork,
    OpenAIClipAdapter,
    OpenClipAdapter,
    TrainDecoderConfig,
    TrainDiffusionPriorConfig,
    Unet,
    XClipAdapter,
    load,
)
from unclip.compat.dalle2_pytorch.adapters import shrunk
from unclip.compat.dalle2_pytorch.decoder import blurred
from unclip.compat.dalle2_pytorch.tokenizer import tokenizer
from unclip.errors import CheckpointError, UsageError
from unclip.families.clip.openai import openai_table
from unclip.nn.clip import ClipConfig, VisionConfig
from unclip.nn.text import TextConfig
from unclip.types import Cond

SIZES: dict[str, Any] = {
    "dim_text": 16, "dim_image": 16, "dim_latent": 16, "text_enc_depth": 1, "text_seq_len": 6,
    "text_heads": 1, "visual_enc_depth": 1, "visual_heads": 1, "visual_image_size": 8,
    "visual_patch_size": 4,
}  # fmt: skip
NET: dict[str, Any] = {"dim": 16, "depth": 1, "dim_head": 8, "heads": 2, "max_text_len": 6}
UNET: dict[str, Any] = {
    "dim": 8, "image_embed_dim": 16, "cond_dim": 4, "channels": 3, "dim_mults": (1, 2),
}  # fmt: skip
READS: dict[str, Any] = {"text_embed_dim": 16, "cond_on_text_encodings": True, "max_text_len": 6}
CLIP_FILE = "UNCLIP_CLIP"


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    torch.manual_seed(0)
    yield
    torch.manual_seed(0)


def prior_of(**arguments: Any) -> DiffusionPrior:
    told = {"image_embed_dim": 16, "timesteps": 3, "condition_on_text_encodings": False}
    return DiffusionPrior(DiffusionPriorNetwork(**NET), **{**told, **arguments})


def decoder_of(*unets: dict[str, Any], **arguments: Any) -> Decoder:
    sizes = {"image_sizes": (8, 16)} if len(unets) > 1 else {"image_size": 8}
    return Decoder([Unet(**one) for one in unets], **{**sizes, "timesteps": 3, **arguments})


def test_the_whole_script() -> None:
    clip = CLIP(**SIZES, num_text_tokens=49408)
    text, images = torch.randint(0, 49408, (4, 6)), torch.randn(4, 3, 16, 16)
    clip(text, images[..., :8, :8], return_loss=True).backward()
    network = DiffusionPriorNetwork(**NET)
    prior = DiffusionPrior(
        net=network, clip=clip, timesteps=9, sample_timesteps=3, cond_drop_prob=0.2
    )
    prior(text, images).backward()
    unets = Unet(**UNET, **READS), Unet(**UNET)
    decoder = Decoder(
        unet=unets, image_sizes=(8, 16), clip=clip, timesteps=3, image_cond_drop_prob=0.1
    )
    for unet_number in (1, 2):
        decoder(images, text=text, unet_number=unet_number).backward()
    dalle2 = DALLE2(prior=prior, decoder=decoder)
    images = dalle2(["a red car", "a blue car"], cond_scale=2.0)
    assert images.shape == (2, 3, 16, 16) and images.min() >= 0 and images.max() <= 1
    # of one text no batch, as there
    assert dalle2("a red car", return_pil_images=True).size == (16, 16)


def test_what_is_drawn_can_be_trained_on_and_the_clip_stays_in_evaluation_mode() -> None:
    clip = CLIP(**SIZES)
    prior = DiffusionPrior(DiffusionPriorNetwork(**NET), clip=clip, timesteps=3)
    decoder = decoder_of(UNET, clip=clip)
    text = torch.randint(1, 60, (2, 6))
    z_i = prior.sample(text)
    assert prior.training and not clip.training
    decoder.train()
    assert not clip.training  # or its patches would be dropped at random
    decoder(torch.rand(2, 3, 8, 8), image_embed=z_i).backward()
    decoder(decoder.sample(image_embed=z_i)).backward()


def test_a_prior_learns_from_one_pair_what_it_then_draws() -> None:
    prior = prior_of(timesteps=20)
    optimizer = torch.optim.Adam(prior.parameters(), lr=1e-2)
    text, image = (torch.nn.functional.normalize(torch.randn(1, 16), dim=-1) for _ in range(2))
    losses = []
    for _ in range(60):
        loss = prior(text_embed=text.expand(8, -1), image_embed=image.expand(8, -1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10
    drawn = prior._drawn(Cond(text_embed=text), 1.0, 5)
    assert torch.cosine_similarity(drawn, image).item() > 0.95


def test_parts_are_kept_by_the_mask() -> None:
    decoder, picture = decoder_of(UNET), torch.rand(1, 3, 8, 8)
    keep = torch.zeros(1, 8, 8, dtype=torch.bool)
    keep[..., :4] = True
    drawn = decoder.sample(
        image_embed=torch.randn(1, 16),
        inpaint_image=picture,
        inpaint_mask=keep,
        inpaint_resample_times=2,
    )
    assert torch.allclose(drawn[..., :4], picture[..., :4], atol=1e-5)
    assert (drawn[..., 4:] - picture[..., 4:]).abs().max() > 0.05
    with pytest.raises(UsageError, match="both inpaint_image and inpaint_mask"):
        decoder.sample(image_embed=torch.randn(1, 16), inpaint_image=picture)


def test_a_cascade_begins_and_stops_where_it_is_told() -> None:
    decoder, z_i = decoder_of(UNET, UNET), torch.randn(2, 16)
    assert decoder.sample(image_embed=z_i, stop_at_unet_number=1).shape[-1] == 8
    small = torch.rand(2, 3, 8, 8)
    drawn = decoder.sample(image=small, image_embed=z_i, start_at_unet_number=2)
    assert drawn.shape == (2, 3, 16, 16)
    with decoder.one_unet_in_gpu(2):
        loss, seen = decoder(
            torch.rand(2, 3, 16, 16), image_embed=z_i, unet_number=2, return_lowres_cond_image=True
        )
    assert loss.ndim == 0 and seen.shape == (2, 3, 16, 16)


def test_crops_are_trained_on_where_they_are_asked_for() -> None:
    decoder = decoder_of(UNET, UNET, random_crop_sizes=(None, 8))
    _, seen = decoder(
        torch.rand(2, 3, 16, 16),
        image_embed=torch.randn(2, 16),
        unet_number=2,
        return_lowres_cond_image=True,
    )
    assert seen.shape == (2, 3, 8, 8)


def test_pictures_without_a_condition() -> None:
    decoder = decoder_of({"dim": 8, "dim_mults": (1, 2)}, unconditional=True)
    decoder(torch.rand(2, 3, 8, 8)).backward()
    assert decoder.sample(batch_size=3).shape == (3, 3, 8, 8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CLIP(use_mlm=True), "argument 'use_mlm' of CLIP must be False, got True"),
        (lambda: CLIP(dim_txt=3), "dim_txt.*did you mean 'dim_text'"),
        (lambda: CLIP(text_encoder=object()), "text_encoder"),
        (lambda: Unet(8, dim_multz=(1,)), "Unet: argument 'dim_multz' is not read"),
        (lambda: decoder_of({**UNET, "self_cond": True}), "self_cond is True; only False is read"),
        (lambda: decoder_of({**UNET, "image_embed_dim": None}), "image_embed_dim"),
        (lambda: decoder_of(UNET, vae=object()), "vae"),
        (lambda: Decoder(Unet(8)), "give image_size, image_sizes or clip"),
        (lambda: decoder_of(UNET, lowres_downsample_first=False), "lowres_downsample_first"),
        (lambda: decoder_of(UNET, clip_denoize=True), "clip_denoize"),
        (lambda: decoder_of(UNET, loss_type="l3"), "loss_type"),
        (lambda: decoder_of(UNET, UNET, image_sizes=(8, 12)), "12"),
        (lambda: decoder_of(UNET, clip=CLIP(**SIZES), unconditional=True), "clip must not"),
        (lambda: decoder_of(UNET, clip=3), "clip must be a CLIP or an adapter, got int"),
        (lambda: DiffusionPriorNetwork(16, depth=1, self_cond=True), "self_cond"),
        (lambda: DiffusionPriorNetwork(16, depth=1, headz=1), "headz"),
        (lambda: prior_of(beta_schedule="jsd"), "beta_schedule"),
        (lambda: prior_of(vb_loss_weight=1), "vb_loss_weight"),
        (lambda: prior_of(image_embed_dim=None), "image_embed_dim must be given"),
        (lambda: prior_of(image_embed_dim=8), "image_embed_dim is 8"),
        (lambda: prior_of().sample(torch.ones(1, 6).long()), "it has no clip"),
        (lambda: DALLE2(prior=prior_of(), decoder=decoder_of(UNET))("a car"), "no clip to read"),
        (lambda: list(Unet(8).parameters()), "a Unet has weights when a Decoder has it"),
        (lambda: decoder_of(UNET, UNET)(torch.rand(1, 3, 16, 16)), "give unet_number, 1 to 2"),
        (lambda: decoder_of(UNET)(torch.rand(1, 3, 4, 4)), "U-Net 1 draws 8 pixels"),
        (lambda: decoder_of(UNET)(torch.rand(1, 3, 8, 8)), "give image_embed, or a clip"),
        (lambda: decoder_of(UNET).get_unet(2), "unet_number must be 1 to 1, got 2"),
        (lambda: decoder_of(UNET).sample(stop_at_unet_number=2), "U-Nets 1 to 1, not 1 to 2"),
        (lambda: decoder_of(UNET).sample(start_at_unet_number=2), "U-Nets 1 to 1, not 2 to 1"),
        (lambda: Decoder([3], image_size=8), r"unet must be a Unet or several, got \[3\]"),
        (lambda: XClipAdapter(CLIP(**SIZES)).tokenize([]), "there is no text to read"),
        (lambda: XClipAdapter(CLIP(**SIZES)).embed_image(torch.rand(1, 3, 8, 9)), "square.*8×9"),
        (lambda: prior_of().sample(torch.ones(1, 6).long(), 0), "num_samples must be at least 1"),
    ],
)
def test_what_is_not_read_is_refused_by_name(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_dropout_is_refused_where_it_would_matter() -> None:
    prior = DiffusionPrior(
        DiffusionPriorNetwork(**NET, attn_dropout=0.05),
        image_embed_dim=16,
        condition_on_text_encodings=False,
    )
    given = {"text_embed": torch.randn(2, 16), "image_embed": torch.randn(2, 16)}
    prior.eval()(**given)
    with pytest.raises(UsageError, match=r"attn_dropout=0.05 is not read in training"):
        prior.train()(**given)


def test_guidance_needs_dropped_conditions() -> None:
    decoder = decoder_of(UNET, image_cond_drop_prob=0.0, text_cond_drop_prob=0.0)
    with pytest.raises(UsageError, match="cond_scale other than 1"):
        decoder.sample(image_embed=torch.randn(1, 16), cond_scale=2.0)


def test_names_that_are_not_here_say_what_to_use() -> None:
    with pytest.raises(ImportError, match="DecoderTrainer is not here: use a loop of your own"):
        from unclip.compat.dalle2_pytorch import DecoderTrainer  # noqa: F401
    with pytest.raises(AttributeError, match="has no attribute 'Absent'"):
        _ = dalle2_pytorch.Absent


def test_a_state_dict_that_does_not_fit_says_where() -> None:
    prior = prior_of()
    state = prior.state_dict()
    state.pop("net.learned_query")
    state["net.null_image_embed"] = torch.zeros(1, 3)
    state["net.other"] = torch.zeros(1)
    with pytest.raises(RuntimeError) as caught:
        prior.load_state_dict(state)
    said = str(caught.value)
    assert 'Missing key(s) in state_dict: "net.learned_query"' in said
    assert 'Unexpected key(s) in state_dict: "net.other"' in said
    assert "net.null_image_embed is (1, 3), not (1, 16)" in said
    other = prior_of(beta_schedule="linear").state_dict()
    with pytest.raises(RuntimeError, match=r"noise_scheduler.betas is of other timesteps or"):
        prior.load_state_dict(other)


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of 64 numbers, under OpenAI's names."""
    size: dict[str, Any] = {"width": 64, "depth": 1, "heads": 1, "activation": "quick_gelu"}
    text = TextConfig(**size, vocab_size=49408, context=77, learned_padding=False)
    vision = VisionConfig(**size, image_size=16, patch_size=8)
    config = ClipConfig(embed_dim=64, text=text, vision=vision)
    file = tmp_path_factory.mktemp("clips") / "ViT-tiny.pt"
    torch.save(to_theirs(config.build().state_dict(), openai_table(config)), file)
    return file


def test_the_adapter_reads_a_path_or_the_environment_and_downloads_nothing(
    clip_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="'ViT-B/32' is no file or folder, and UNCLIP_CLIP is not"):
        OpenAIClipAdapter()
    monkeypatch.setenv(CLIP_FILE, "/absent")
    with pytest.raises(UsageError, match="UNCLIP_CLIP names /absent, which is missing"):
        OpenClipAdapter("ViT-H/14", pretrained="laion2b")
    monkeypatch.setenv(CLIP_FILE, str(clip_file))
    by_name, by_path = OpenAIClipAdapter("ViT-L/14"), OpenAIClipAdapter(clip_file)
    tokens = by_name.tokenize(["a red car", "a fox"])
    assert tokens.shape == (2, 77) and tokens[0, 0] == 49406 and 49407 in tokens[0]
    text, image = by_path.embed_text(tokens), torch.rand(2, 3, 32, 32)
    assert torch.equal(text.text_embed, by_name.embed_text(tokens).text_embed)
    assert torch.allclose(text.text_embed.norm(dim=1), torch.ones(2))
    after = (tokens == 49407).int().argmax(1)
    assert (text.text_encodings[0, after[0] + 1 :] == 0).all()
    assert (text.text_encodings[0, : after[0] + 1] != 0).any(-1).all()
    assert by_name.embed_image(image).image_embed.shape == (2, 64)
    state = by_name.state_dict()
    assert {"clip.visual.conv1.weight", "clip.text_projection", "clip.logit_scale"} <= state.keys()
    by_path.load_state_dict(state, strict=True)
    with pytest.raises(UsageError, match="wants square pictures of 16 pixels, got 8×8"):
        by_name.embed_image(torch.rand(1, 3, 8, 8))


@pytest.fixture(scope="module")
def published(clip_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configurations and weights of a prior and a decoder, as training leaves them."""
    folder, clip = tmp_path_factory.mktemp("published"), {"make": "openai", "model": "ViT-L/14"}
    net = {**NET, "dim": 64, "max_text_len": None, "attn_dropout": 0.05}
    prior = {"net": net, "clip": clip, "timesteps": 3, "cond_drop_prob": 0.1}
    prior |= {"image_embed_dim": 64, "image_size": 16}
    wide = {"image_embed_dim": 64, "text_embed_dim": 64}
    unets = [{**UNET, **READS, **wide}, {**UNET, "text_embed_dim": None}]
    decoder = {"unets": unets, "image_sizes": [16, 32], "clip": clip, "timesteps": 3}
    for name, told in (("prior", prior), ("decoder", decoder)):
        path = folder / f"{name}_config.json"
        path.write_text(json.dumps({name: told, "data": {}, "train": {}}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CLIP_FILE, str(clip_file))
        for name, model in _made(folder).items():
            torch.save(model.state_dict(), folder / f"{name}.pth")
    return folder


def test_inference_from_configurations_and_weights(
    clip_file: Path, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CLIP_FILE, str(clip_file))
    models = _made(published)
    for name, model in models.items():
        state = load(published / f"{name}.pth")
        model.load_state_dict(state, strict=True)
        assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    dalle2 = DALLE2(**models)
    assert dalle2(["a red car"], cond_scale=2.0).shape == (3, 32, 32)


def test_the_page_about_it(
    clip_file: Path, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CLIP_FILE, str(clip_file))
    monkeypatch.chdir(published)
    page = (Path(__file__).parents[2] / "docs" / "coming-from.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(
        re.findall(r"compat/test_dalle2_pytorch.py -->\n```python\n(.*?)```", page, re.S)[0], names
    )
    assert names["images"].shape == (2, 3, 32, 32)


def test_a_trainers_file_is_read_as_data(tmp_path: Path) -> None:
    """Nested, with an object that `torch.load` refuses by itself."""
    value = {"model": {"weight": torch.ones(2)}, "version": version_module.Version("1.15.6")}
    torch.save(value, tmp_path / "it.pth")
    read = load(tmp_path / "it.pth")
    assert torch.equal(read["model"]["weight"], torch.ones(2))


@pytest.mark.parametrize("whole", [True, False])
def test_of_tokens_alone_the_embeddings_learn_nothing(whole: bool) -> None:
    """Why scripts with `use_all_token_embeds` end in noise, there as here."""
    clip = CLIP(**SIZES, num_text_tokens=60, use_all_token_embeds=whole)
    clip(torch.randint(1, 60, (4, 6)), torch.rand(4, 3, 8, 8), return_loss=True).backward()
    assert clip.clip.vision.pool.weight.grad.any() == (not whole)


def _made(folder: Path) -> dict[str, Any]:
    prior = TrainDiffusionPriorConfig.from_json_path(folder / "prior_config.json").prior
    decoder = TrainDecoderConfig.from_json_path(str(folder / "decoder_config.json")).decoder
    assert prior.clip.make == "openai" and decoder.image_sizes == [16, 32]
    return {"prior": prior.create(), "decoder": decoder.create()}


def test_a_configuration_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "it.json").write_text('{"train": {}}')
    with pytest.raises(UsageError, match="the configuration has no section 'prior'"):
        TrainDiffusionPriorConfig.from_json_path(tmp_path / "it.json")
    with pytest.raises(CheckpointError, match=r"is missing its absent\.json"):
        TrainDecoderConfig.from_json_path(tmp_path / "absent.json")


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ({"image_embed_dim": 16}, "'net' in the configuration must have a 'dim', got None"),
        ({"net": {"depth": 1}}, "'net' in the configuration must have a 'dim'"),
        ({"net": NET, "clip": "ViT-L/14"}, "the configuration has no section 'clip'"),
    ],
)
def test_a_prior_that_is_not_told_whole(prior: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TrainDiffusionPriorConfig(prior=prior).prior.create()


@pytest.mark.parametrize(
    ("unets", "message"),
    [
        (None, "'unets' in the configuration must be a list, got None"),
        ([3], "'unets' in the configuration must have a 'dim', got 3"),
        ([{**UNET, "dim": None}], "'unets' in the configuration must have a 'dim'"),
    ],
)
def test_a_decoder_that_is_not_told_whole(unets: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TrainDecoderConfig(decoder={"unets": unets, "image_size": 8}).decoder.create()


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {tmp_path / 'run'}",)

    torch.save({"model": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError):
        load(tmp_path / "evil.pth")
    assert not (tmp_path / "run").exists()


def test_the_tokenizer_of_scripts() -> None:
    """Numbers of openai/CLIP's tokenizer, without its start and end."""
    tokens = tokenizer.tokenize(["a red car", "car"])
    assert tokens.shape == (2, 256)
    assert tokens[0, :4].tolist() == [320, 736, 1615, 0] and tokens[1, :2].tolist() == [1615, 0]
    with pytest.raises(UsageError, match="the prompt has 3 tokens, the model reads 2"):
        tokenizer.tokenize("a red car", context_length=2)
    assert tokenizer.tokenize("a red car", 2, truncate_text=True).tolist() == [[320, 736]]


def test_a_shrunk_picture() -> None:
    """A constant stays one inside; the mean of a fine pattern is what is left of it."""
    flat = shrunk(torch.ones(1, 1, 32, 32), 8)
    assert torch.allclose(flat[..., 2:-2, 2:-2], torch.ones(1, 1, 4, 4), atol=1e-6)
    stripes = torch.arange(32).remainder(2).float().expand(1, 1, 32, 32)
    assert torch.allclose(
        shrunk(stripes, 8)[..., 2:-2, 2:-2], torch.full((1, 1, 4, 4), 0.5), atol=1e-2
    )


def test_a_blurred_picture() -> None:
    """Of one bright pixel the kernel is left, whose sum is 1; an edge is mirrored."""
    image: Tensor = torch.zeros(1, 1, 5, 5)
    image[..., 2, 2] = 1
    seen = blurred(image, 0.6, 3)
    taps = torch.exp(-(torch.tensor([-1.0, 0.0, 1.0]) ** 2) / (2 * 0.36))
    kernel = torch.outer(taps, taps) / taps.sum() ** 2
    assert torch.allclose(seen[0, 0, 1:4, 1:4], kernel, atol=1e-6)
    assert torch.allclose(blurred(torch.ones(1, 3, 4, 4), 0.6, 3), torch.ones(1, 3, 4, 4))
