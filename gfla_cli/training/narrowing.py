"""Narrowing: a trained model gets fewer channels inside the blocks of its renderer, and gives nearly the same images.

First each block keeps the channels that its output needs most, and its second convolution is fitted to its former
output by least squares. Then the narrow renderer learns by gradients to give the features and the image of the wide
one. Flows stay as they are, and the real images are not looked at.

Fine levels may lose their local attention in the same way: the renderer learns to do without.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gfla_cli.networks.blocks import DecoderBlock, EncoderBlock, ResidualBlock
from gfla_cli.networks.renderer import Blend, DecoderLevel, PixelBlend
from gfla_cli.training.learner import Learner, reduce_for
from gfla_cli.training.loading import load_samples
from gfla_cli.training.recipe import Stage
from gfla_cli.training.tasks.base import CriticInput, Outcome, TrainingTask, total

_Block = EncoderBlock | ResidualBlock | DecoderBlock
_Outputs = list[tuple[int, Any]]  # (number of the module, its output), in the order of the calls

_INSIDE: dict[type, tuple[str, str]] = {  # the convolutions before and after the channels inside a block
    EncoderBlock: ("down", "conv"),
    ResidualBlock: ("conv1", "conv2"),
    DecoderBlock: ("conv", "up"),
}
_SAMPLES = 32  # images that the least squares see
_PLACES = 600  # of each block in each of them
FIRST_SEEN = 10**8  # number of the first of these samples; training hardly reaches it
_AT_ONCE = 24  # one of so many channels is left out before the others are weighed again
_RIDGE = 1e-5  # of the mean square of a channel
_IMAGE, _LAYERS = 10.0, 2.0  # weights of their differences, beside the relative ones of features


class _Pair(NamedTuple):
    """A block of the wide model and its narrow counterpart."""

    wide: _Block
    narrow: _Block


def _narrowed_blocks(wide: nn.Module, narrow: nn.Module) -> list[_Pair]:
    """The blocks that have fewer channels inside, of two networks that are built alike."""
    blocks = ([block for block in network.modules() if isinstance(block, _Block)] for network in (wide, narrow))
    pairs = [_Pair(*pair) for pair in zip(*blocks, strict=True)]
    return [
        pair for pair in pairs if _convolutions(pair.wide)[0].out_channels > _convolutions(pair.narrow)[0].out_channels
    ]


def _changed_levels(wide: nn.Module, narrow: nn.Module) -> list[tuple[DecoderLevel, DecoderLevel]]:
    """The levels that sample in another way, of two networks that are built alike."""
    levels = ([level for level in network.modules() if isinstance(level, DecoderLevel)] for network in (wide, narrow))
    pairs = zip(*levels, strict=True)
    return [pair for pair in pairs if len({tuple(map(type, level.samplers)) for level in pair}) > 1]


def _compared(wide: nn.Module, narrow: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    """Modules of both networks whose outputs should be equal: blocks, levels, and what gives the layers of an image."""
    blends = ([module for module in network.modules() if isinstance(module, PixelBlend)] for network in (wide, narrow))
    blocks = _narrowed_blocks(wide, narrow)
    return [*((pair.wide, pair.narrow) for pair in blocks), *_changed_levels(wide, narrow), *zip(*blends, strict=True)]


def _convolutions(block: _Block) -> tuple[nn.Conv2d, nn.Conv2d | nn.ConvTranspose2d]:
    first, second = (getattr(block, name) for name in _INSIDE[type(block)])
    return first, second


class NarrowingTask(TrainingTask):
    """Another task whose generator learns to do what a wider one does."""

    def __init__(self, task: TrainingTask, teacher: nn.Module) -> None:
        super().__init__(task.recipe, task.dataset, None)
        self.task, self.teacher, self.steps_per_sample = task, teacher, task.steps_per_sample

    def discriminators(self) -> nn.ModuleDict:
        """Those of the task; they are not trained."""
        return self.task.discriminators()

    def batches(self, sample: Any, device: torch.device) -> Iterator[Any]:
        """Those of the task."""
        return self.task.batches(sample, device)

    def flow_modules(self, generator: nn.Module) -> list[nn.Module]:
        """Those of the task."""
        return self.task.flow_modules(generator)

    def forward(self, generator: nn.Module, batch: Any, stage: Stage) -> Outcome:
        """The loss `imitation`: how far features, layers and images are from those of the wide model."""
        pairs = _compared(self.teacher, generator)
        wanted, truth = self.taught([wide for wide, _ in pairs], batch, stage)
        found, made = self._seen(generator, [narrow for _, narrow in pairs], batch, stage)
        parts = [_difference(x, y) for (_, x), (_, y) in zip(found, wanted, strict=True)]
        each_frame = total(parts) * len(pairs) / len(parts)
        return Outcome(
            {"imitation": _IMAGE * (_image(made) - _image(truth)).abs().mean() + each_frame}, {}, made.carried
        )

    def taught(self, modules: Sequence[nn.Module], batch: Any, stage: Stage) -> tuple[_Outputs, Outcome]:
        """All outputs of these modules of the wide model, and the outcome of the task with it."""
        reduce_for(self.teacher, stage.image_size)  # as the learner does with its own networks
        with torch.no_grad():
            return self._seen(self.teacher, modules, batch, stage)

    def _seen(
        self, generator: nn.Module, modules: Sequence[nn.Module], batch: Any, stage: Stage
    ) -> tuple[_Outputs, Outcome]:
        outputs: _Outputs = []
        with ExitStack() as hooks:
            for number, module in enumerate(modules):
                hooks.enter_context(
                    module.register_forward_hook(lambda _module, _inputs, output, n=number: outputs.append((n, output)))
                )
            return outputs, self.task.forward(generator, batch, stage)

    def rows(self, generator: nn.Module, batch: Any) -> Tensor:
        """Those of the task."""
        return self.task.rows(generator, batch)


def _difference(made: Tensor | Blend, wanted: Tensor | Blend) -> Tensor:
    """Of features (B, C, h, w) the squared difference relative to the variance; of layers the mean difference."""
    if isinstance(made, Blend):
        assert isinstance(wanted, Blend)
        pairs = zip(*(layers._replace(matte=layers.matte.sigmoid()) for layers in (made, wanted)), strict=True)
        return _LAYERS * total((a - b).abs().mean() for a, b in pairs)
    assert isinstance(wanted, Tensor)
    wanted, made = wanted.float(), made.float()
    return (made - wanted).square().mean() / (wanted - wanted.mean(dim=(2, 3), keepdim=True)).square().mean()


def _image(outcome: Outcome) -> Tensor:
    pair = outcome.judged["image"]
    assert isinstance(pair, CriticInput)
    return pair.fake


def narrow_by_least_squares(learner: Learner, task: NarrowingTask, stage: Stage) -> None:
    """Gives the learner's generator the weights of the teacher, with fewer channels inside its narrow blocks.

    Its recipe has passed `check_narrowing`. Raises DataError when the training data cannot be read.
    """
    generator, teacher = learner.generator, task.teacher
    own = generator.state_dict()
    theirs = teacher.state_dict()
    generator.load_state_dict({n: theirs[n] if theirs[n].shape == x.shape else x for n, x in own.items()})
    blocks = _narrowed_blocks(teacher, generator)
    seen = _activations([pair.wide for pair in blocks], task, stage, learner.placement.device) if blocks else []
    with torch.no_grad():
        for pair, (windows, outputs) in zip(blocks, seen, strict=True):
            _narrow(pair, windows.double(), outputs.double())
    learner.average.load_state_dict(generator.state_dict())


def _activations(
    blocks: Sequence[_Block], task: NarrowingTask, stage: Stage, device: torch.device
) -> list[tuple[Tensor, Tensor]]:
    """For each block, at some places: windows of the channels inside, and what they add to the output of the block.

    Windows are (places, channels * 9), outputs (places, b), or (places, b * 4) of blocks that double the resolution.
    Raises DataError when the samples cannot be read.
    """
    found: list[list[tuple[Tensor, Tensor]]] = [[] for _ in blocks]
    numbers = range(FIRST_SEEN, FIRST_SEEN + _SAMPLES, 2)
    random = torch.Generator(device).manual_seed(0)
    with load_samples(task.dataset(stage), ([n, n + 1] for n in numbers), workers=0) as loading:
        for loaded in loading:
            for batch in task.batches(loaded.sample, device):
                inside, _ = task.taught([block.norm2 for block in blocks], batch, stage)
                for i, normed in inside:
                    found[i].append(_at_some_places(blocks[i], normed.float(), random))
            if sum(len(windows) for windows, _ in found[0]) >= _SAMPLES * _PLACES:
                break
    return [(torch.cat([w for w, _ in parts]), torch.cat([o for _, o in parts])) for parts in found]


def _at_some_places(block: _Block, normed: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Windows and outputs, see `_activations`, from the channels inside a block after its norm, (B, C, h, w)."""
    x: Tensor = block.act(normed)
    _, second = _convolutions(block)
    if isinstance(second, nn.ConvTranspose2d):
        doubled = F.conv_transpose2d(x, second.weight, None, 2, 1, second.output_padding)
        made = F.pixel_unshuffle(doubled, 2)
    else:
        made = F.conv2d(x, second.weight, None, padding=1)
    windows = F.unfold(x, 3, padding=1)
    some = torch.randperm(windows.shape[2], generator=random, device=x.device)[:_PLACES]
    return _rows(windows[..., some]), _rows(made.flatten(2)[..., some])


def _rows(x: Tensor) -> Tensor:
    """(B, C, places) to (B * places, C)."""
    return x.transpose(1, 2).flatten(0, 1)


def _narrow(pair: _Pair, windows: Tensor, outputs: Tensor) -> None:
    """Copies the channels that a block needs most, and fits its second convolution to the output of the wide block."""
    (first, second), (own_first, own_second) = _convolutions(pair.wide), _convolutions(pair.narrow)
    mean, mean_output = windows.mean(dim=0), outputs.mean(dim=0)
    windows, outputs = windows - mean, outputs - mean_output
    gram, cross = windows.T @ windows / len(windows), windows.T @ outputs / len(windows)
    gram += _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    kept = _most_needed(gram, cross, own_first.out_channels)
    for own, theirs in ((own_first, first), (pair.narrow.norm2, pair.wide.norm2)):
        for name, parameter in own.named_parameters():  # a block without norm has none there
            parameter.copy_(theirs.get_parameter(name)[kept])
    own_second.weight.zero_()
    shift = torch.zeros_like(mean_output)
    phases = _phases(second)
    for number, taps in enumerate(phases):
        columns = (9 * kept[:, None] + torch.tensor(list(taps), device=kept.device)).flatten()
        phase = torch.arange(number, len(mean_output), len(phases), device=kept.device)
        weight = torch.linalg.solve(gram[columns][:, columns], cross[columns][:, phase])
        shift[phase] = mean_output[phase] - mean[columns] @ weight
        kernels = weight.to(own_second.weight.dtype).unflatten(0, (len(kept), len(taps))).unbind(dim=1)  # (kept, b)
        for (y, x), kernel in zip(taps.values(), kernels, strict=True):
            own_second.weight[:, :, y, x] = kernel if len(phases) > 1 else kernel.T
    assert second.bias is not None
    assert own_second.bias is not None
    own_second.bias.copy_(second.bias + shift.unflatten(0, (-1, len(phases))).mean(dim=1))


def _phases(convolution: nn.Conv2d | nn.ConvTranspose2d) -> list[dict[int, tuple[int, int]]]:
    """For each output pixel of an input pixel, one or 2x2: place in a 3x3 window of inputs -> tap of the kernel."""
    around = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    if isinstance(convolution, nn.Conv2d):
        return [{3 * y + x + 4: (y + 1, x + 1) for y, x in around}]
    size, phases = convolution.kernel_size[0], []
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        taps = {3 * y + x + 4: (down + 1 - 2 * y, right + 1 - 2 * x) for y, x in around}
        phases.append({place: tap for place, tap in taps.items() if min(tap) >= 0 and max(tap) < size})
    return phases


def _most_needed(gram: Tensor, cross: Tensor, count: int) -> Tensor:
    """The numbers of `count` channels, by backward elimination: those go first that the best fit misses least."""
    kept = torch.arange(len(gram) // 9, device=gram.device)
    while len(kept) > count:
        columns = (9 * kept[:, None] + torch.arange(9, device=kept.device)).flatten()
        inverse = torch.linalg.inv(gram[columns][:, columns])
        weight = (inverse @ cross[columns]).unflatten(0, (-1, 9))  # (kept, 9, b)
        own = inverse.unflatten(0, (-1, 9)).unflatten(2, (-1, 9)).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
        missed = (weight * torch.linalg.solve(own, weight)).sum(dim=(1, 2))
        left_out = min(max(1, len(kept) // _AT_ONCE), len(kept) - count)
        kept = kept[missed.argsort()[left_out:].sort().values]
    return kept
