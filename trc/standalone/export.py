"""Write a network, its simulator and its weights as one Python file and one file of arrays."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..common.files import as_path, write_text, writing
from ..compiled.operations import INTRINSICS
from ..compiled.python import python
from ..model import TinyRecursiveControl
from ..problems import Problem

#: Where, in the files that a planner is put together of, what belongs to one network begins and ends, and the rest.
BEGIN, END, REST = "# --- what follows", "# --- the same for", "# --- what stands"

#: What a step may call, by the name that :mod:`math` gives it.
FUNCTIONS = sorted({"fabs" if name == "abs" else name for name in [*INTRINSICS, "fmod"]})

#: Kinds of feedback that the planner knows.
FEEDBACK = ("none", "error")


def export_standalone(model: TinyRecursiveControl, folder: str | Path) -> Path:
    """Write ``planner.py`` and ``weights.npz`` into a folder, and give it back.

    A network with another feedback than the terminal error, or without the simulator that it was trained with, and a
    problem whose step can't be recorded, are a ``ValueError``.
    """
    if not isinstance(model, TinyRecursiveControl):
        raise ValueError(f"a planner is made of a TinyRecursiveControl, got a {type(model).__name__}.")
    if model.config.feedback not in FEEDBACK:
        known = " and ".join(repr(name) for name in FEEDBACK)
        raise ValueError(f"a planner knows the feedback {known}, this network has {model.config.feedback!r}.")
    needs_step = model.simulator(None) is not None
    network, planner = (Path(__file__).with_name(name).read_text("utf-8") for name in ("network.py", "planner.py"))
    before, after = network[: network.index(BEGIN)], network[network.index(END) :]
    rest = planner[planner.index(REST) :].partition("\n\n")[2]
    lines = [*_settings(model, needs_step), "", "", *_step(model.problem, needs_step), "", ""]
    folder = as_path(folder)
    with writing(folder / "weights.npz") as file:
        np.savez(file, **_weights(model))
    write_text(folder / "planner.py", before.replace("  # noqa: F401", "") + "\n".join(lines) + after + "\n\n" + rest)
    return folder


def _settings(model: TinyRecursiveControl, feedback: bool) -> list[str]:
    """What the planner has to know of the network."""
    config = model.config
    values = {
        "N, M, T": (config.state_dim, config.control_dim, config.control_horizon),
        "CONTROL_LOW, CONTROL_HIGH": (config.control_low, config.control_high),
        "STATE_SCALE, TIME_SCALE": (config.state_scale, config.time_scale),
        "D, HIDDEN, HEADS": (config.latent_dim, config.hidden_dim, config.num_heads),
        "BLOCKS, EXPANDED": (config.num_blocks, config.expansion * config.latent_dim),
        "ITERATIONS": config.num_outer_cycles,
        "CYCLES": config.L_cycles if config.use_two_level else config.num_inner_cycles,
        "ATTENTION, SWIGLU": (config.reasoning == "attention", config.feedforward == "swiglu"),
        "RMS, NORM_FIRST": (config.norm == "rms", config.norm_first),
        "TWO_LEVELS, RESIDUAL, FEEDBACK": (config.use_two_level, config.decoder == "residual", feedback),
        "CARRIED": config.carry_latents,
        "ROOT": torch.finfo(torch.float32).eps,
    }
    name = "a network" if model.problem is None else f"a network for {model.problem.name}"
    return [f"# {name}", *(f"{name} = {value!r}" for name, value in values.items())]


def _step(problem: Problem | None, needed: bool) -> list[str]:
    """The step of the dynamics as straight lines of numbers."""
    lines = ["pass"]
    if needed:

        def step(x: Tensor, u: Tensor) -> dict[str, Tensor]:
            with torch.no_grad():
                return {"following": problem.step(x, u, problem.parameters)}

        n = problem.state_dim
        lines = python(step, {"x": (n,), "u": (problem.control_dim,)}, {"following": (n,)}, torch.float32)
    used = [name for name in FUNCTIONS if any(f"{name}(" in line for line in lines)]
    imports = [f"from math import {', '.join(used)}", ""] if used else []
    head = [
        *imports,
        "number = np.float32",
        "",
        "",
        '@njit(cache=True, error_model="numpy")',  # which divides by zero as torch does
        "def step(x, u, following):",
        '    """One step of the dynamics, from `x` under `u`."""',
    ]
    return [*head, *(f"    {line}" for line in lines)]


def _weights(model: TinyRecursiveControl) -> dict[str, np.ndarray]:
    """All weights in the order in which the planner reads them, those of a linear layer one input after the other."""
    parts: list[tuple[str, nn.Module]] = [
        (name, getattr(model, name))
        for name in "encode_state initial_controls embed_controls embed_error encode_error initial_latents".split()
    ]
    parts += [(f"blocks.{i}", block) for i, block in enumerate(model.blocks)] + [("decode", model.decode)]
    found = {}
    for name, part in parts:
        own = {**dict(part.named_parameters()), **dict(part.named_buffers())}
        for key, tensor in own.items():
            array = tensor.detach().cpu().float()
            found[f"{name}.{key}"] = (array.T if array.ndim == 2 else array).contiguous().numpy()
    return found
