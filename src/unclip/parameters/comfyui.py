"""ComfyUI's texts `prompt` and `workflow`: the graph of nodes that made a picture, as JSON.

`prompt` is the graph as it was run, `{id: {"class_type": ..., "inputs": {name: value or
[id, slot]}}}`. `workflow` is the graph as it was drawn on the screen, where a node's values are a
list; it is read for the nodes of a plain text-to-image graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..plain import parse_json
from . import number, whole
from ._emphasis import translated

_SAMPLERS = ("KSampler", "KSamplerAdvanced")
_WIDGETS = {
    "KSampler": ("seed", "", "steps", "cfg", "sampler_name", "scheduler", "denoise"),
    "KSamplerAdvanced": ("", "noise_seed", "", "steps", "cfg", "sampler_name", "scheduler"),
    "CLIPTextEncode": ("text",),
    "EmptyLatentImage": ("width", "height", "batch_size"),
    "CheckpointLoaderSimple": ("ckpt_name",),
}
"""The values of a node in a workflow, in order; those without a name are not needed."""
_HOPS = 32

Node = Mapping[str, Any]


def read(text: str) -> dict[str, Any] | None:
    """The fields of `Parameters`, of a graph as it was run; None where it is no JSON object.

    Raises:
        ValueError: the graph has no KSampler.
    """
    graph = _object(text)
    if graph is None:
        return None
    return _parameters({str(name): node for name, node in graph.items() if _is_node(node)})


def read_workflow(text: str) -> dict[str, Any] | None:
    """As `read`, of a graph as it was drawn."""
    drawn = _object(text)
    if drawn is None:
        return None
    nodes, links = drawn.get("nodes"), drawn.get("links")
    if not isinstance(nodes, list) or not isinstance(links, list):
        raise ValueError("it must be a JSON object with nodes and links")
    sources = {
        str(link[0]): [str(link[1]), link[2]]
        for link in links
        if isinstance(link, list) and len(link) > 2
    }
    known = [node for node in nodes if isinstance(node, dict)]
    return _parameters({str(node.get("id")): _as_run(node, sources) for node in known})


def _object(text: str) -> dict[str, Any] | None:
    """A JSON object; None where the text is none, hence another program's."""
    try:
        found = parse_json(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _as_run(node: Node, sources: Mapping[str, Any]) -> dict[str, Any]:
    """A node of a workflow as in a graph that was run."""
    kind, inputs = str(node.get("type")), _list(node.get("inputs"))
    named = [one for one in inputs if isinstance(one, dict) and "link" in one]
    links = {str(one.get("name")): str(one["link"]) for one in named}
    linked = {name: sources[link] for name, link in links.items() if link in sources}
    values = zip(_WIDGETS.get(kind, ()), _list(node.get("widgets_values")), strict=False)
    return {"class_type": kind, "inputs": {n: v for n, v in values if n} | linked}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _is_node(node: Any) -> bool:
    return isinstance(node, dict) and isinstance(node.get("inputs"), dict)


def _parameters(graph: Mapping[str, Node]) -> dict[str, Any]:
    """Of the sampler that begins from noise. Raises ValueError."""
    samplers = [node["inputs"] for node in graph.values() if node.get("class_type") in _SAMPLERS]
    if not samplers:
        raise ValueError("its graph has no node KSampler, as that of a text-to-image workflow")
    sampler = next((one for one in samplers if _starts(graph, one)), samplers[0])
    latent, checkpoint = _node(graph, sampler.get("latent_image")), _model(graph, sampler)
    seed = _value(graph, sampler.get("seed", sampler.get("noise_seed")), ("seed", "value"))
    found: dict[str, Any] = {
        "prompt": _text(graph, sampler.get("positive"), "positive"),
        "negative_prompt": _text(graph, sampler.get("negative"), "negative"),
        "seed": None if seed is None else whole("seed", seed),
        "sampler": str(_value(graph, sampler.get("sampler_name"), ("sampler_name",)) or ""),
        "spacing": str(_value(graph, sampler.get("scheduler"), ("scheduler",)) or ""),
        "model": str(checkpoint or "").removesuffix(".safetensors").removesuffix(".ckpt"),
        "program": "ComfyUI",
    }
    steps, cfg = (_value(graph, sampler.get(n), (n, "value")) for n in ("steps", "cfg"))
    sides = [_value(graph, latent.get(name), (name, "value")) for name in ("height", "width")]
    if None not in sides:
        found["size"] = whole("height", sides[0]), whole("width", sides[1])
    found["steps"] = None if steps is None else whole("steps", steps)
    found["guidance_scale"] = None if cfg is None else number("cfg", cfg)
    more = {"samplers": str(len(samplers))} if len(samplers) > 1 else {}
    denoise = sampler.get("denoise", 1)
    return {**found, "others": more | ({} if denoise in (1, None) else {"denoise": str(denoise)})}


def _node(graph: Mapping[str, Node], link: Any) -> Mapping[str, Any]:
    """The inputs of the node that a link leads to; empty where it leads nowhere."""
    if isinstance(link, list) and link and str(link[0]) in graph:
        inputs: Mapping[str, Any] = graph[str(link[0])]["inputs"]
        return inputs
    return {}


def _starts(graph: Mapping[str, Node], sampler: Mapping[str, Any]) -> bool:
    """Whether a sampler begins from an empty picture of a given size."""
    return {"width", "height"} <= _node(graph, sampler.get("latent_image")).keys()


def _value(graph: Mapping[str, Node], value: Any, names: Sequence[str]) -> Any:
    """A value, or that of the node which it is linked to; None where there is none."""
    for _ in range(_HOPS):
        if not isinstance(value, list):
            return value
        inputs = _node(graph, value)
        value = next((inputs[name] for name in names if name in inputs), None)
    return None


def _text(graph: Mapping[str, Node], link: Any, side: str) -> str:
    """The text that a sampler's condition is the encoding of, through what only changes it."""
    names = ("text", "text_g", "string", "value", "conditioning", side, "conditioning_1")
    value = _value(graph, link, names)
    return translated(value, {"()": 1.1}) if isinstance(value, str) else ""


def _model(graph: Mapping[str, Node], sampler: Mapping[str, Any]) -> Any:
    """The name of the checkpoint, through nodes that change the model."""
    return _value(graph, sampler.get("model"), ("ckpt_name", "unet_name", "model"))


READERS = {"prompt": read, "workflow": read_workflow}
