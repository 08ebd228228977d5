"""What anyone would write, with PyTorch's own gradients: what every faster way is held against."""

import torch


def step_by_step(problem, initial, controls, parameters=None):
    """States ``[B, T+1, n]``, one call of ``problem.step`` after another."""
    states = [initial]
    for u in controls.unbind(1):
        states.append(problem.step(states[-1], u, {**problem.parameters, **(parameters or {})}))
    return torch.stack(states, 1)


def projected_gradient(problem, initial, target, controls):
    """``‖u - clip(u - ∂J/∂u)‖∞`` of each instance, the gradient by autograd through the loop."""
    u = controls.detach().clone().requires_grad_()
    problem.cost(step_by_step(problem, initial, u), u, target).sum().backward()
    return (u.detach() - problem.clip(u.detach() - u.grad)).abs().amax((1, 2))
