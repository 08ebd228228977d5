"""The project's own files: pinned packages, the house rules of trc/, the committed results."""

import ast
import subprocess
import tomllib
from graphlib import TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from trc.artifact.results import input_digests, read_manifest, read_table

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]

#: The house: rooms by floor. Imports run downwards: a room may use the rooms below its own floor.
HOUSE = (
    ["common"],
    ["problems", "plots", "compiled"],
    ["simulation"],
    ["experts"],
    ["model"],
    ["evaluation", "datasets", "solve", "standalone"],
    ["training"],
    ["cli", "guide"],
    ["artifact", "__main__", ""],  # python -m trc, and trc itself, which hands names on, don't know the artifact
)
FLOORS = {room: floor for floor, rooms in enumerate(HOUSE) for room in rooms}

#: Each file of trc/ by its module's name, with its syntax tree.
MODULES = {}
for file in sorted((ROOT / "trc").rglob("*.py")):
    parts = [part for part in file.relative_to(ROOT).with_suffix("").parts if part != "__init__"]
    MODULES[".".join(parts)] = file, ast.parse(file.read_text())


def imports(name):
    """Full names of the modules that a module of trc/ imports."""
    path, tree = MODULES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module
            for alias in node.names:
                yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base


def room(module):
    return module.split(".")[1] if "." in module else ""


# Imports


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_downwards(name):
    assert room(name) in FLOORS, f"{name} has no floor yet: give it one in HOUSE of tests/test_project.py"
    for other in imports(name):
        if other.split(".")[0] == "trc" and room(other) != room(name):
            assert FLOORS[room(other)] < FLOORS[room(name)], f"{name} must not import {other}"


def test_imports_run_in_no_circle():
    TopologicalSorter({name: set(imports(name)) & set(MODULES) - {name} for name in MODULES}).prepare()


def test_house_is_small_enough_to_remember():
    arrows = {
        (room(name), room(other))
        for name in MODULES
        for other in imports(name)
        if room(name) and other.split(".")[0] == "trc" and room(other) not in ("", room(name))
    }
    assert set(FLOORS) == {room(name) for name in MODULES}
    assert len(FLOORS) <= 18
    assert len(HOUSE) <= 9
    assert len(arrows) <= 75


@pytest.mark.parametrize("name", MODULES)
def test_file_is_about_one_thing(name):
    path, tree = MODULES[name]
    assert len(path.read_text().splitlines()) <= 320
    if path.name == "__init__.py":
        assert not [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]


@pytest.mark.parametrize("name", [n for n in MODULES if n != "trc.plots" and not n.startswith("trc.artifact.figures")])
def test_only_plots_and_figures_draw(name):
    assert not {other.split(".")[0] for other in imports(name)} & {"matplotlib", "seaborn"}


@pytest.mark.parametrize("name", MODULES)
def test_no_pickle_is_loaded(name):
    assert not {other.split(".")[0] for other in imports(name)} & {"pickle", "dill", "cloudpickle", "joblib", "shelve"}
    for node in ast.walk(MODULES[name][1]):
        if isinstance(node, ast.Attribute):
            assert ast.unparse(node) not in ("torch.load", "torch.save", "pd.read_pickle")
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert ast.unparse(node.value) == "False"


# Packages


def pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def test_every_pin_is_one_exact_version():
    for requirement in pins().values():
        assert [specifier.operator for specifier in requirement.specifier] == ["=="], requirement


@pytest.mark.parametrize("dependency", [*PROJECT["dependencies"], *(d for extra in EXTRAS.values() for d in extra)])
def test_dependency_is_pinned_to_a_version_that_it_allows(dependency):
    wanted = Requirement(dependency)
    pin = pins().get(canonicalize_name(wanted.name))
    assert pin is not None, f"pin {wanted.name} in constraints.txt"
    (exact,) = pin.specifier
    assert wanted.specifier.contains(exact.version), f"constraints.txt pins {pin}, pyproject.toml asks for {wanted}"


def test_conda_installs_the_same_packages_on_an_allowed_python():
    python, _, pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    version = python.removeprefix("python=")
    assert SpecifierSet(PROJECT["requires-python"]).contains(version)
    constraint, editable = pip["pip"]
    assert constraint == "-c constraints.txt"
    assert editable == f"-e .[{','.join(EXTRAS)}]"


# Files


def test_no_committed_file_is_over_three_megabytes():
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.split("\0")]
    assert not [path for path in paths if path.is_file() and path.stat().st_size > 3_000_000]


# Results

RESULTS = sorted(path.parent.name for path in (ROOT / "results").glob("*/manifest.json"))


@pytest.mark.parametrize("experiment", RESULTS)
def test_committed_results_are_those_that_their_manifest_records(experiment):
    manifest = read_manifest(experiment, ROOT)
    assert manifest["parameters"]["preset"] == "paper", f"run `make experiments PRESET=paper ONLY={experiment}`"
    for table in manifest["tables"]:
        assert len(read_table(experiment, table, ROOT))
    folder = ROOT / "results" / experiment
    executed = {f"{experiment}.ipynb"} if (ROOT / "notebooks" / f"{experiment}.ipynb").is_file() else set()
    timed = {"timings.csv", "races.csv", "first.csv", "accuracy.csv"}
    of_the_machine = timed - set(manifest["tables"])  # in no manifest
    expected = {*manifest["tables"], "manifest.json", *executed}
    assert {path.name for path in folder.iterdir()} - of_the_machine == expected
    inputs = manifest.get("inputs", {})
    assert inputs == input_digests(ROOT, list(inputs)), f"run `make experiments PRESET=paper ONLY={experiment}` again"
    for name in executed:
        assert (folder / name).stat().st_size < 1_000_000
        assert str(Path.home()) not in (folder / name).read_text()
