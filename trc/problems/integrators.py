"""From a vector field to one step of the dynamics."""

from collections.abc import Callable, Mapping

from torch import Tensor

Parameters = Mapping[str, float | Tensor]
VectorField = Callable[[Tensor, Tensor, Parameters], Tensor]


def rk4(vector_field: VectorField, x: Tensor, u: Tensor, parameters: Parameters, dt: float) -> Tensor:
    """One classical Runge-Kutta step of order 4, the control held over the step."""
    k1 = vector_field(x, u, parameters)
    k2 = vector_field(x + dt / 2 * k1, u, parameters)
    k3 = vector_field(x + dt / 2 * k2, u, parameters)
    k4 = vector_field(x + dt * k3, u, parameters)
    return x + dt / 6 * (k1 + 2 * (k2 + k3) + k4)
