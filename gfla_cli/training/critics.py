"""The networks that learn beside the generator and tell it what is wrong with its pictures.

Discriminators score pictures as real or made (paper, eq. 10); a pose reader, not in the paper, finds joints in them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gfla_cli.losses.adversarial import discriminator_loss, generator_loss
from gfla_cli.losses.joints import joint_loss
from gfla_cli.training.objective import total
from gfla_cli.training.task import Judged, Read, Terms


def playing(judged: Mapping[str, Judged | Read], *, adversarial: bool) -> dict[str, Judged | Read]:
    """What there is to judge in this step: discriminators wait for theirs, a pose reader never does."""
    return {name: pair for name, pair in judged.items() if adversarial or isinstance(pair, Read)}


def generator_terms(critics: nn.ModuleDict, judged: Mapping[str, Judged | Read]) -> Terms:
    """What the generator is told: "adversarial" by discriminators, "joints" by a pose reader.

    The latter compares what it sees in both pictures, and not the joints asked for: a hidden hand is no mistake.
    """
    found: dict[str, list[Tensor]] = {"adversarial": [], "joints": []}
    for name, pair in judged.items():
        critic = critics[name]
        if isinstance(pair, Read):
            with torch.no_grad():
                seen = critic(pair.real)
            found["joints"].append(joint_loss(critic(pair.fake), seen))
        else:
            found["adversarial"].append(generator_loss(critic(pair.fake)))
    return _totals(found)


def critic_terms(critics: nn.ModuleDict, judged: Mapping[str, Judged | Read]) -> Terms:
    """What the critics learn from: "discriminator", and "reader" of a pose reader."""
    found: dict[str, list[Tensor]] = {"discriminator": [], "reader": []}
    for name, pair in judged.items():
        critic = critics[name]
        if isinstance(pair, Read):
            found["reader"].append(joint_loss(critic(pair.real), pair.joints))
        else:
            real, fake = critic(torch.cat([pair.real, pair.fake])).chunk(2)
            found["discriminator"].append(discriminator_loss(real, fake))
    return _totals(found)


def _totals(found: Mapping[str, list[Tensor]]) -> Terms:
    return {name: total(values) for name, values in found.items() if values}
