"""Training recipes: all settings that determine the weights, as frozen values with a JSON form. Imports no torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from gfla_cli.bundles.files import read_config
from gfla_cli.bundles.shelf import find_bundle
from gfla_cli.config import Level, ModelConfig, Sampler, preset
from gfla_cli.errors import UsageError

_FLOW_COST = 0.25  # of a step that trains the flow alone, relative to a joint step


@dataclass(frozen=True, kw_only=True, slots=True)
class LossWeights:
    """The weight of each loss; 0 switches a loss off and saves its cost."""

    l1: float = 0
    content: float = 0
    style: float = 0
    adversarial: float = 0
    correctness: float = 0
    affine: float = 0
    correspondence: float = 0  # of the flow with the renderer's ground truth
    matching: float = 0  # of earlier models with the flow prior "matches"; not used any more
    solids: float = 0  # of the flow of the refined solids with the ground truth; for the flow prior "solids"
    refined: float = 0  # of the refined joints with the ground truth; for the flow prior "solids"
    choice: float = 0  # of the choice between body parts with the ground truth; for the flow prior "solids"
    volume: float = 0  # of the flow of the volume with the ground truth; for the flow prior "volume"
    rays: float = 0  # of where rays of both cameras meet the volume, with the ground truth; for the flow prior "volume"
    middle: float = 0  # of the object's middle in the image; for the flow prior "volume"
    visibility: float = 0  # of the mask with the renderer's ground truth
    share: float = 0  # copied pixels where the flow is right, generated ones elsewhere; for models with `pixel_blend`
    matte: float = 0  # of the matte with the silhouette; for models with `pixel_blend`
    view: float = 0  # of the view estimator's classification
    close_up: float = 0  # content distance of head, or eyes and mouth, crops; they get a discriminator of their own
    joints: float = 0  # of the joints that a pose reader, trained alongside, finds in generated and real images
    imitation: float = 0  # of a wider model that a narrow one should equal
    person: float = 0  # extra weight of the person, or the object, in the pixel losses


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A part of training with one resolution and one set of losses."""

    name: str
    train: Literal["flow", "joint"]  # the flow estimator alone, or everything
    steps: int
    image_size: tuple[int, int]
    batch: int  # of a step, over all processes
    weights: LossWeights
    learning_rate: float = 1e-4
    final_learning_rate: float | None = None  # at the end of a cosine decay; None = constant rate
    discriminator_rate: float = 1e-5
    betas: tuple[float, float] = (0.0, 0.999)
    warmup: int = 0  # steps over which the learning rate rises from zero
    adversarial_from: int = 0  # step of this stage at which adversarial training begins
    ground_truth_flows: float = 0.0  # fraction of the pairs whose features are warped by the renderer's flows
    frozen: tuple[str, ...] = ()  # parts of the network that keep their weights, such as "flow_estimator.refiner"


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A model, its training data and its training stages."""

    dataset: str
    model: ModelConfig
    stages: tuple[Stage, ...]
    seed: int = 0
    initial: Literal["orthogonal", "kaiming"] = "orthogonal"  # the paper's, or for encoders without norms
    content_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    style_layers: tuple[str, ...] = ("relu2_2", "relu3_4", "relu4_4", "relu5_2")
    discriminator_blocks: int = 4
    perceptual_window: float = 1.0  # fraction of the frame's width, around the person, for the VGG19 losses
    heads: float = 0.0  # fraction of the pairs of rendered people that show a head close up
    halves: float = 0.0  # fraction of the rest that show the upper or the lower half of a body
    frames: int = 30  # of a clip
    frames_per_step: int = 6  # of them that one step generates, each from the previous one
    perceptual_frames: int = 6  # of a step that the VGG19 losses see
    minutes: float = 0.0  # time budget of the run; 0 = no budget, the steps decide
    average_decay: float = 0.0  # of the exponential moving average of the weights; 0 = no average

    @property
    def has_close_ups(self) -> bool:
        """Whether a stage has losses of close-up crops, which need a discriminator of their own."""
        return any(stage.weights.close_up for stage in self.stages)

    @property
    def reads_poses(self) -> bool:
        """Whether a stage has the loss `joints`, which needs a pose reader."""
        return any(stage.weights.joints for stage in self.stages)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return dict(json.loads(json.dumps(asdict(self))))

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Recipe:
        """Reads the result of `to_json`, also of older versions. Raises UsageError for anything else."""
        try:
            plain = dict(values)
            plain["model"] = ModelConfig.from_json(plain["model"])
            stages = []
            for stage in plain["stages"]:
                values = {name: tuple(x) if isinstance(x, list) else x for name, x in stage.items()}
                if "known_flows" in values:  # its name in older recipes
                    values["ground_truth_flows"] = values.pop("known_flows")
                stages.append(Stage(**{**values, "weights": LossWeights(**values["weights"])}))
            plain["stages"] = tuple(stages)
            for name in ("content_layers", "style_layers"):
                plain[name] = tuple(plain[name])
            return cls(**plain)
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"not a training recipe: {error}") from error


def _paper_recipe(name: str, size: tuple[int, int] = (256, 256)) -> Recipe:
    """The paper's two stages with the released code's constants."""
    flow = LossWeights(correctness=20, affine=0.01)
    joint = LossWeights(l1=5, content=0.5, style=500, adversarial=2, correctness=5, affine=0.0025)
    return Recipe(
        dataset=name,
        model=preset({"market": "pose-market", "shapenet": "view-chair", "faces": "face"}.get(name, "pose-fashion")),
        stages=(
            Stage(name="flow", train="flow", steps=200_000, image_size=size, batch=8, weights=flow),
            Stage(name="joint", train="joint", steps=400_000, image_size=size, batch=8, weights=joint),
        ),
        discriminator_blocks=3 if name == "market" else 4,
    )


def _rendered(name: str, model: str, flow: LossWeights, joint: LossWeights, steps: tuple[int, int, int]) -> Recipe:
    """For rendered images: flows learnt from the renderer's ground truth, small images first, then full size."""
    small = Stage(
        name="flow",
        train="flow",
        steps=steps[0],
        image_size=(128, 128),
        batch=8,
        weights=flow,
        learning_rate=1e-3,
        final_learning_rate=1e-4,
        betas=(0.9, 0.999),
        warmup=200,
    )
    second = replace(small, name="joint", train="joint", steps=steps[1], weights=joint)
    full = replace(
        second,
        name="full-size",
        steps=steps[2],
        image_size=(256, 256),
        batch=4,
        weights=replace(joint, adversarial=0.3),
        learning_rate=2e-4,
        final_learning_rate=2e-5,
        discriminator_rate=1e-4,
    )
    return Recipe(
        dataset=name,
        model=preset(model),
        stages=(small, replace(second, learning_rate=5e-4, final_learning_rate=2e-4), full),
        initial="kaiming",
        content_layers=("relu1_1", "relu2_1", "relu3_1"),
        style_layers=("relu2_2",),
        average_decay=0.995,  # short enough to follow the last stage
    )


_FLOW = LossWeights(correspondence=1, visibility=0.3, affine=0.0025)
_JOINT = LossWeights(l1=5, content=1, correspondence=0.1, visibility=0.03, affine=0.00025, person=2)
_JOINTS = 20.0  # the loss is a few hundredths when most joints are found
_PEOPLE = _rendered(
    "people",
    "pose-people",
    replace(_FLOW, solids=1, refined=5, choice=0.2),
    replace(_JOINT, solids=0.2, refined=1, choice=0.03, share=0.05, matte=0.3),
    (16_000, 5_500, 4_400),
)
_VOLUME = {"correspondence": 0, "affine": 0, "view": 1}  # flows of a volume are learnt by its own losses
_CHAIRS = _rendered(
    "chairs",
    "view-chairs",
    replace(_FLOW, volume=0.3, rays=1, middle=3, **_VOLUME),
    replace(_JOINT, volume=0.1, rays=0.3, middle=1, share=0.05, matte=0.3, person=0.5, **_VOLUME),
    (12_000, 14_000, 3_000),
)


def _clips(plan: Recipe) -> Recipe:
    """The same recipe for clips, with a smaller batch: a clip is several images."""
    return replace(plan, stages=tuple(replace(stage, batch=2) for stage in plan.stages))


def _detailed(plan: Recipe) -> Recipe:
    """The same recipe with losses of details: ground-truth flows first, and a last stage for faces and fabric."""
    flow, joint, last = plan.stages
    joint = replace(joint, weights=replace(joint.weights, joints=_JOINTS), ground_truth_flows=0.75)
    weights = replace(last.weights, close_up=0.5, joints=_JOINTS, style=150, adversarial=1, correspondence=0.2)
    last = replace(last, weights=replace(weights, visibility=0.06), adversarial_from=400, ground_truth_flows=0.25)
    return replace(plan, stages=(flow, joint, replace(last, learning_rate=4e-4, final_learning_rate=3e-5)))


def _rendered_clips(name: str, model: str, steps: tuple[int, int, int]) -> Recipe:
    """As for rendered images. The VGG19 losses see two of six frames, which halves the time of a step."""
    joint = replace(_JOINT, person=3, correspondence=0.3, visibility=0.1, share=0.05, matte=0.3)
    plan = _clips(_rendered(name, model, _FLOW, joint, steps))
    *before, last = plan.stages
    weights = replace(last.weights, close_up=0.5)
    last = replace(last, batch=1, weights=weights, learning_rate=4e-4, ground_truth_flows=0.25)
    return replace(plan, stages=(*before, last), perceptual_frames=2, frames=12)


def _photographed(plan: Recipe) -> Recipe:
    """The recipe of rendered people for photographs, without ground truth: flows are learnt from VGG19 features."""
    flow, *joint = plan.stages
    supervised = ("correspondence", "solids", "refined", "choice", "share", "matte", "visibility", "person")
    seen = dict.fromkeys(supervised, 0) | {"correctness": 5, "affine": 0.0025}
    first = replace(flow, weights=LossWeights(correctness=20, affine=0.01))
    rest = (replace(stage, weights=replace(stage.weights, **seen), ground_truth_flows=0) for stage in joint)
    model = replace(plan.model, refines_heads=False, refines_halves=False)
    return replace(plan, dataset="photos", model=model, stages=(first, *rest))


RECIPES = {
    "fashion": _paper_recipe("fashion"),
    "market": _paper_recipe("market", (128, 64)),
    "people": replace(_detailed(_PEOPLE), perceptual_window=0.625, heads=0.5),
    "photos": _photographed(_detailed(_PEOPLE)),
    "chairs": _CHAIRS,
    "objects": replace(_CHAIRS, dataset="objects"),
    "shapenet": _paper_recipe("shapenet"),
    "faces": _clips(_paper_recipe("faces")),
    "people-faces": _rendered_clips("people-faces", "face-people", (1_500, 2_500, 1_200)),
    "bodies": _rendered_clips("bodies", "body-people", (5_000, 12_000, 1_500)),
}


def recipe(dataset: str) -> Recipe:
    """The recipe of a data set. Raises UsageError, which lists the data sets."""
    if dataset not in RECIPES:
        raise UsageError(f"unknown data set: {dataset}", hint=f"data sets: {', '.join(RECIPES)}")
    return RECIPES[dataset]


def read_recipe(file: Path, dataset: str) -> Recipe:
    """Reads a recipe file in JSON. Raises UsageError when it is not valid, or not for this data set."""
    hint = "gfla train --show prints a recipe to start from"
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}", hint=hint) from error
    except ValueError as error:
        raise UsageError(f"{file}: not JSON: {error}", hint=hint) from error
    plan = Recipe.from_json(values)
    if plan.dataset != dataset:
        raise UsageError(f"{file}: a recipe for --dataset {plan.dataset}", hint="use the same --dataset")
    return plan


def check_task(plan: Recipe, task: str) -> None:
    """Raises UsageError when the recipe is for another task; it lists the data sets for `task`."""
    if plan.model.task != task:
        known = ", ".join(name for name, one in RECIPES.items() if one.model.task == task)
        raise UsageError(f"--dataset {plan.dataset} is for the task {plan.model.task}", hint=f"for {task}: {known}")


def scaled(plan: Recipe, factor: float) -> Recipe:
    """The same recipe with `factor` times as many steps in every stage, at least one each."""
    return replace(plan, stages=tuple(replace(s, steps=max(1, round(s.steps * factor))) for s in plan.stages))


def time_shares(plan: Recipe) -> list[float]:
    """Fractions of the time budget by stage, in proportion to steps, batch and pixels; their sum is 1."""
    costs = []
    for stage in plan.stages:
        height, width = stage.image_size
        cost = stage.steps * stage.batch * height * width
        costs.append(cost * (_FLOW_COST if stage.train == "flow" else 1.0))
    return [cost / sum(costs) for cost in costs]


def for_processes(plan: Recipe, count: int) -> Recipe:
    """The same recipe for `count` processes: each computes a batch of the recipe's size in every step."""
    return replace(plan, stages=tuple(replace(s, batch=count * s.batch) for s in plan.stages))


def with_batches(plan: Recipe, saved: dict[str, Any]) -> Recipe:
    """The same recipe with the batch sizes of a saved one, in JSON form, with the same stages."""
    stages = zip(plan.stages, saved["stages"], strict=True)
    return replace(plan, stages=tuple(replace(stage, batch=before["batch"]) for stage, before in stages))


def joint_stages(plan: Recipe) -> tuple[Stage, ...]:
    """The stages that train everything, without those for the flow alone."""
    return tuple(stage for stage in plan.stages if stage.train == "joint")


def with_sampler(plan: Recipe, sampler: Sampler) -> Recipe:
    """The same recipe for another sampler, without flow stages if it uses no flow.

    Raises UsageError when the task has no such sampler.
    """
    stages = plan.stages
    model = replace(
        plan.model,
        sampler=sampler,
        view_width=0 if sampler == "pixels" else plan.model.view_width,
        pixel_blend=plan.model.pixel_blend and sampler in ("local", "bilinear"),
    )
    if sampler in ("none", "global"):
        stages = joint_stages(plan)
    if sampler == "pixels":  # appearance flow generates nothing: it has losses of pixels and flows only
        without = {"content": 0, "close_up": 0, "style": 0, "adversarial": 0}
        stages = tuple(replace(stage, weights=replace(stage.weights, **without)) for stage in stages)
    return replace(plan, model=model, stages=stages)


def without_flow_stage(plan: Recipe) -> Recipe:
    """The recipe from its first joint stage on. Raises UsageError when it has no stage for the flow alone."""
    joint = joint_stages(plan)
    if len(joint) == len(plan.stages):
        what = f"a model with the sampler {plan.model.sampler} has no flow estimator"
        raise UsageError(what, hint="leave --flow out")
    return replace(plan, stages=joint)


def fine_tuning_recipe(plan: Recipe, model: str | Path) -> Recipe:
    """The recipe from its first joint stage on, for the network of a bundle, whatever its size.

    Raises BundleError when the bundle is unknown or damaged, UsageError when its task is not that of the recipe.
    """
    config = _config_of(model, plan)
    refines_heads = config.refines_heads or (plan.heads > 0 and config.is_square)
    refines_halves = config.refines_halves or (plan.halves > 0 and config.is_square)
    config = replace(config, refines_heads=refines_heads, refines_halves=refines_halves)
    return replace(plan, model=config, stages=joint_stages(plan))


def narrowing_recipe(
    plan: Recipe, model: str | Path, bottleneck: int | None = None, attended: int | None = None
) -> Recipe:
    """One stage in which a narrower renderer learns to equal that of a bundle; its flows stay as they are.

    `bottleneck`: see `ModelConfig`; None keeps the bundle's. `attended`: how many levels keep their local attention,
    from the coarsest on; the others sample where the flow leads. None keeps all. Raises as `fine_tuning_recipe` does,
    and UsageError when the bundle is as narrow already.
    """
    config = _config_of(model, plan)
    if not config.has_flow:
        raise UsageError(f"--narrow: {model} has no flow", hint="models with the sampler local can be narrowed")
    kept = config.levels if attended is None else _attended(config, attended)
    narrow = replace(config, bottleneck=bottleneck or config.bottleneck, levels=kept)
    if not _is_narrower(narrow, config):
        has = f"it has the bottleneck {config.bottleneck}, and attention at {_count_attended(config)} of its levels"
        hint = f"{has}; take a larger --bottleneck, or a smaller --attention"
        raise UsageError(f"--narrow: {model} is as narrow already", hint=hint)
    last = joint_stages(plan)[-1]
    stage = replace(
        last,
        name="narrow",
        steps=1_000,
        weights=LossWeights(imitation=1),
        learning_rate=3e-4,
        final_learning_rate=3e-6,
        betas=(0.9, 0.99),
        warmup=20,
        ground_truth_flows=0,
        frozen=("previous_flow", "reference_flow") if config.task == "body" else ("flow_estimator",),
    )
    return replace(plan, model=narrow, stages=(stage,), average_decay=0.99)


def check_narrowing(plan: Recipe, model: str | Path | None) -> None:
    """Raises UsageError unless the recipe makes this model narrower; for None, unless it narrows no model."""
    hint = "--show with --narrow prints a recipe to start from"
    imitates = [stage.train == "joint" and stage.weights.imitation > 0 for stage in plan.stages]
    if model is None:
        if any(stage.weights.imitation for stage in plan.stages):
            raise UsageError("the recipe imitates a wider model", hint="name that model: --narrow MODEL")
    elif not all(imitates):
        raise UsageError("--narrow: the recipe has a stage that does not imitate the model", hint=hint)
    elif replace(plan.model, bottleneck=(wide := _config_of(model, plan)).bottleneck, levels=wide.levels) != wide:
        what = f"--narrow: the recipe's model differs from {model} in more than the bottleneck and the attention"
        raise UsageError(what, hint=hint)
    elif not _is_narrower(plan.model, wide):
        raise UsageError(f"the recipe's model is not narrower than {model}", hint="give it a larger bottleneck")


def _attended(config: ModelConfig, count: int) -> tuple[Level, ...]:
    """The levels of a model; all after the first `count` sample one pixel."""
    return tuple(level if i < count else replace(level, patch=1) for i, level in enumerate(config.levels))


def _count_attended(config: ModelConfig) -> int:
    return sum(level.patch > 1 for level in config.levels)


def _is_narrower(config: ModelConfig, other: ModelConfig) -> bool:
    """Whether a model does less than another one of the same width, and nothing more.

    That is: blocks of the renderer have fewer channels inside, or fewer levels have local attention.
    """
    widest = min(4 * config.width, config.max_width)
    inside, before = config.hidden(widest), other.hidden(widest)
    if inside > before or config.levels != _attended(other, _count_attended(config)):
        return False
    return inside < before or config.levels != other.levels


def _config_of(model: str | Path, plan: Recipe) -> ModelConfig:
    """The config of a bundle whose task is that of the recipe. Its weights are read later, into the network."""
    folder = find_bundle(model)
    config, _ = read_config(folder)
    if config.task != plan.model.task:
        what = f"{folder}: a model for the task {config.task}, not for {plan.model.task}"
        raise UsageError(what, hint=f"--dataset {plan.dataset} is for {plan.model.task}")
    return config
