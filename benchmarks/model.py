"""Races of the network: what a loss costs, and what one instance costs beside the bare products."""

from collections.abc import Callable, Iterator
from functools import partial
from unittest.mock import patch

import torch
from race import Race
from torch.nn import functional as F

import trc
from trc.artifact.presets import PAPER_PROBLEMS
from trc.model import Simulator
from trc.training import TrainingConfig
from trc.training.losses import Objective

BATCH = 128


def loss_races() -> Iterator[Race]:
    """A training step with each loss beside the cloning step of the same network, Van der Pol."""
    problem = trc.make_problem("van_der_pol")
    for feedback in ("error", "none"):
        step = partial(training_step, problem, feedback)
        cloning = step("cloning", value=False)
        for rival, other in {
            "process supervision": step("process", value=False),
            "a value predictor": step("cloning", value=True),
        }.items():
            yield Race(f"cloning step, feedback {feedback}", problem.name, BATCH, cloning, other, rival)


def training_step(problem: trc.Problem, feedback: str, loss: str, value: bool) -> Callable[[], None]:
    """Forward, backward and the optimizer's step of the two-level medium network, without the clipping."""
    model = trc.TinyRecursiveControl.create_two_level_medium(problem=problem, feedback=feedback, seed=0)
    predictor = trc.ValuePredictor.create(model.config.latent_dim, seed=0) if value else None
    objective = Objective(model, TrainingConfig(loss=loss), Simulator(problem), problem.cost, predictor)
    parameters = [*model.parameters(), *(predictor.parameters() if value else ())]
    optimizer = torch.optim.AdamW(parameters, lr=1e-6, fused=True)
    data = trc.generate_dataset(problem, BATCH, seed=0)
    batch = [t.float() for t in (data.initial_states, data.target_states, data.control_sequences, data.costs)]

    def step() -> None:
        optimizer.zero_grad()
        objective(*batch).backward()
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


def recorded_products(call: Callable[[], object]) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Inputs, weights and biases of all linear layers of a call."""
    found, linear = [], F.linear

    def record(x: torch.Tensor, W: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        found.append((x.clone(), W, b))
        return linear(x, W, b)

    with torch.no_grad(), patch.object(F, "linear", record):
        call()
    return found
