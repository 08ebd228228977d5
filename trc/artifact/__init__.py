"""What turns the library into this paper: experiments, results, claims, figures; nothing in the library knows it."""

from .experiment import Experiment

__all__ = ["Experiment"]
