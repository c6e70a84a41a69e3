"""What a shell completes; quickly, without PyTorch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from unclip.cli._complete import VALUES, preset_names, sampler_names, setting_names
from unclip.cli.app import main
from unclip.device import ACCELERATORS, DTYPES
from unclip.diffusion.samplers import SAMPLERS
from unclip.loading import bundled_models
from unclip.stages.sampling import Sampling


def completed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> list[str]:
    """What bash gets for the last word."""
    monkeypatch.setenv("COMP_WORDS", " ".join(["unclip", *words]))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    monkeypatch.setenv("_UNCLIP_COMPLETE", "complete_bash")
    with pytest.raises(SystemExit) as done:
        main([])
    assert done.value.code == 0
    return capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["ge"], {"generate"}),
        (["generate", "--st"], {"--steps", "--strict-words"}),
        (["generate", "x", "--negative"], {"--negative-prompt"}),
        (["generate", "x", "--device", "c"], {"cpu", "cuda"}),
        (["generate", "x", "--dtype", "b"], {"bfloat16"}),
        (["generate", "x", "--set", "sampler=dd"], {"sampler=ddim", "sampler=ddpm"}),
        (["generate", "x", "--set", "guidance_r"], {"guidance_rescale="}),
        (["train", "emoji-c"], {"emoji-cpu"}),
        (["evaluate", "emoji"], {"emoji-cpu"}),
        (["vary", "x.png", "--model", "runs/"], {"runs/mine/model"}),
        (["config", "set", "generate.guidance"], {"generate.guidance_scale"}),
        (["models", "in"], {"inspect"}),
        (["config", "un"], {"unset"}),
    ],
)
def test_words(
    words: list[str],
    wanted: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/mine/model").mkdir(parents=True)
    (tmp_path / "runs/mine/model/model.json").touch()
    assert set(completed(monkeypatch, capsys, *words)) == wanted


def test_names_that_are_read_from_source_are_those_that_there_are() -> None:
    assert sampler_names() == sorted(SAMPLERS)
    settings = {name.removesuffix("=") for name in setting_names() if name.endswith("=")}
    assert settings == set(Sampling.model_fields)
    assert VALUES["--device"]("") == ["cpu", *ACCELERATORS]
    assert VALUES["--dtype"]("") == list(DTYPES)
    assert {"tiny", "emoji-cpu"} <= set(preset_names())
    assert "emoji-cpu" in bundled_models()


def test_a_broken_configuration_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.toml").write_text("stepz = 3")
    monkeypatch.setenv("UNCLIP_CONFIG", str(tmp_path / "config.toml"))
    assert completed(monkeypatch, capsys, "generate", "x", "--see") == ["--seed"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(
    shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shellingham.detect_shell", lambda: (shell, f"/bin/{shell}"))
    with pytest.raises(SystemExit) as done:
        main(["--show-completion"])
    assert done.value.code == 0
    out = capsys.readouterr().out
    assert f"_UNCLIP_COMPLETE=complete_{shell}" in out
    if program := shutil.which(shell):
        syntax = subprocess.run([program, "-n"], input=out, text=True, check=False)
        assert syntax.returncode == 0


def test_installing_writes_where_the_shell_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shellingham.detect_shell", lambda: ("bash", "/bin/bash"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(SystemExit) as done:
        main(["--install-completion"])
    assert done.value.code == 0
    assert "bash completion installed in" in capsys.readouterr().out
    assert str(tmp_path / ".bash_completions/unclip.sh") in (tmp_path / ".bashrc").read_text()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes_without_pytorch(tmp_path: Path) -> None:
    """The script in a real shell; the command fails where it imports what is slow."""
    program = tmp_path / "unclip"
    program.write_text(
        f"#!{sys.executable}\nimport sys\n"
        "for name in ('torch', 'tokenizers', 'safetensors'): sys.modules[name] = None\n"
        "from unclip.cli import main\nsys.exit(main())\n"
    )
    program.chmod(0o755)
    script = (
        'eval "$(_UNCLIP_COMPLETE=source_bash unclip)"\n'
        "COMP_WORDS=(unclip generate x --model emoji); COMP_CWORD=4\n"
        "_unclip_completion unclip; echo ${COMPREPLY[@]}\n"
    )
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("emoji-cpu\n", "")
