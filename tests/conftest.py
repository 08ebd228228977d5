"""Shared by all tests: the problems, and instances of them."""

import os
from pathlib import Path

import pytest
import torch

import trc
from trc.artifact.presets import PAPER_PROBLEMS
from trc.model.feedback import FEEDBACKS
from trc.training import LOSSES, SCHEDULES

# what is compiled for tests is kept beside what is built, not among the user's own
os.environ.setdefault("TRC_CACHE_DIR", str(Path(__file__).parents[1] / "_build" / "compiled"))


@pytest.fixture(autouse=True)
def same_numbers_every_time():
    """What a test draws without a generator of its own, and in which order sums are added."""
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def what_a_test_registers_is_forgotten():
    """Problems, experts, feedbacks, losses and schedules of a test's own are known for its length."""
    registries = [trc.PROBLEMS, trc.EXPERTS, FEEDBACKS, LOSSES, SCHEDULES]
    before = [dict(registry) for registry in registries]
    yield
    for registry, known in zip(registries, before, strict=True):
        registry.clear()
        registry.update(known)


@pytest.fixture(params=list(trc.PROBLEMS))
def problem(request):
    """Each problem in turn: what holds for one that is added, too."""
    return trc.make_problem(request.param)


@pytest.fixture(params=PAPER_PROBLEMS)
def paper_problem(request):
    """Each of the paper's problems: what holds for them."""
    return trc.make_problem(request.param)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty project to work in."""
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "claims.yml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def double_integrator():
    return trc.make_problem("double_integrator")


@pytest.fixture
def van_der_pol():
    return trc.make_problem("van_der_pol")


@pytest.fixture
def draw():
    """A function that draws `count` initial and target states of a problem, always the same ones."""

    def instances(problem, count, dtype=torch.float64, seed=0):
        return problem.sample(count, generator=torch.Generator().manual_seed(seed), dtype=dtype)

    return instances
