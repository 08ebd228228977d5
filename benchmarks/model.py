"""Races of the network: what a loss costs, and what one instance costs beside the bare products."""

import copy
import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
from race import Race
from torch import Tensor
from torch.nn import functional as F

import trc
from trc.artifact.presets import PAPER_PROBLEMS
from trc.model import Simulator
from trc.standalone import export_standalone
from trc.training import TrainingConfig
from trc.training.unrolled import Unrolled

BATCH, BASE_BATCH = 128, 64
PLANS = 1000
PLAIN = "without kernels"


def network_races() -> Iterator[Race]:
    """The small network with feedback, plans and training steps, beside plain torch and iterative LQR; Van der Pol."""
    problem = trc.make_problem("van_der_pol")
    model = trc.TinyRecursiveControl.create_small(problem=problem, feedback="error", seed=0).eval()
    initial, target = problem.sample(1, generator=torch.Generator().manual_seed(0))
    plan = torch.inference_mode()(partial(model, initial, target))
    yield Race("one plan", problem.name, 1, plan, plainly(plan), PLAIN)
    yield Race(
        "one plan without torch", problem.name, 1, standalone(model, initial, target), plan, "the network in torch"
    )
    many = problem.sample(PLANS, generator=torch.Generator().manual_seed(0))
    plans = partial(trc.propose, model, *many)
    yield Race("plans in a batch", problem.name, PLANS, plans, partial(trc.ilqr, problem, *many), "iterative LQR")
    step = training_step(model.train(), 64, "cloning", value=False)
    yield Race("cloning step, small, feedback error", problem.name, 64, step, plainly(step), PLAIN)
    for name in PAPER_PROBLEMS:  # what the experiments do many times, with feedback and without
        make = partial(trc.TinyRecursiveControl.create_small, problem=trc.make_problem(name), seed=0)
        fed, alone = (
            training_step(make(feedback=feedback), BASE_BATCH, "cloning", value=False, state_weight=10.0)
            for feedback in ("error", "none")
        )
        yield Race("step of the base training", name, BASE_BATCH, fed, alone, "no feedback")


def plainly(call: Callable[[], object]) -> Callable[[], object]:
    """The same without kernels."""

    def plain() -> object:
        with trc.accelerate(False):
            return call()

    return plain


def standalone(model: trc.TinyRecursiveControl, initial: Tensor, target: Tensor) -> Callable[[], object]:
    """A plan of the planner that needs no torch."""
    return partial(planner(model), initial[0].numpy(), target[0].numpy())


def planner(model: trc.TinyRecursiveControl) -> Callable[..., object]:
    """The planner that ``trc export --standalone`` writes."""
    folder = Path(tempfile.mkdtemp())
    export_standalone(model, folder)
    made = importlib.util.spec_from_file_location("planner", folder / "planner.py")
    module = importlib.util.module_from_spec(made)
    made.loader.exec_module(module)
    return module.Planner()


def loss_races() -> Iterator[Race]:
    """A training step with each loss beside the cloning step of the same network, Van der Pol."""
    problem = trc.make_problem("van_der_pol")
    for feedback in ("error", "none"):
        make = trc.TinyRecursiveControl.create_two_level_medium
        step = partial(training_step, make(problem=problem, feedback=feedback, seed=0), BATCH)
        cloning = step("cloning", value=False)
        for rival, other in {
            "process supervision": step("process", value=False),
            "a value predictor": step("cloning", value=True),
        }.items():
            yield Race(f"cloning step, feedback {feedback}", problem.name, BATCH, cloning, other, rival)


def training_step(
    model: trc.TinyRecursiveControl, batch_size: int, loss: str, value: bool, state_weight: float = 0.0
) -> Callable[[], None]:
    """Forward, backward and the optimizer's step, without the clipping."""
    model, problem = copy.deepcopy(model), model.problem
    predictor = trc.ValuePredictor.create(model.config.latent_dim, seed=0) if value else None
    config = TrainingConfig.from_options(loss=loss, state_weight=state_weight)
    objective = Unrolled(model, config, Simulator(problem), problem.cost, predictor)
    parameters = [*model.parameters(), *(predictor.parameters() if value else ())]
    optimizer = torch.optim.AdamW(parameters, lr=1e-6, fused=True)
    data = trc.generate_dataset(problem, batch_size, seed=0)
    solved = data.initial_states, data.target_states, data.control_sequences, data.costs, data.state_trajectories
    batch = [tensor.float() for tensor in solved]

    def step() -> None:
        optimizer.zero_grad()
        objective.validation(*batch).backward()
        optimizer.step()

    return step


def single_races() -> Iterator[Race]:
    """One instance through the medium network, beside nothing but its matrix products, with weights and biases."""
    for name in PAPER_PROBLEMS:
        problem = trc.make_problem(name)
        model = trc.TinyRecursiveControl.create_medium(problem=problem, feedback="none", seed=0).eval()
        initial, target = problem.sample(1, generator=torch.Generator().manual_seed(0))
        products = recorded_products(lambda m=model, x=initial, t=target: m(x, t))
        in_torch = torch.inference_mode()(lambda products=products: [F.linear(*product) for product in products])
        network = torch.inference_mode()(lambda m=model, x=initial, t=target: m(x, t))
        yield Race("bare products in PyTorch", name, 1, in_torch, network, "the network")


def recorded_products(call: Callable[[], object]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Inputs, weights and biases of all linear layers of a call."""
    found, linear = [], F.linear

    def record(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
        found.append((x.clone(), W, b))
        return linear(x, W, b)

    with torch.no_grad(), patch.object(F, "linear", record):
        call()
    return found
