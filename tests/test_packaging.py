"""What is installed, what ships, and what the documentation promises."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DISTRIBUTION = "terraformer-summarizer"
PACKAGES = ("app", "eval", "finetune", "kernels", "terraformer")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PRETRAINED = ROOT / "terraformer" / "pretrained"
MAX_WEIGHTS_BYTES = 60_000_000

# Places of one machine, and package registries: the project is built and used on any machine.
LOCAL_PATH = re.compile(r"(?<![\w.])/(?:work|root|farm|home/(?!reader\b)\w+|tmp/\w+)/")
REGISTRY_HOST = re.compile(
    r"pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|download\.pytorch\.org|deb\.debian\.org"
)


def tracked_files() -> list[Path]:
    """Files that git tracks, or would if all were added."""
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip("not a git work tree: nothing tells which files belong to the project")
    paths = [ROOT / name for name in done.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def documented_commands(name: str) -> list[list[str]]:
    """Commands of the shell blocks of a Markdown file, as words."""
    blocks = re.findall(r"```(?:sh|bash|console)\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    parts = [part for line in lines for part in re.split(r"\s(?:&&|\|)\s", line)]
    return [words for part in parts if (words := shlex.split(part, comments=True))]


def run_from(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_kernels_is_ours_beside_transformers(tmp_path: Path) -> None:
    done = run_from(tmp_path, "-c", "import transformers, kernels.ops; print(kernels.__file__)")
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).parent == ROOT / "kernels"


def test_no_dependency_brings_a_package_named_kernels() -> None:
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("kernels")


def test_installs_our_packages_and_no_others() -> None:
    names = importlib.metadata.distribution(DISTRIBUTION).read_text("top_level.txt")
    assert names is not None
    assert sorted(names.split()) == sorted(PACKAGES)
    patterns = PYPROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    assert sorted(patterns) == sorted(f"{package}*" for package in PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_of_modules_is_a_package(package: str) -> None:
    folders = {path.parent for path in (ROOT / package).rglob("*.py")}
    assert folders
    assert not [folder for folder in folders if not (folder / "__init__.py").is_file()]


def test_command_is_declared() -> None:
    (command,) = importlib.metadata.entry_points(group="console_scripts", name="summarize")
    assert command.value == "app.cli:main"
    assert callable(command.load())


def test_is_not_uploaded_by_accident() -> None:
    assert "Private :: Do Not Upload" in PYPROJECT["project"]["classifiers"]


def test_a_checkpoint_ships_whole_and_small() -> None:
    files = {path for path in PRETRAINED.rglob("*") if path.is_file()}
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]["terraformer"]
    packaged = {path for pattern in patterns for path in (ROOT / "terraformer").glob(pattern)}
    assert files == packaged & files
    checkpoints = [folder for folder in PRETRAINED.glob("*") if folder.is_dir()]
    assert checkpoints
    for folder in checkpoints:
        names = {path.name for path in folder.iterdir()}
        assert names == {"config.json", "model.safetensors", "tokenizer.model", "README.md"}
        assert (folder / "model.safetensors").stat().st_size <= MAX_WEIGHTS_BYTES


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("see " + "/".join(["", "work", "main"]), True),
        ("in " + "/".join(["", "tmp", "dev", "x"]), True),
        ("docs.python.org/" + "work/", False),
        ("framework/main", False),
    ],
)
def test_local_paths_are_recognized(text: str, is_found: bool) -> None:
    assert bool(LOCAL_PATH.search(text)) == is_found


def test_no_file_names_a_local_path_or_a_registry() -> None:
    found = []
    for path in tracked_files():
        content = path.read_bytes()
        if b"\0" in content:
            continue
        for number, line in enumerate(content.decode(errors="replace").splitlines(), 1):
            if LOCAL_PATH.search(line) or REGISTRY_HOST.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert not found


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_documented_commands_exist(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = documented_commands(name)
    assert commands
    options: dict[str, set[str]] = {}
    for words in commands:
        if words[0] == "summarize":
            options.setdefault("app.cli", set()).update(words[1:])
        elif words[:2] == ["python", "-m"] and words[2] != "venv":
            options.setdefault(words[2], set()).update(words[3:])
        for word in words[1:]:
            extra = re.fullmatch(r"\.\[(\w+)\]", word)
            assert not extra or extra[1] in PYPROJECT["project"]["optional-dependencies"], words
            if word.startswith((".ci/", "examples/")):
                assert (ROOT / word).is_file(), words
    for module, words in options.items():
        monkeypatch.setattr(sys, "argv", [module, "--help"])
        with pytest.raises(SystemExit) as ended:
            importlib.import_module(_run_by(module)).main()
        assert ended.value.code == 0
        help_text = capsys.readouterr().out
        assert not [word for word in words if word.startswith("--") and word not in help_text]


def _run_by(name: str) -> str:
    """Returns the module that `python -m` runs by this name."""
    spec = importlib.util.find_spec(name)
    return f"{name}.__main__" if spec and spec.submodule_search_locations else name


def test_readme_promises_the_two_commands() -> None:
    commands = documented_commands("README.md")
    assert ["pip", "install", "-e", "."] in commands
    assert ["summarize", "examples/report.pdf"] in commands
    assert ["pip", "install", "-e", ".[test]"] in commands
    assert ["pytest"] in commands
