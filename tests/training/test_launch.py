"""The rank of a process, and its shard of the work."""

from __future__ import annotations

import os

import pytest

from gfla_cli.distributed.launch import Launch, ProcessGroup, current_launch
from gfla_cli.errors import UsageError


def test_without_torchrun_a_process_is_alone():
    assert current_launch({"RANK": "1", "WORLD_SIZE": "4"}) == Launch()
    assert ProcessGroup().all_reduce_mean({"l1": 0.5}) == {"l1": 0.5}


def test_torchrun_gives_a_process_its_rank():
    told = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
    launch = current_launch(told | {"TORCHELASTIC_RUN_ID": "17", "TORCHELASTIC_USE_AGENT_STORE": "True"})
    assert launch == Launch(rank=3, world_size=4, local_rank=1, distributed=True, agent=("localhost", 29500), job="17")
    assert not launch.is_rank0
    unnamed = current_launch(told | {"TORCHELASTIC_RUN_ID": "none"}).job
    assert unnamed.endswith(f":{os.getppid()}")
    for nonsense in ({"RANK": "4"}, {"RANK": "first"}, {"LOCAL_RANK": "-1"}):
        with pytest.raises(UsageError):
            current_launch(told | nonsense)


def test_shards_are_consecutive_and_even():
    groups = [ProcessGroup(Launch(rank=rank, world_size=4)) for rank in range(4)]
    assert [list(group.shard(range(8, 16))) for group in groups] == [[8, 9], [10, 11], [12, 13], [14, 15]]
    with pytest.raises(UsageError, match="a batch of 6 cannot be shared evenly by 4 processes"):
        groups[0].shard(range(6))
