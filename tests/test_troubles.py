"""The messages of the page *When something goes wrong* are those that one gets: each is provoked, and compared."""

import contextlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest
import torch
from made_up import Cart, Rover, WayCost, with_step

import trc
from trc.artifact.claims.__main__ import verify
from trc.artifact.results import Record, read_table
from trc.artifact.runner import check_parameters
from trc.cli import main
from trc.common.parallel import parallel_map
from trc.problems.van_der_pol import VanDerPol
from trc.training.run_folder import RunFolder

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "book" / "when_something_goes_wrong.md").read_text()

#: The page's messages by name, without its line breaks; "…" stands for what differs from case to case.
MESSAGES = {
    name: " ".join(text.split())
    for name, text in re.findall(r"^```\{code-block\} text\n:name: said-([\w-]+)\n\n(.*?)\n```$", PAGE, re.M | re.S)
}

#: Where those stand that take too long to provoke, or a machine of another kind.
WRITTEN = {
    "book": "Makefile",
    "jupyter-book": "Makefile",
    "turn": "Makefile",
    "golden": "tests/test_golden.py",
    "twin": "tests/test_notebooks.py",
    "process-ended": "trc/common/parallel.py",
}

#: What provokes the others: a function that gives what is said then.
PROVOKED: dict[str, Callable[[], str]] = {}


def provokes(name):
    """Register, as a decorator, what provokes a message."""

    def register(function):
        PROVOKED[name] = function
        return function

    return register


def missing(message, said):
    """The first part of a message that is not said, at its place; None if all are."""
    said, place = " ".join(said.split()), 0
    for part in filter(None, map(str.strip, message.split("…"))):
        if (place := said.find(part, place)) < 0:
            return part
        place += len(part)
    return None


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_every_message_of_the_page_is_tried():
    assert set(MESSAGES) == {*PROVOKED, *WRITTEN}
    assert PAGE.count("```{code-block} text") == len(MESSAGES)


@pytest.mark.parametrize("name", PROVOKED)
def test_message_is_what_one_gets(name):
    said = PROVOKED[name]()
    assert missing(MESSAGES[name], said) is None, said


@pytest.mark.parametrize("name", WRITTEN)
def test_message_stands_where_it_is_given(name):
    text = re.sub(r'"\n +f?"', "", (ROOT / WRITTEN[name]).read_text())  # a text in several lines is one
    assert missing(MESSAGES[name], text) is None


def test_difference_would_be_noticed():
    assert missing("a … c, d", "a\n b c, d") is None
    assert missing("a … c, e", "a b c, d") == "c, e"
    assert missing("c … a", "a b c") == "a"


# How they are provoked


def error(call, *arguments, **options):
    """What an error says, its kind first, as Python prints it."""
    with pytest.raises(Exception) as caught:
        call(*arguments, **options)
    return f"{type(caught.value).__name__}: {caught.value}"


def warning(call, *arguments, **options):
    """What the warnings of a call say."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(*arguments, **options)
    return "\n".join(str(one.message) for one in caught)


def command(*arguments):
    """What ``trc`` prints, on both streams."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), contextlib.suppress(SystemExit):
        main([str(argument) for argument in arguments])
    return printed.getvalue()


def process(*arguments, **environment):
    """What another program prints, on both streams."""
    done = subprocess.run(arguments, capture_output=True, text=True, env=os.environ | environment, timeout=60)
    return done.stdout + done.stderr


def make(*arguments, python=None):
    """What ``make`` prints in a project that is not installed, with a Python of one's own as a shell script."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, name)
    Path("notebooks").mkdir()
    Path("notebooks/comparison.ipynb").touch()
    if python is not None:
        Path("my-python").write_text(f"#!/bin/sh\n{python}\n")
        Path("my-python").chmod(0o755)
        arguments = (*arguments, "PYTHON=./my-python")
    return process("make", *arguments, MAKEFLAGS="", MAKELEVEL="")


SMALL = {"latent_dim": 16, "num_heads": 2, "num_blocks": 1}


def instances(problem):
    """Initial and target states of four instances."""
    return problem.sample(4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def pushed():
    """States and controls of four instances of Van der Pol."""
    problem = VanDerPol()
    return instances(problem)[0], torch.ones(4, problem.horizon, 1, dtype=torch.float64)


def data(seed=1, **settings):
    """A small dataset of the double integrator."""
    return trc.generate_dataset(trc.make_problem("double_integrator", **settings), 20, seed=seed)


def network(**settings):
    """A small network for it."""
    problem = trc.make_problem("double_integrator")
    return trc.TinyRecursiveControl.create_small(problem=problem, seed=0, **SMALL, **settings)


def trained(*options, folder="run"):
    """What ``trc train`` prints, on a small dataset in the working folder."""
    if not Path("d.npz").is_file():
        data().save("d.npz")
    small = [word for name, value in SMALL.items() for word in (f"--{name}", value)]
    return command("train", "--data", "d.npz", "--output-dir", folder, "--model-size", "small", *small, *options)


# Installing


provokes("no-python")(lambda: make("book", "PYTHON=python3.999"))
provokes("old-python")(lambda: make("book", python='[ "$1" = -V ] && echo Python 3.9.1; exit 1'))
provokes("old-make")(lambda: make("help", ".FEATURES="))
provokes("no-module")(lambda: process(sys.executable, "-I", "-S", "-c", "import trc"))
provokes("preset")(lambda: make("check-experiments", "PRESET=full"))
provokes("only")(lambda: make("check-experiments", "ONLY=comparision"))


@provokes("installation")
def _():
    fails = '[ "$1" = -m ] && { echo "No space left on device" >&2; exit 1; }'
    return make("book", python=f'{fails}\nexec "{sys.executable}" "$@"')


@provokes("port")
def _():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        return process(sys.executable, "-m", "http.server", "--bind", "127.0.0.1", port)


# The book's numbers


@provokes("broken")
def _():
    table = pd.DataFrame({"method": ["a", "b"], "metric": ["gap", "gap"], "value": [0.5, 0.25]})
    Record(Path("results/tiny").absolute()).write({"runs": table}, parameters={})
    numbers = {name: {"table": "tiny/runs", "row": f"{name} gap"} for name in "ab"}
    claim = {"id": "a-is-better", "page": "book/tiny", "text": "{a}, not {b}.", "numbers": numbers, "holds": "a < b"}
    Path("book").mkdir()
    Path("book/claims.yml").write_text(json.dumps({"claims": [claim], "checkpoints": []}))
    Path("book/promises.yml").write_text(json.dumps({"promises": []}))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        verify(Path.cwd())
    return printed.getvalue()


@provokes("results")
def _():
    Path("book").mkdir()
    Record(Path("results/tiny").absolute()).write({"runs": pd.DataFrame({"value": [0.5]})}, parameters={})
    Path("results/tiny/runs.csv").write_text("value\n0.4\n")
    return error(read_table, "tiny", "runs.csv", Path.cwd())


provokes("parameter")(lambda: error(check_parameters, ROOT / "notebooks" / "comparison.ipynb", {"sead": 1}))


# Problems, and who solves them


@dataclass(frozen=True)
class Downhill(WayCost):
    """Driving is paid for."""

    def running(self, x, u, target):
        return -u.square().sum(-1)


def overflowing():
    """Van der Pol, and four instances of which one lies too far out."""
    initial, target = instances(VanDerPol())
    initial[0] = 1e200
    return VanDerPol(), initial, target


def simulate(step):
    """Simulate with a step of one's own."""
    return trc.rollout(with_step(step), *pushed())


provokes("problem")(lambda: error(trc.make_problem, "pendulun"))
provokes("setting")(lambda: error(trc.make_problem, "van_der_pol", my=3.0))
provokes("import")(lambda: command("--import", "mine.py", "generate"))
provokes("step")(lambda: error(simulate, lambda s, x, u, p: x.sum(-1)))
provokes("in-place")(lambda: error(simulate, lambda s, x, u, p: x.add_(u)))
provokes("cost")(lambda: error(Rover, cost=type("Odd", (WayCost,), {"running": lambda s, x, u, goal: x})()))
provokes("states")(lambda: error(trc.ilqr, VanDerPol(), torch.full((4, 2), torch.nan), torch.zeros(4, 2)))
provokes("overflow")(lambda: error(simulate, lambda s, x, u, p: 1e5 * x + u))
provokes("overflows")(lambda: warning(trc.lqr, *overflowing()))


@provokes("riccati")
def _():
    with trc.accelerate(False):
        return error(trc.lqr, Rover(cost=Downhill()), *instances(Rover()))


provokes("kernel")(lambda: warning(simulate, lambda s, x, u, p: x * (0.9 if bool((x > 0).all()) else 0.8)))
provokes("memory")(lambda: command("generate", "--num-samples", 10**12))
provokes("one-process")(lambda: warning(lambda: list(parallel_map(lambda number: number, [(1,), (2,)], 2))))


# Files


def saved(dataset, path="d.npz"):
    """Save a dataset."""
    return dataset.save(path)


@provokes("registered")
def _():
    return error(trc.load_dataset, saved(trc.generate_dataset(Cart(), 4, seed=1)))


@provokes("damaged")
def _():
    path = saved(data())
    path.write_bytes(path.read_bytes()[:500])
    return error(trc.load_dataset, path)


@provokes("checkpoint")
def _():
    path = trc.save_model(network(), "m.safetensors")
    path.write_bytes(path.read_bytes()[:500])
    return error(trc.load_model, path)


@provokes("no-simulator")
def _():
    model = network()
    model.problem, model.needs_simulator = None, True
    return error(model, torch.zeros(4, 2), torch.zeros(4, 2))


@provokes("no-cost")
def _():
    model = network(feedback="costate")
    model.problem = None
    return error(model, torch.zeros(4, 2), torch.zeros(4, 2))


@provokes("no-gradient")
def _():
    model = network()
    numbers = lambda x, u: trc.rollout(model.problem, x, u).detach()  # noqa: E731
    return error(model, torch.zeros(4, 2), torch.zeros(4, 2), dynamics_fn=numbers, safeguard=True)


provokes("tolerance")(lambda: error(network(), torch.zeros(4, 2), torch.zeros(4, 2), tolerance=0))


@provokes("whole-batch")
def _():
    return error(network(feedback="shuffled"), torch.zeros(4, 2), torch.zeros(4, 2), tolerance=0.1)


@provokes("others-go-on")
def _():
    model = trc.TinyRecursiveControl.create_small(problem=VanDerPol(), seed=0, **SMALL)
    return error(model, torch.full((4, 2), 1e9), torch.zeros(4, 2))


@provokes("other-data")
def _():
    command("generate", "--num-samples", 5, "--output-dir", "data")
    return command("generate", "--num-samples", 6, "--output-dir", "data")


@provokes("disk")
def _():
    with mock.patch("os.replace", side_effect=OSError(28, "No space left on device")):
        return error(saved, data())


provokes("pickle")(lambda: command("evaluate", "--checkpoint", "best_model.pt"))
provokes("no-data")(lambda: command("train", "--data", "data/lqr_dataset.npz"))
provokes("problem-differs")(lambda: error(data().check_problem, trc.make_problem("double_integrator", dt=0.5)))
provokes("dimensions")(lambda: error(trc.train, trc.TinyRecursiveControl.create_small(seed=0), data(horizon=20)))


# Training


@provokes("interrupted")
def _():
    with mock.patch("trc.training.loop._validate", side_effect=KeyboardInterrupt):
        return trained("--epochs", 2)


@provokes("goes-on")
def _():
    interrupted = mock.Mock(wraps=trc.training.loop._validate, side_effect=[1.0, KeyboardInterrupt])
    with mock.patch("trc.training.loop._validate", interrupted):
        trained("--epochs", 3)
    return trained("--epochs", 3)


@provokes("other-run")
def _():
    trained("--epochs", 1)
    return trained("--epochs", 1, "--lr", 0.01)


@provokes("no-state")
def _():
    trained("--epochs", 1)
    Path("run/training_state.safetensors").unlink()
    return trained("--epochs", 1)


@provokes("state")
def _():
    trained("--epochs", 1)
    Path("run/training_state.safetensors").write_bytes(b"")
    return trained("--epochs", 1)


@provokes("at-work")
def _():
    with RunFolder("run", {}):
        return trained("--epochs", 1)


@provokes("no-gpu")
def _():
    with mock.patch("torch.cuda.is_available", return_value=False):
        return trained("--device", "cuda")


@provokes("out-of-memory")
def _():
    with mock.patch("trc.cli.train.train_network", side_effect=MemoryError):
        return trained("--epochs", 1)


provokes("diverged")(lambda: trained("--epochs", 3, "--lr", 1e18))
provokes("few")(lambda: error(trc.train, network(), data().first(1)))
provokes("test-set")(lambda: error(trc.train, network(), data(seed=123)))
provokes("compares")(lambda: error(trc.train, network(), data(), loss="process", supervision="deep"))
provokes("option")(lambda: error(trc.train, network(), data(), learnig_rate=0.1))
