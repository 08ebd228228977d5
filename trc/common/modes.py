"""Modes of torch: whether one is in force that has to see each operation, and what has to be done otherwise then.

Compilers, tracers and ``torch.func`` follow a computation operation by operation, often on tensors without numbers.
Whatever passes them by (compiled code, a derivative of one's own, a look at a number) is left out then.
"""

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, NoReturn, TypeVar

import torch
from torch import _C, Tensor
from torch._C import _get_tracing_state, _len_torch_dispatch_stack, _len_torch_function_stack
from torch._C._functorch import is_functorch_wrapped_tensor, is_legacy_batchedtensor, maybe_current_level
from torch.autograd import forward_ad
from torch.compiler import is_compiling
from torch.jit import is_tracing
from torch.utils._device import DeviceContext

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

#: Types of tensors that follow torch's rules and none of their own.
ORDINARY = {Tensor, torch.nn.Parameter}


def is_watched() -> bool:
    """Whether some mode of torch wants to see what is done with tensors."""
    return (
        is_compiling()
        or maybe_current_level() is not None
        or _get_tracing_state() is not None
        or _len_torch_dispatch_stack() > 0
        or forward_ad._current_level >= 0
        or (_len_torch_function_stack() > 0 and not _only_a_device())
    )


def is_transformed() -> bool:
    """Whether torch makes other functions of those that are called: derivatives, maps, compiled ones."""
    return is_compiling() or maybe_current_level() is not None or forward_ad._current_level >= 0


def _only_a_device() -> bool:
    """Whether nothing is asked of torch's functions but where new tensors shall be."""
    modes = (_C._get_function_stack_at(i) for i in range(_len_torch_function_stack()))
    return all(isinstance(mode, DeviceContext) for mode in modes)


def is_readable(tensor: Tensor) -> bool:
    """Whether a tensor has numbers, which may be looked at without breaking a mode of torch."""
    return type(tensor) in ORDINARY and not (tensor.is_meta or is_watched())


def wants_graph(*tensors: Any) -> bool:
    """Whether someone may differentiate by one of them what is computed from them."""
    return torch.is_grad_enabled() and any(isinstance(one, Tensor) and one.requires_grad for one in tensors)


def full_precision(function: F) -> F:
    """Decorator: what is computed by it keeps the types of its tensors under ``torch.autocast``, too."""

    @functools.wraps(function)
    def exact(*args: Any, **kwargs: Any) -> Any:
        if not _C._is_any_autocast_enabled():
            return function(*args, **kwargs)
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            return function(*args, **kwargs)

    exact.__prepare_scriptable__ = refuse_script
    return exact


def shape_of(tensor: Tensor) -> tuple[int, ...]:
    """The shape in numbers, where ``torch.jit.trace`` would hand out tensors and warn of who looks at them, too."""
    if is_compiling() or (tracer := _get_tracing_state()) is None:
        return tensor.shape
    _C._set_tracing_state(None)
    try:
        return tensor.shape
    finally:
        _C._set_tracing_state(tracer)


def refuse_script() -> NoReturn:
    """Raise ``ValueError``, when ``torch.jit.script`` asks for what it can compile."""
    raise ValueError("torch.jit.script can't compile what trc is made of; use torch.export.export or torch.jit.trace.")


def apart(function: Callable[[], T]) -> T:
    """What a function gives in a thread of its own, where none of the caller's modes and hooks of torch is in force."""
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future.result()


def normal(tensor: Tensor) -> Tensor:
    """A tensor that autograd takes: one that was made in inference mode is copied."""
    if is_compiling() or not tensor.is_inference():
        return tensor
    with torch.inference_mode(False):
        return tensor.clone()


def pullback(
    function: Callable[..., Any], inputs: Sequence[Tensor], *, graph: bool = False
) -> tuple[Any, Callable[[Any], tuple[Tensor, ...]]]:
    """The value of a function, and what takes a gradient by it to the inputs, with a graph if one is asked for.

    The value is a tensor or a tuple of tensors, and so is the gradient.
    """
    if is_tracing() or torch.compiler.is_exporting():
        raise ValueError(
            "torch.jit.trace and torch.export can't record the derivatives that trc takes; trace or export trc.rollout "
            "and the cost, and differentiate what comes out."
        )
    if is_transformed():
        return torch.func.vjp(function, *inputs)
    with torch.inference_mode(False), torch.enable_grad():
        leaves = [x.view_as(x) if graph and x.requires_grad else x.detach().clone().requires_grad_() for x in inputs]
        value = function(*leaves)
    options = {"retain_graph": True, "create_graph": graph, "materialize_grads": True}
    return value, functools.partial(torch.autograd.grad, value, leaves, **options)


@contextlib.contextmanager
def evaluating(network: torch.nn.Module) -> Iterator[None]:
    """A network that is asked and not trained, and afterwards is as it was; to tell all its parts takes time."""
    was_training = network.training
    if was_training:
        network.eval()
    try:
        yield
    finally:
        if was_training:
            network.train()


def values_only(function: F) -> F:
    """Decorator of a public function that decides by numbers: it gives numbers, or says why it can't."""

    @torch.no_grad()
    def decide(*args: Any, **kwargs: Any) -> Any:
        if any(_is_hidden(one) for one in (*args, *kwargs.values()) if isinstance(one, Tensor)) or _is_fake():
            raise ValueError(refusal)
        if maybe_current_level() is not None:  # which has nothing to do with what is given
            return apart(lambda: decide(*args, **kwargs))
        return function(*args, **kwargs)

    @functools.wraps(function)
    def asked(*args: Any, **kwargs: Any) -> Any:
        if is_compiling() or is_tracing():
            raise ValueError(refusal)  # at which torch.compile leaves it out
        if "torch._dynamo" in sys.modules:  # or it would compile each part of it alone, for a long time
            return torch.compiler.disable(decide)(*args, **kwargs)
        return decide(*args, **kwargs)

    refusal = (
        f"trc.{function.__name__} decides by numbers and has no derivative, so it can't be traced, exported, mapped or "
        "differentiated, nor be asked about tensors without data; call it before, outside, and hand in what it gives."
    )
    asked.__prepare_scriptable__ = refuse_script
    return asked


def is_mapped(tensor: Tensor) -> bool:
    """Whether a tensor stands for others, in a transformation of ``torch.func`` or a batch of gradients."""
    return is_functorch_wrapped_tensor(tensor) or is_legacy_batchedtensor(tensor)


def _is_fake() -> bool:
    """Whether tensors that are made now get no numbers, as where a graph is made for an export."""
    return _len_torch_dispatch_stack() > 0 and _C._get_dispatch_mode(_C._TorchDispatchModeKey.FAKE) is not None


def _is_hidden(tensor: Tensor) -> bool:
    """Whether a tensor has no numbers that one may look at, or is being differentiated in forward mode."""
    dual = forward_ad._current_level >= 0 and forward_ad.unpack_dual(tensor).tangent is not None
    return type(tensor) not in ORDINARY or tensor.is_meta or is_mapped(tensor) or dual
