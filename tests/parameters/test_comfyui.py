"""ComfyUI's graphs: the one of its default workflow, and what differs from it."""

from __future__ import annotations

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from unclip.errors import UsageError
from unclip.parameters import Parameters

GRAPH: dict[str, Any] = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 156680208700286,
            "steps": 20,
            "cfg": 8,
            "sampler_name": "euler",
            "scheduler": "normal",
            "denoise": 1,
            "model": ["4", 0],
            "positive": ["6", 0],
            "negative": ["7", 0],
            "latent_image": ["5", 0],
        },
    },
    "4": {
        "class_type": "CheckpointLoaderSimple",
        "inputs": {"ckpt_name": "v1-5-pruned-emaonly.safetensors"},
    },
    "5": {
        "class_type": "EmptyLatentImage",
        "inputs": {"width": 512, "height": 768, "batch_size": 1},
    },
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a bottle", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "watermark", "clip": ["4", 1]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "ComfyUI", "images": ["8", 0]}},
}  # as the server's example script sends it
WORKFLOW: dict[str, Any] = {
    "last_node_id": 9,
    "nodes": [
        {
            "id": 7,
            "type": "CLIPTextEncode",
            "inputs": [{"name": "clip", "type": "CLIP", "link": 5}],
            "widgets_values": ["watermark"],
        },
        {
            "id": 6,
            "type": "CLIPTextEncode",
            "inputs": [{"name": "clip", "type": "CLIP", "link": 3}],
            "widgets_values": ["a bottle"],
        },
        {"id": 5, "type": "EmptyLatentImage", "widgets_values": [512, 768, 1]},
        {
            "id": 3,
            "type": "KSampler",
            "inputs": [
                {"name": "model", "link": 1},
                {"name": "positive", "link": 4},
                {"name": "negative", "link": 6},
                {"name": "latent_image", "link": 2},
            ],
            "widgets_values": [156680208700286, "randomize", 20, 8, "euler", "normal", 1],
        },
        {
            "id": 4,
            "type": "CheckpointLoaderSimple",
            "widgets_values": ["v1-5-pruned-emaonly.safetensors"],
        },
    ],
    "links": [
        [1, 4, 0, 3, 0, "MODEL"],
        [2, 5, 0, 3, 3, "LATENT"],
        [3, 4, 1, 6, 0, "CLIP"],
        [4, 6, 0, 3, 1, "CONDITIONING"],
        [5, 4, 1, 7, 0, "CLIP"],
        [6, 7, 0, 3, 2, "CONDITIONING"],
    ],
}  # its default workflow, without what is about the screen
EXPECTED = Parameters(
    prompt="a bottle",
    negative_prompt="watermark",
    steps=20,
    sampler="euler",
    spacing="normal",
    guidance_scale=8.0,
    seed=156680208700286,
    size=(768, 512),
    model="v1-5-pruned-emaonly",
    program="ComfyUI",
)


def of(text: str, name: str = "prompt") -> Parameters:
    picture = Image.new("RGB", (4, 4))
    picture.info[name] = text
    return Parameters.of(picture)


def changed(node: str, **inputs: Any) -> dict[str, Any]:
    graph = copy.deepcopy(GRAPH)
    graph[node]["inputs"] |= inputs
    return graph


def test_the_default_graph_as_it_was_run_and_as_it_was_drawn() -> None:
    assert of(json.dumps(GRAPH)) == EXPECTED
    assert of(json.dumps(WORKFLOW), "workflow") == EXPECTED


def test_a_file_as_comfyui_saves_it(tmp_path: Path) -> None:
    chunks = PngInfo()
    chunks.add_text("prompt", json.dumps(GRAPH))
    chunks.add_text("workflow", json.dumps(WORKFLOW))
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=chunks)
    exif = Image.Exif()
    exif[0x0110] = f"prompt:{json.dumps(GRAPH)}"  # SaveAnimatedWEBP
    exif[0x010F] = f"workflow:{json.dumps(WORKFLOW)}"
    Image.new("RGB", (4, 4)).save(tmp_path / "a.webp", exif=exif)
    assert Parameters.of(tmp_path / "a.png") == Parameters.of(tmp_path / "a.webp") == EXPECTED


def test_values_that_other_nodes_give() -> None:
    graph = changed("3", seed=["20", 0], positive=["21", 0], model=["22", 0], denoise=0.5)
    graph["20"] = {"class_type": "PrimitiveInt", "inputs": {"value": 5}}
    graph["21"] = {"class_type": "ConditioningSetArea", "inputs": {"conditioning": ["6", 0]}}
    graph["22"] = {"class_type": "LoraLoader", "inputs": {"model": ["4", 0], "lora_name": "ink"}}
    graph["23"] = {"class_type": "PrimitiveString", "inputs": {"value": "a fox"}}
    graph["6"]["inputs"]["text"] = ["23", 0]
    found = of(json.dumps(graph))
    assert (found.prompt, found.seed, found.model) == ("a fox", 5, EXPECTED.model)
    assert found.others == {"denoise": "0.5"}


def test_of_two_samplers_the_one_that_begins_from_noise() -> None:
    later = copy.deepcopy(GRAPH["3"])
    later["inputs"] |= {"latent_image": ["3", 0], "seed": 1, "denoise": 0.4}
    found = of(json.dumps({"1": later} | GRAPH))
    assert (found.seed, found.size, found.others) == (EXPECTED.seed, (768, 512), {"samplers": "2"})


@pytest.mark.parametrize(
    ("text", "name", "part"),
    [
        ("{}", "prompt", "no node KSampler"),
        (json.dumps({"3": {"class_type": "KSampler"}}), "prompt", "no node KSampler"),
        (json.dumps(changed("3", steps="many")), "prompt", "steps must be a whole number"),
        (json.dumps(changed("3", cfg=[])), "prompt", ""),
        (json.dumps(changed("5", width={})), "prompt", "width must be a whole number"),
        ("{}", "workflow", "object with nodes and links"),
        ('{"nodes": [3], "links": [3]}', "workflow", "no node KSampler"),
    ],
)
def test_a_broken_graph_is_one_line(text: str, name: str, part: str) -> None:
    if not part:
        assert of(text, name).guidance_scale is None
        return
    with pytest.raises(
        UsageError, match=f"the picture's text '{name}' is damaged: .*{part}"
    ) as fault:
        of(text, name)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("name", ["prompt", "workflow"])
@pytest.mark.parametrize("text", ["a fox", "{", "[]", "3", "[" * 100_000])
def test_what_is_no_json_object_is_not_comfyui_s(name: str, text: str) -> None:
    with pytest.raises(UsageError, match="no parameters of a program known here"):
        of(text, name)
    other = "workflow" if name == "prompt" else "prompt"
    graph = json.dumps(WORKFLOW if other == "workflow" else GRAPH)
    assert Parameters.in_notes({name: text, other: graph}) == EXPECTED


def test_links_in_a_circle_end() -> None:
    graph = changed("3", positive=["20", 0])
    graph["20"] = {"class_type": "ConditioningAverage", "inputs": {"conditioning": ["20", 0]}}
    assert of(json.dumps(graph)).prompt == ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.sampled_from(sorted(GRAPH["3"]["inputs"])), JSON)
@example("model", [None, None, {}])
def test_any_value_is_read_or_refused(name: str, value: Any) -> None:
    graph = changed("3", **{name: value})
    drawn = copy.deepcopy(WORKFLOW)
    drawn["nodes"][3][{"seed": "widgets_values", "model": "inputs"}.get(name, "id")] = value
    drawn["links"][1] = value
    for text, kind in ((json.dumps(graph), "prompt"), (json.dumps(drawn), "workflow")):
        with contextlib.suppress(UsageError):  # no other error
            of(text, kind)
