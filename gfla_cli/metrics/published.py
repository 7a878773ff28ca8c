"""Table 2 of the paper (Ren et al., CVPR 2020): what each way to fetch source features gives on DeepFashion."""

from __future__ import annotations

from typing import NamedTuple


class Ablation(NamedTuple):
    """One row: its name in the paper, the sampler it is here, and the published figures."""

    name: str
    sampler: str
    fid: float
    lpips: float


TABLE_2 = (
    Ablation("Baseline", "none", 16.008, 0.2473),
    Ablation("Global-Attn", "global", 18.616, 0.2575),
    Ablation("Bi-Sample", "bilinear", 12.143, 0.2406),
    Ablation("Full Model", "local", 10.573, 0.2341),
)
CONDITIONS = "DeepFashion 256x256, 8570 pairs"
