"""The compiler behind the kernels, and the one place that needs numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from gfla_cli.errors import MissingExtraError

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
