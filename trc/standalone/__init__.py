"""A trained network as a folder of its own, for the machine that controls: NumPy and numba, neither torch nor trc."""

from .export import export_standalone

__all__ = ["export_standalone"]
