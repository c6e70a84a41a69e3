"""The files of `deploy/`: what they start is understood, and what they name is there."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from torch.distributed.run import get_args_parser
from typer.main import get_group

from unclip.cli.app import make_app
from unclip.cli.serve import Serve
from unclip.server.options import ServeOptions
from unclip.train.memory import AbsentWorld
from unclip.train.recipe import load_recipe

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE: Any = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICE = COMPOSE["services"]["unclip"]
SLURM = (DEPLOY / "slurm/train.sbatch").read_text()
UNIT = (DEPLOY / "unclip.service").read_text()


@pytest.fixture
def keys(tmp_path: Path) -> str:
    """A file with a key."""
    made = tmp_path / "keys.txt"
    made.write_text("0123456789abcdef\n")
    return str(made)


def options(words: list[str]) -> ServeOptions:
    """Of a command that serves; raises where a server would refuse to start."""
    program, name, *given = words
    assert (Path(program).name, name) == ("unclip", "serve")
    context = get_group(make_app()).commands["serve"].make_context("serve", given)
    context.params.pop("as_json")
    return Serve(**context.params).options()


def entrypoint() -> list[str]:
    """Of the image."""
    found = re.search(r"^ENTRYPOINT (.+)$", DOCKERFILE, re.MULTILINE)
    assert found
    words: list[str] = json.loads(found[1])
    return words


def test_the_container_serves_with_a_key_at_an_address_that_clients_reach(keys: str) -> None:
    asked = [keys if one == "/run/secrets/keys" else one for one in SERVICE["command"]]
    asked = [re.sub(r"\$\{\w+:-(.*)\}", r"\1", one) for one in asked]
    made = options([*entrypoint(), *asked])
    assert (made.host, len(made.keys), made.public_url) == ("0.0.0.0", 1, "http://127.0.0.1:8000")
    assert SERVICE["ports"] == [f"127.0.0.1:8000:{made.port}"]
    assert SERVICE["volumes"] == [f"data:{made.data}"]
    assert COMPOSE["secrets"].keys() == set(SERVICE["secrets"]) == {"keys"}


def test_the_image_alone_does_not_serve_without_a_key() -> None:
    with pytest.raises(ValueError, match="--api-key-file"):
        options(entrypoint())


def test_the_image_gets_what_it_copies_and_extras_that_there_are() -> None:
    copied = [words.split()[:-1] for words in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE)]
    names = [name for one in copied for name in one]
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    assert ignored[0] == "*"
    assert {f"!{name}" for name in names} == {one for one in ignored if one.startswith("!")}
    assert all((ROOT / name).exists() for name in names)
    assert (DEPLOY / SERVICE["build"]["context"] / SERVICE["build"]["dockerfile"]).is_file()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    given = dict(re.findall(r'^ARG (\w+)="(.*)"$', DOCKERFILE, re.MULTILINE))
    assert set(given["EXTRAS"].split(",")) <= project["optional-dependencies"].keys()
    assert set(SERVICE["build"]["args"]) == given.keys()


def test_the_image_is_built_by_a_shell_that_chooses_torch(tmp_path: Path) -> None:
    """Its RUN, with programs that write down how they are called."""
    (script,) = re.findall(r"^RUN (.+?)\n(?!  )", DOCKERFILE, re.MULTILINE | re.DOTALL)
    gpu = yaml.safe_load((DEPLOY / "compose.cuda.yaml").read_text())["services"]["unclip"]
    cpu, cuda = SERVICE["build"]["args"]["TORCH"], gpu["build"]["args"]["TORCH"]
    assert (cpu, cuda) == ("cpu", "cuda")
    assert f'ARG TORCH="{cpu}"' in DOCKERFILE
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    index = "https://index.example/whl"
    with_uv = called(tmp_path / "1", script, cpu)
    assert [line for line in with_uv if line.endswith(" torch")] == [
        "uv pip install --no-cache --python .venv/bin/python --no-deps "
        "--constraint constraints.txt --torch-backend cpu torch"
    ]
    for number, (torch, given) in enumerate([(cuda, ""), (cpu, index), (cuda, index)], start=2):
        made = called(tmp_path / str(number), script, torch, TORCH_INDEX=given)
        (line,) = [line for line in made if line.endswith(" torch")]
        assert line.startswith("pip install") and ("--index-url" in line) == bool(given)
        assert not any(line.startswith("uv") for line in made)
    assert with_uv[-3:] == [
        "pip install --no-cache-dir --no-build-isolation --constraint constraints.txt .[serve]",
        "useradd --system --uid 10001 --home-dir /data unclip",
        "install --directory --owner unclip --mode 0700 /data",
    ]


def called(folder: Path, script: str, torch: str, **variables: str) -> list[str]:
    """The programs that a shell's script calls, and their arguments."""
    log = folder / "log"
    for name in ("bin/python", "bin/useradd", "bin/install", ".venv/bin/pip", ".venv/bin/uv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f'#!/bin/sh\necho "${{0##*/}} $*" >> {log}\n')
        (folder / name).chmod(0o755)
    env = {"PATH": f"{folder / 'bin'}:/usr/bin:/bin", "EXTRAS": "serve", "TORCH": torch}
    done = subprocess.run(["sh", "-ec", script], cwd=folder, env=env | variables, check=False)
    assert done.returncode == 0
    return log.read_text().splitlines()


def test_the_unit_serves_with_its_credential_and_lets_workers_finish(keys: str) -> None:
    found = re.search(r"^ExecStart=(.+)$", UNIT, re.MULTILINE)
    assert found
    words = shlex.split(found[1].replace("%d/keys", keys).replace("%S", "/var/lib"))
    made = options(words)
    assert made.data == Path("/var/lib/unclip")
    assert (made.host, len(made.keys)) == ("127.0.0.1", 1)
    assert re.search(r"^StateDirectory=unclip$", UNIT, re.MULTILINE)
    assert re.search(r"^LoadCredential=keys:", UNIT, re.MULTILINE)
    assert re.search(r"^KillMode=mixed$", UNIT, re.MULTILINE)  # else its workers would be killed


def trained(words: list[str]) -> dict[str, Any]:
    """Options of a command that torchrun starts; raises where there is none of that name."""
    start = words.index("-m")
    assert words[start + 1 : start + 3] == ["unclip", "train"]
    command = get_group(make_app()).commands["train"]
    return command.make_context("train", words[start + 3 :]).params


def test_slurm_starts_what_torchrun_and_train_know() -> None:
    (line,) = re.findall(r"^srun .*?\n(?!    )", SLURM + "\n", re.MULTILINE | re.DOTALL)
    values = {"RECIPE": "tiny", "NODES": "8", "GPUS": "8", "OUT": "runs/tiny", "first": "node1"}
    values |= {"SETTINGS": "--set seed=1", "SLURM_JOB_ID": "7"}
    filled = re.sub(r"\$(\w+)", lambda match: values[match[1]], line.replace("\\\n", " "))
    words = shlex.split(filled)
    assert words[:3] == ["srun", "--kill-on-bad-exit=1", "torchrun"]
    given = get_args_parser().parse_args(words[3:])
    assert (given.nnodes, given.nproc_per_node, given.rdzv_endpoint) == ("8", "8", "node1:29500")
    options = trained(words)
    assert options["resume"]  # a job that follows another goes on
    (limit,) = re.findall(r"^#SBATCH --time=(\d+):00:00$", SLURM, re.MULTILINE)
    assert options["minutes"] < 60 * int(limit) - options["timeout"]


def test_slurms_file_says_what_each_gpu_needs(tmp_path: Path) -> None:
    """`DRY_RUN=1`, on a machine without SLURM."""
    unclip = tmp_path / "unclip"
    unclip.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    unclip.chmod(0o755)
    found = {"PATH": f"{tmp_path}:/usr/bin:/bin", "DRY_RUN": "1", "SLURM_NNODES": "32"}
    told = subprocess.run(
        ["bash", str(DEPLOY / "slurm/train.sbatch")], env=found, capture_output=True, text=True
    )
    words = told.stdout.split()
    options = trained(["-m", "unclip", *words])
    assert (options["dry_run"], options["gpus"]) == (True, "256")
    recipe = load_recipe(options["recipe"], options["assignments"])
    decoder = recipe.trained["decoder"]
    assert (decoder.engine, decoder.activation_checkpointing) == ("fsdp", True)
    assert all(AbsentWorld(256).share(one.batch_size) for one in recipe.trained.values())


def test_kubernetes_starts_what_torchrun_and_train_know() -> None:
    service, claim, job = yaml.safe_load_all((DEPLOY / "kubernetes/train.yaml").read_text())
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    words = container["command"]
    assert words[0] == "torchrun"
    given = get_args_parser().parse_args(words[1:])
    assert spec["completionMode"] == "Indexed"
    assert int(given.nnodes) == spec["completions"] == spec["parallelism"]
    assert int(given.nproc_per_node) == container["resources"]["limits"]["nvidia.com/gpu"]
    name = job["metadata"]["name"]
    assert given.rdzv_endpoint == f"{name}-0.{pod['subdomain']}:29500"
    assert service["metadata"]["name"] == pod["subdomain"]
    assert service["spec"]["selector"] == {"job-name": name}
    volumes = {one["name"]: one for one in pod["volumes"]}
    assert volumes["data"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert {one["name"] for one in container["volumeMounts"]} == volumes.keys()
    options = trained(words)
    assert options["resume"] and str(options["out"]).startswith("/data")
