"""Where processes that torchrun started find each other, also when it started them in place of others that died."""

from __future__ import annotations

import secrets
import time
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from gfla_cli.runtime.launch import Launch

_PATIENCE_S, _LOOK_AGAIN_S = 600, 0.02


def common_store(launch: Launch) -> Any:
    """A part of the store of torchrun's agent that only the processes of this start write to.

    The agent keeps its store over restarts, so the addresses of processes that died are still there, under the names
    that the new ones look for (https://github.com/pytorch/pytorch/issues/135712). Nothing in the environment tells
    one start from the next on all machines. Therefore the first process draws a name for this start, and answers
    whoever asks for it under a name of his own, which is new, too.
    """
    assert launch.agent is not None
    patience = timedelta(seconds=_PATIENCE_S)
    store = dist.TCPStore(*launch.agent, is_master=False, timeout=patience)  # type: ignore[attr-defined]
    own = secrets.token_hex(8)
    if launch.is_first:
        _tell_all(store, own, launch.processes)
        start = own
    else:
        store.set(f"gfla/asks/{launch.rank}", own)
        start = str(store.get(f"gfla/told/{own}"), "ascii")
        store.set(f"gfla/heard/{start}/{launch.rank}", "")
    return dist.PrefixStore(f"gfla/{start}", store)  # type: ignore[attr-defined]


def _tell_all(store: Any, start: str, processes: int) -> None:
    """Answers until everybody has heard it; a question that a process left which died is answered to no harm."""
    waiting, until_s = set(range(1, processes)), time.monotonic() + _PATIENCE_S
    while waiting:
        for rank in list(waiting):
            if store.check([f"gfla/heard/{start}/{rank}"]):
                waiting.remove(rank)
            elif store.check([f"gfla/asks/{rank}"]):
                store.set(f"gfla/told/{str(store.get(f'gfla/asks/{rank}'), 'ascii')}", start)
        if time.monotonic() > until_s:
            raise RuntimeError(f"of {processes} processes {len(waiting)} did not come within {_PATIENCE_S} s")
        time.sleep(_LOOK_AGAIN_S)
