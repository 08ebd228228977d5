"""How long a model takes and how much memory it needs, on the machine at hand."""

import math
import statistics
import sys
import time
import weakref
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ..common.checks import check_count
from ..common.modes import evaluating
from ..common.parallel import single_thread
from ..model import FEEDBACKS, ControlNetwork, TinyRecursiveControl
from ..model.feedback import Observation
from ..problems import Problem


def measure_speed(
    model: ControlNetwork, problem: Problem, batch_size: int = 1000, repeats: int = 15
) -> dict[str, float]:
    """Time and memory of a model, on one thread; the simulations of `problem` that it asks for are included.

    Returns
    -------
    dict
        ``latency_ms`` of one instance and of a batch of `batch_size` (``batch_latency_ms``): medians of `repeats` after
        one that is not counted, with their quartiles ``…_q1`` and ``…_q3``; ``throughput`` in instances a second;
        ``weights_mb``; ``peak_memory_mb``, the largest memory that the whole process has had so far (on a GPU: of
        torch's tensors; on Windows, which does not tell: nan).
    """
    batch_size, repeats = check_count(batch_size, "batch_size"), check_count(repeats, "repeats", minimum=3)
    parameter = next(model.parameters())
    generator = torch.Generator().manual_seed(0)
    found: dict[str, float] = {}
    with evaluating(model), torch.inference_mode(), single_thread():
        for name, size in (("latency_ms", 1), ("batch_latency_ms", batch_size)):
            instances = [t.to(parameter) for t in problem.sample(size, generator=generator)]
            first, median, third = _quartiles(lambda x=instances: model(*x), repeats)
            found |= {name: 1e3 * median, f"{name}_q1": 1e3 * first, f"{name}_q3": 1e3 * third}
    return found | {
        "batch_size": batch_size,
        "throughput": 1e3 * batch_size / found["batch_latency_ms"],
        "weights_mb": sum(p.numel() * p.element_size() for p in model.parameters()) / 1e6,
        "peak_memory_mb": _peak_memory(parameter.device) / 1e6,
    }


def count_flops(model: ControlNetwork, iterations: int | None = None) -> int:
    """Floating-point operations of a network for one instance: two for each multiplication and addition of a product.

    After so many refinements, or as many as a recursive network was made for. The simulator's work is not counted, nor
    is what goes on between linear layers and other matrix products.
    """
    parameter, config = next(model.parameters()), model.config
    states = parameter.new_zeros(1, config.state_dim)
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        if isinstance(model, TinyRecursiveControl):
            _think(model, states, config.num_outer_cycles if iterations is None else iterations)
        else:
            model(states, states)
    return counter.get_total_flops()


def _think(model: TinyRecursiveControl, states: Tensor, iterations: int) -> None:
    """So many refinements of one instance ``[1, n]``, told of nothing but zeros."""
    config, told = model.config, FEEDBACKS[model.config.feedback]
    z_0 = model.encode_state(model.scaled_inputs(states, states, None))
    controls, latents = model.first_guess(z_0), model.first_latents(z_0)
    nothing = None
    if model.uses_feedback:
        features = states.new_zeros(1, told.size(config.state_dim, config.control_dim, config.control_horizon))
        nothing = Observation(states, states, features, torch.zeros_like(controls) if told.steps else None)
    for _ in range(iterations):
        latents, controls = model.refinement(z_0, latents, controls, nothing)


def kept_bytes(model: ControlNetwork, initial: Tensor, target: Tensor, *, last: bool = False) -> int:
    """Bytes that autograd keeps for the gradient of one batch ``[B, n]``: each storage once, the weights not at all.

    For the `last` iterate alone, or for all that a loss may look at, every iterate and every simulated error.
    """
    alive: weakref.WeakSet[Tensor] = weakref.WeakSet()

    def keep(tensor: Tensor) -> Tensor:
        kept = tensor.detach()  # with its graph it would hold itself
        alive.add(kept)
        return kept

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept):
        output = model(initial, target, return_all_iterations=True)
    output = output["controls"] if last else output  # what is counted hangs on it
    storages = {kept.data_ptr(): kept.nbytes() for kept in map(Tensor.untyped_storage, alive)}
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    del output
    return sum(size for place, size in storages.items() if place not in own)


def _quartiles(call: Callable[[], object], repeats: int) -> list[float]:
    """Quartiles of the seconds that a call takes."""
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.quantiles(seconds, n=4, method="inclusive")


def _peak_memory(device: torch.device) -> float:
    """Bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource  # Windows has none
    except ImportError:
        return math.nan
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
