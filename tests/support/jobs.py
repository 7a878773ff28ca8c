"""Processes for tests, started as torchrun does, but forked from one that has imported everything."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import sys

import torch
from torch.distributed import TCPStore

_PATIENCE_S = 240


def fork_server():
    """The context of processes that are forked from one that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch._dynamo", "gfla_cli.training.run", "gfla_cli.pipelines.pose_jobs"])
    return context


class Job:
    """Processes with what torchrun gives them: ranks, the name of the job, and a store that outlives them."""

    def __init__(self, folder, count):
        self.folder, self.count = folder, count
        self.store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)

    def run(self, function, *arguments):
        """Calls function(folder, *arguments) in every process, which prints to `output-RANK`. Returns exit codes."""
        forked = fork_server()
        names = {"WORLD_SIZE": self.count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": self.store.port}
        names |= {"TORCHELASTIC_USE_AGENT_STORE": True, "TORCHELASTIC_RUN_ID": self.folder.name}
        processes = []
        for rank in range(self.count):
            environment = {name: str(value) for name, value in (names | {"RANK": rank, "LOCAL_RANK": rank}).items()}
            processes.append(forked.Process(target=_enter, args=(environment, self.folder, function, arguments)))
            processes[-1].start()
        for process in processes:
            process.join(_PATIENCE_S)
            process.kill()
            process.join()
        return [process.exitcode for process in processes]

    def output(self, rank):
        """What a process wrote to stdout and stderr."""
        return (self.folder / f"output-{rank}").read_text()


def _enter(environment, folder, function, arguments):
    os.environ.update(environment)
    file = os.open(folder / f"output-{environment['RANK']}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    torch.set_num_threads(1)
    faulthandler.dump_traceback_later(_PATIENCE_S - 10, file=sys.__stderr__)  # a process that hangs says where
    function(folder, *arguments)
    sys.stdout.flush()
