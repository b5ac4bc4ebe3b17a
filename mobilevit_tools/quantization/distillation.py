"""Let a quantized model learn from its own float model on unlabelled photos.

The student is the traced model with rounding where the target's quantizer rounds; the teacher is the same trace
without. Both see the same photos, cropped, mirrored and brightened by chance. The student's outputs are to be the
teacher's, and so are results of a few operators on the way: errors are taken relative to each image's own values, as
the gates take them. Every step draws from a generator seeded by its number, so a continued run takes the very steps of
one that was never stopped. What is kept is a moving average of the weights: the one that was nearest whenever the run
looked. Where a look finds it farther away, the run goes back and learns more slowly.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from mobilevit_tools.analysis.watching import Watching
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.quantization.nearness import Nearness
from mobilevit_tools.quantization.sensitivity import weighted_operators

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch.fx import GraphModule, Node

    from mobilevit_tools.data.preprocessing import Preprocessing

FEATURES = 8
"""Operators on the way whose results are compared."""
FEATURE_SHARE = 0.5
LEARNING_RATE = 3e-5
WARM_UP = 10
"""Steps until the learning rate is reached."""
CHECK_EVERY = 25
"""Steps between two looks at how near the averaged weights are."""
CHECKED = 16
"""Photos of a look, as they are."""
BACK_OFF = 0.3
"""What the learning rate becomes a share of where a look found them farther away."""
AVERAGED = 0.95
SMALLEST_CROP = 0.6
BRIGHTNESS = 0.2


class Distillation:
    """A run of steps.

    Args:
        module: The rewritten float model; its parameters stay as they are.
        start: What the student was traced from, which may start from other weights; they stay as they are.
        student: The student, with parameters under the names of ``start``.
        example: An input (B, 3, H, W): the size of a batch.
        pixels: Photos (N, 3, H, W), uint8.
        preprocessing: How they are normalised.
        seed: The seed.
        device: Where to compute: ``cpu`` or ``cuda``.
        scores: Whether the output is scores of classes, of which an offset that all share means nothing.
    """

    def __init__(
        self,
        module: nn.Module,
        start: nn.Module,
        student: GraphModule,
        *,
        example: Tensor,
        pixels: NDArray[np.uint8],
        preprocessing: Preprocessing,
        seed: int,
        device: str,
        scores: bool,
    ) -> None:
        teacher = torch.export.export(module, (example,), strict=False).module(check_guards=False)
        watched = _spread([node.name for node in weighted_operators(teacher, module)], FEATURES)
        self._student = moved(student, device)
        self._teacher = moved(teacher, device)
        self._watched = frozenset(watched)
        self._pixels = pixels
        self._preprocessing = preprocessing
        self._seed = seed
        self._device = device
        self._scores = scores
        self._batch = len(example)
        own = dict(start.named_parameters())
        held = dict(self._student.named_parameters())
        # Of a norm that a quantizer folds into a convolution, the trace has other values than the module.
        self._trained = {
            name: held[name]
            for name in own
            if name in held and own[name].is_floating_point() and torch.equal(held[name].cpu(), own[name])
        }
        for parameter in self._trained.values():
            parameter.data = parameter.data.clone()  # the module's own memory otherwise
            parameter.requires_grad_(True)
        self._rate = LEARNING_RATE
        self._optimizer = self._new_optimizer()
        self._average = _copied(self._trained)
        self._best, self._best_snr_db = _copied(self._average), -math.inf
        self.steps = 0

    def step(self) -> float:
        """Take one step; return the loss before it."""
        x = self._draw()
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate * min(1.0, (self.steps + 1) / WARM_UP)
        with torch.no_grad():
            wanted, features = self._run(self._teacher, x)
        got, own = self._run(self._student, x)
        loss = self._error(got, wanted)
        if features:
            loss = (
                loss
                + FEATURE_SHARE
                * torch.stack([_relative(own[name], features[name]) for name in features if name in own]).mean()
            )
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self.steps += 1
        keep = min(AVERAGED, self.steps / (self.steps + 9))
        with torch.no_grad():
            for name, parameter in self._trained.items():
                self._average[name].lerp_(parameter, 1 - keep)
        return float(loss.detach())

    def look(self) -> None:
        """Keep the averaged weights where they are the nearest so far; else go back to those, and learn more slowly."""
        with self._holding(self._average):
            snr_db = self._near(list(self._pixels[:CHECKED])).snr_db
        if snr_db > self._best_snr_db:
            self._best, self._best_snr_db = _copied(self._average), snr_db
            return
        self._rate *= BACK_OFF
        self._set(self._best)
        self._average = _copied(self._best)
        self._optimizer = self._new_optimizer()

    def learnt(self) -> dict[str, Tensor]:
        """Return by name the averaged weights that were the nearest; before the first look, the latest."""
        return {name: value.detach().cpu().clone() for name, value in self._chosen().items()}

    def near(self, pixels: Sequence[NDArray[np.uint8]]) -> Nearness:
        """Return how near the averaged student is on photos (3, H, W)."""
        with self._holding(self._chosen()):
            return self._near(pixels)

    def state(self) -> dict[str, Tensor]:
        """Return everything that the next step depends on, beside the arguments."""
        state = {
            "steps": torch.tensor(self.steps),
            "rate": torch.tensor(self._rate, dtype=torch.float64),
            "best_snr_db": torch.tensor(self._best_snr_db, dtype=torch.float64),
        }
        for name, parameter in self._trained.items():
            state[f"weight.{name}"] = parameter.detach()
            state[f"average.{name}"] = self._average[name]
            state[f"best.{name}"] = self._best[name]
            for key, value in self._optimizer.state.get(parameter, {}).items():
                state[f"{key}.{name}"] = value
        return {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}

    def resume(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`state` returned."""
        self.steps = int(state["steps"])
        self._rate, self._best_snr_db = float(state["rate"]), float(state["best_snr_db"])
        with torch.no_grad():
            for name, parameter in self._trained.items():
                parameter.copy_(state[f"weight.{name}"])
                self._average[name].copy_(state[f"average.{name}"])
                self._best[name].copy_(state[f"best.{name}"])
        moments = {
            index: {key: state[f"{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
            for index, name in enumerate(self._trained)
            if f"step.{name}" in state  # none right after a step back
        }
        if moments:
            groups = self._optimizer.state_dict()["param_groups"]
            self._optimizer.load_state_dict({"state": moments, "param_groups": groups})

    def _chosen(self) -> Mapping[str, Tensor]:
        return self._best if self.steps >= CHECK_EVERY else self._average

    def _new_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self._trained.values(), lr=self._rate)

    @contextmanager
    def _holding(self, values: Mapping[str, Tensor]) -> Iterator[None]:
        """Compute with other weights in the context."""
        latest = _copied(self._trained)
        self._set(values)
        try:
            yield
        finally:
            self._set(latest)

    def _set(self, values: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self._trained.items():
                parameter.copy_(values[name])

    def _draw(self) -> Tensor:
        """Return the photos of the next step, (B, 3, H, W), changed by chance and normalised."""
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self.steps)
        count, batch = len(self._pixels), self._batch
        chosen = torch.randint(count, (batch,), generator=generator) if count < batch else None
        if chosen is None:
            order = torch.Generator().manual_seed(self._seed * 7919 + self.steps * batch // count)
            start = self.steps * batch % count
            chosen = torch.randperm(count, generator=order).roll(-start)[:batch]
        scale, offset = map(torch.from_numpy, self._preprocessing.scale_and_offset())
        images = [_changed(torch.from_numpy(self._pixels[int(each)]).float(), generator) for each in chosen]
        pixels = torch.stack(images).clamp(0, 255)
        return (pixels * scale.view(-1, 1, 1) + offset.view(-1, 1, 1)).to(self._device)

    def _run(self, graph: GraphModule, x: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
        features: dict[str, Tensor] = {}

        def see(node: Node, _arguments: tuple[Any, ...], value: Any) -> None:
            features[node.name] = value

        outputs = Watching(graph, lambda node: node.name in self._watched, see).run(x)
        return [each for each in pytree.tree_leaves(outputs) if isinstance(each, Tensor)], features

    def _error(self, got: Iterable[Tensor], wanted: Iterable[Tensor]) -> Tensor:
        errors = [
            _relative(self._plain(own), self._plain(other))
            for own, other in zip(got, wanted, strict=True)
            if other.is_floating_point()
        ]
        return torch.stack(errors).mean()

    def _plain(self, output: Tensor) -> Tensor:
        return output - output.mean(dim=-1, keepdim=True) if self._scores and output.dim() == 2 else output

    @torch.no_grad()
    def _near(self, pixels: Sequence[NDArray[np.uint8]]) -> Nearness:
        import numpy as np

        noise, signal, same = [], [], []
        for start in range(0, len(pixels), self._batch):
            chosen = [pixels[(start + each) % len(pixels)] for each in range(self._batch)]
            x = torch.from_numpy(self._preprocessing.normalize(np.stack(chosen))).to(self._device)
            (own, *_), _ = self._run(self._student, x)
            (other, *_), _ = self._run(self._teacher, x)
            new = min(self._batch, len(pixels) - start)
            own, other = self._plain(own)[:new].flatten(1).double(), self._plain(other)[:new].flatten(1).double()
            noise.append((own - other).square().sum(dim=1))
            signal.append(other.square().sum(dim=1))
            same.append(own.argmax(dim=1) == other.argmax(dim=1))
        lost, whole = torch.cat(noise), torch.cat(signal)
        return Nearness(
            _decibels(whole.sum(), lost.sum()),
            min(_decibels(*each) for each in zip(whole, lost, strict=True)),
            float(torch.cat(same).double().mean()) if self._scores else None,
            len(pixels),
        )


def run(
    distillation: Distillation,
    *,
    steps: int,
    seconds: float,
    tick: Callable[[float], None],
    save: Callable[[Mapping[str, Tensor]], None],
    every: float,
) -> None:
    """Take steps until there are ``steps`` of them or the time is over.

    Args:
        distillation: What to run.
        steps: How many steps the whole run has.
        seconds: How long this call may take.
        tick: Told after each step which share of the run is over, from 0 to 1.
        save: Keeps a state; called every so often, and when the run is interrupted.
        every: Seconds between two states.

    Raises:
        BadInputError: An output is not finite.
    """
    started = saved = time.monotonic()
    if not distillation.steps:
        distillation.look()
    try:
        while distillation.steps < steps:
            loss = distillation.step()
            if math.isnan(loss):
                raise BadInputError(
                    "The quantized model's outputs are not finite on these photos, so it cannot learn from them.",
                    code="infinite_activation",
                )
            if distillation.steps % CHECK_EVERY == 0:
                distillation.look()
            now = time.monotonic()
            tick(max(distillation.steps / steps, (now - started) / seconds))
            if now - started >= seconds:
                return
            if now - saved >= every:
                save(distillation.state())
                saved = now
    except KeyboardInterrupt:
        save(distillation.state())
        raise


def _copied(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in values.items()}


def moved(graph: GraphModule, device: str) -> GraphModule:
    """Return a traced graph that computes on a device, with the tensors that it creates there."""
    for node in graph.graph.nodes:
        if "device" in node.kwargs:
            node.update_kwarg("device", torch.device(device))
    graph.recompile()
    on_device: GraphModule = graph.to(device)
    return on_device


def _changed(image: Tensor, generator: torch.Generator) -> Tensor:
    """Return an image (3, H, W) cropped, mirrored and brightened by chance, of the same size."""
    _, height, width = image.shape
    crop, top, left, mirrored, bright = torch.rand(5, generator=generator).tolist()
    share = (SMALLEST_CROP + (1 - SMALLEST_CROP) * crop) ** 0.5
    tall, wide = max(1, round(height * share)), max(1, round(width * share))
    y, x = round((height - tall) * top), round((width - wide) * left)
    part = image[:, y : y + tall, x : x + wide]
    part = part.flip(-1) if mirrored < 0.5 else part
    resized = F.interpolate(part[None], (height, width), mode="bilinear", antialias=True)[0]
    changed: Tensor = resized * (1 + BRIGHTNESS * (2 * bright - 1))
    return changed


def _relative(got: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean over images of the square error over the square of what is wanted."""
    lost = (got - wanted).square().flatten(1).sum(dim=1)
    return (lost / wanted.square().flatten(1).sum(dim=1).clamp_min(torch.finfo(lost.dtype).tiny)).mean()


def _decibels(signal: Tensor, noise: Tensor) -> float:
    return float(10 * torch.log10(signal / noise.clamp_min(torch.finfo(noise.dtype).tiny)))


def _spread(names: Sequence[str], count: int) -> list[str]:
    return [names[index * len(names) // count] for index in range(min(count, len(names)))] if names else []
