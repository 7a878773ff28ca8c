"""Draws by probability."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar, cast

import numpy as np

from gfla_cli.errors import MissingExtraError, UsageError

Name = TypeVar("Name", bound=str)


def choose(rng: np.random.Generator, shares: Mapping[Name, float]) -> Name:
    """One of the names, each as likely as its share; the shares need not add up to one."""
    share = np.array(list(shares.values()), np.float64)
    return list(shares)[rng.choice(len(share), p=share / share.sum())]


def check_shares(what: str, shares: Mapping[Name, float], known: Collection[Name]) -> None:
    """Raises UsageError unless all names are known and one of them can be drawn."""
    if unknown := sorted(set(shares) - set(known)):
        raise UsageError(f"unknown {what}: {', '.join(unknown)}", hint=f"known: {', '.join(known)}")
    values = list(shares.values())
    if not values or not all(math.isfinite(value) and value >= 0 for value in values) or sum(values) <= 0:
        raise UsageError(f"the shares of each {what} must be numbers from 0 on, and not all 0, got {dict(shares)}")


# The compiler behind the kernels, and the one place that needs numba.


try:
    import numba
except ImportError as error:
    raise MissingExtraError("rendering synthetic people needs numba", "render") from error

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compiles a function at its first call, with exact IEEE arithmetic; the machine code is kept on disk."""
    return cast(Function, numba.njit(cache=True)(function))


def fast_kernel(function: Function) -> Function:
    """Like `kernel`, but lets the compiler reorder sums: pixels may differ in the last bit between machines."""
    return cast(Function, numba.njit(cache=True, fastmath=True)(function))
