"""The GPU kernels against their definition: in Triton's interpreter on every machine, compiled where there is a GPU."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from test_ops import attention_inputs

from gfla_cli.ops.local_attention import weighted_patch_sum

pytest.importorskip("triton")
from gfla_cli.ops.local_attention_triton import weighted_patch_sum_triton

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def patch_inputs(channels, size, patch, *, reach, batch=2, dtype=torch.float32):
    """Source features, positions and attention as local attention makes them, on the device under test."""
    source, _, offset, _ = attention_inputs(channels, *size, patch, batch=batch, reach=reach)
    y, x = torch.meshgrid(*(torch.arange(float(s)) for s in size), indexing="ij")
    position = torch.stack([x, y])[None] + offset
    attention = torch.randn(batch, patch**2, *size).softmax(dim=1)
    return [t.to(DEVICE, dtype if i != 1 else torch.float32) for i, t in enumerate((source, position, attention))]


@pytest.mark.parametrize("reach", [0.4, 6.0, 1e5])
@pytest.mark.parametrize(
    ("channels", "size", "patch"), [(5, (7, 9), 3), (16, (6, 5), 5), (70, (4, 4), 3), (8, (5, 5), 1)]
)
def test_the_kernel_gives_the_weighted_sum(channels, size, patch, reach):
    inputs = patch_inputs(channels, size, patch, reach=reach)
    torch.testing.assert_close(weighted_patch_sum_triton(*inputs), weighted_patch_sum(*inputs), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("channels", "size", "patch", "reach"), [(5, (6, 7), 3, 3.0), (12, (5, 4), 5, 9.0)])
def test_the_kernel_gives_the_gradients(channels, size, patch, reach):
    leaves = [t.requires_grad_() for t in patch_inputs(channels, size, patch, reach=reach)]
    weight = torch.randn(2, channels, *size, device=DEVICE)
    found = torch.autograd.grad((weighted_patch_sum_triton(*leaves) * weight).sum(), leaves)
    expected = torch.autograd.grad((weighted_patch_sum(*leaves) * weight).sum(), leaves)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_as_exact_as_its_inputs(dtype):
    inputs = patch_inputs(16, (6, 6), 3, reach=2.0, dtype=dtype)
    found = weighted_patch_sum_triton(*inputs)
    assert found.dtype == dtype
    exact = weighted_patch_sum(inputs[0].float(), inputs[1], inputs[2].float())
    torch.testing.assert_close(found.float(), exact, atol=2e-2, rtol=2e-2)


def test_channels_last_and_plain_features_give_the_same():
    source, position, attention = patch_inputs(8, (5, 6), 3, reach=2.0)
    last = source.contiguous(memory_format=torch.channels_last)
    assert torch.equal(
        weighted_patch_sum_triton(last, position, attention), weighted_patch_sum_triton(source, position, attention)
    )


def test_without_triton_the_torch_form_does_the_work():
    code = (
        "import sys; sys.modules['triton'] = None\n"
        "import torch\nfrom gfla_cli.ops.local_attention import patch_sum_for\n"
        "from gfla_cli.ops.local_attention import weighted_patch_sum\n"
        "assert patch_sum_for('cuda') is weighted_patch_sum"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.cuda
@pytest.mark.parametrize(("channels", "size", "patch"), [(256, (32, 32), 3), (128, (64, 64), 5)])
def test_compiled_and_under_autocast(channels, size, patch):
    inputs = patch_inputs(channels, size, patch, reach=4.0, batch=8)
    compiled = torch.compile(weighted_patch_sum_triton, fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), weighted_patch_sum(*inputs), atol=1e-4, rtol=1e-4)
    with torch.autocast("cuda", torch.bfloat16):
        assert weighted_patch_sum_triton(*inputs).isfinite().all()
