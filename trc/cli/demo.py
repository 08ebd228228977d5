"""``trc demo`` and ``trc doctor``: what it is, and whether it works here."""

import os
import platform
import sys
import time

import click
import torch

from ..common.checks import all_finite
from ..common.parallel import single_thread
from ..common.provenance import package_versions
from ..datasets import evaluation_set, generate_dataset
from ..evaluation import compare, evaluate, iterate_metrics, propose
from ..model import SIZES, TinyRecursiveControl
from ..problems import PROBLEMS, make_problem
from ..simulation import rollout
from ..training import train

#: Parameters of the three sizes for the double integrator.
TOTALS = {"small": 104_862, "medium": 530_590, "large": 2_604_062}


@click.command()
def demo() -> None:
    """Four demonstrations on the double integrator, in about a minute."""
    problem = make_problem("double_integrator")
    test = evaluation_set(problem).first(20)
    instances = test.initial_states, test.target_states

    click.echo("\n1  one call gives a whole control sequence")
    model = TinyRecursiveControl.create_medium(problem=problem, seed=0).eval()
    initial, target = (states[:1].float() for states in instances)
    start = time.perf_counter()
    with torch.no_grad():
        controls = model(initial, target)["controls"]
    took = f"{1e3 * (time.perf_counter() - start):.0f} ms"
    begin, end = ("({:.2f}, {:.2f})".format(*state[0]) for state in (initial, target))
    size = f"{model.num_parameters():,} parameters"
    click.echo(f"from {begin} to {end}: controls {list(controls.shape)} in {took}, {size}, untrained")

    click.echo("\n2  training on saturated LQR, a small network, 20 epochs")
    data = generate_dataset(problem, 4000, seed=42)
    small = TinyRecursiveControl.create_small(problem=problem, seed=0)
    train(small, data, epochs=20, batch_size=128, learning_rate=3e-3, progress=True)
    metrics = iterate_metrics(problem, *instances, propose(small, *instances))
    for k, (error, cost) in enumerate(zip(metrics["terminal_error"].mean(0), metrics["cost"].mean(0), strict=True)):
        click.echo(f"iterate {k}: mean terminal error {error:.3f}, mean cost {cost:.2f}")

    click.echo("\n3  beside random controls and saturated LQR, 20 test instances")
    with single_thread():
        table = compare(small, problem, *instances, generator=torch.Generator().manual_seed(0), resamples=100)
    shown = table[["terminal_error", "position_error", "velocity_error", "success", "cost"]]
    click.echo(shown.to_string(float_format="{:.3f}".format))

    click.echo("\n4  three sizes, untrained")
    for size in SIZES:
        model = TinyRecursiveControl.create(size, problem=problem, seed=0)
        error = evaluate(model, problem, *instances)["terminal_error"]
        click.echo(f"{size:7} {model.num_parameters():>10,} parameters, mean terminal error {error:.2f}")


@click.command()
def doctor() -> None:
    """Check this installation: versions, threads, device, and four checks of the model."""
    versions = package_versions("torch", "numpy", "pandas", "safetensors", "matplotlib")
    click.echo(f"python {platform.python_version()}, " + ", ".join(f"{name} {v}" for name, v in versions.items()))
    threads = f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads"
    click.echo(f"{platform.system()} {platform.machine()}, {threads}")
    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else "none, and none is needed"
    click.echo(f"GPU: {cuda}")
    checks = {"a forward pass": _forward, "the simulator in the loop": _simulator}
    checks |= {"all sizes": _sizes, "a configuration of one's own": _custom}
    failed = 0
    for name, check in checks.items():
        try:
            click.echo(f"ok      {name}: {check()}")
        except Exception as error:  # whatever is broken here is what the doctor is asked about
            failed += 1
            click.echo(f"FAILED  {name}: {type(error).__name__}: {' '.join(str(error).split())}")
    if failed:
        click.echo(f"{failed} of {len(checks)} checks failed; install the pinned versions of constraints.txt", err=True)
        sys.exit(1)
    click.echo("all checks passed")


def _forward() -> str:
    model = TinyRecursiveControl.create_medium(seed=0)
    output = model(torch.zeros(4, 2), torch.ones(4, 2), return_all_iterations=True)
    _expect(output["all_controls"].shape == (4, 4, 15, 1), "the iterates have another shape")
    _expect(all_finite(output["controls"]), "the controls are not finite")
    return "4 control sequences of 15 steps, 3 refinements"


def _simulator() -> str:
    for name in PROBLEMS:
        problem = make_problem(name)
        initial, target = problem.sample(8, generator=torch.Generator().manual_seed(0))
        model = TinyRecursiveControl.create_small(problem=problem, seed=0)
        output = model(initial, target, return_all_iterations=True)
        simulated = rollout(problem, initial, output["all_controls"][:, 0])[:, -1] - target
        _expect(torch.allclose(output["errors"][:, 0], simulated, atol=1e-4), f"{name}: the fed-back error is another")
        output["errors"].square().sum().backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        _expect(all(map(all_finite, gradients)), f"{name}: the gradient is not finite")
    return f"terminal errors and gradients through {', '.join(PROBLEMS)}"


def _sizes() -> str:
    for size, total in TOTALS.items():
        found = TinyRecursiveControl.create(size).num_parameters()
        _expect(found == total, f"{size} has {found:,} parameters, not {total:,}")
    return ", ".join(f"{size} {total:,}" for size, total in TOTALS.items())


def _custom() -> str:
    size = {"state_dim": 4, "control_dim": 2, "control_horizon": 20}
    model = TinyRecursiveControl.create_small(**size, latent_dim=32, num_heads=4, num_outer_cycles=5)
    shape = tuple(model(torch.zeros(3, 4), torch.ones(3, 4))["controls"].shape)
    _expect(shape == (3, 20, 2), f"the controls have the shape {shape}")
    return "4 states, 2 controls, 20 steps, 5 refinements"


def _expect(fact: bool, otherwise: str) -> None:
    if not fact:
        raise RuntimeError(otherwise)
