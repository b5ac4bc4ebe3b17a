"""Train a small segmenter on drawn pictures: the bundled backbone, frozen, with a head that tells five shapes apart.

    python -m tools.drawn_segmenter shapes/

draws photos and masks to train on and to measure on, trains for some two minutes on one core, and writes a checkpoint
in half precision, the classes' names, and a card. Equal seeds give equal pictures and, on one machine, equal weights.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Iterator
from colorsys import hsv_to_rgb
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle threads must not spin on shared cores

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

import mobilevit_tools as mvt
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.models.factory import load_model
from mobilevit_tools.writing import check_destination
from tools.bundle_weights import halve

LABELS = ("background", "disc", "square", "triangle", "star", "ring")
BACKBONE = "care_s0.imagenette"
SIZE = 96
FINER = 4
"""Shapes are drawn so many times as large and then reduced, which makes smooth edges."""
COMMAND = (
    "mvt export care_s0 -o head=semantic_fpn --checkpoint {folder}/segmenter.safetensors --labels {folder}/labels.txt "
    f"--input-size {SIZE} --images {{folder}}/val/photos --target onnx --upsample --class-map"
)
CARD = f"""# A segmenter of drawn shapes

CARE-S0 with the head of Panoptic FPN, {SIZE}x{SIZE}, classes: {", ".join(LABELS)}.

It is a demonstration. The backbone is mvt's `{BACKBONE}`, frozen; the head was trained by `tools/drawn_segmenter.py` on
{{train}} pictures that the same file drew (seed {{seed}}, {{epochs}} epochs, {{seconds:.0f}} s). It finds such
shapes in such pictures and has seen no photo with a mask.

mIoU on {{val}} other pictures, PyTorch, float32: {{miou:.2%}}.

License: Apache-2.0, as the backbone's weights.

    {{command}}
"""


def picture(rng: np.random.Generator) -> tuple[Image.Image, Image.Image]:
    """Draw a picture (RGB) and its mask (palette indices are classes): one to four shapes on a clutter of lines."""
    side = SIZE * FINER
    canvas = _background(rng).resize((side, side), Image.Resampling.BICUBIC)
    mask = Image.new("L", (side, side), 0)
    on_canvas, on_mask = ImageDraw.Draw(canvas), ImageDraw.Draw(mask)
    for _ in range(rng.integers(3, 9)):
        ends = [tuple(rng.uniform(0, side, 2)) for _ in range(2)]
        on_canvas.line(ends, fill=_color(rng, 0), width=int(rng.integers(1, 4)) * FINER)
    for _ in range(rng.integers(1, 5)):
        kind = int(rng.integers(1, len(LABELS)))
        radius = rng.uniform(0.09, 0.24) * side
        x, y = rng.uniform(radius / 2, side - radius / 2, 2)
        turn, color = rng.uniform(0, 2 * math.pi), _color(rng, kind)
        for each, fill in ((on_canvas, color), (on_mask, kind)):
            _shape(each, LABELS[kind], (x, y), radius, turn, fill=fill)
    small = canvas.resize((SIZE, SIZE), Image.Resampling.BOX)
    noise = rng.normal(0, rng.uniform(0, 12), (SIZE, SIZE, 3))
    noisy = np.clip(np.asarray(small, np.float64) + noise, 0, 255).astype(np.uint8)
    # The middle of each pixel says what it is.
    classes = np.asarray(mask)[FINER // 2 :: FINER, FINER // 2 :: FINER]
    return Image.fromarray(noisy), Image.fromarray(np.ascontiguousarray(classes))


def _background(rng: np.random.Generator) -> Image.Image:
    places = int(rng.integers(2, 7)), int(rng.integers(2, 7))
    coarse = (rng.integers(0, 190, (*places, 1)) + rng.integers(0, 60, (*places, 3))).astype(np.uint8)
    smooth = Image.fromarray(coarse).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return smooth.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 4))))


def _color(rng: np.random.Generator, kind: int) -> tuple[int, ...]:
    """Return a colour: shapes are bright and each kind has hues of its own, everything else is dull."""
    if kind == 0:
        return tuple(int(each) for each in rng.integers(0, 110) + rng.integers(0, 60, 3))
    hue = ((kind - 1) / (len(LABELS) - 1) + rng.uniform(-0.05, 0.05)) % 1
    return tuple(int(255 * each) for each in hsv_to_rgb(hue, rng.uniform(0.7, 1), rng.uniform(0.6, 1)))


def _shape(
    canvas: ImageDraw.ImageDraw,
    name: str,
    middle: tuple[float, float],
    radius: float,
    turn: float,
    *,
    fill: int | tuple[int, ...],
) -> None:
    """Draw a shape of a class around a place; through a ring one sees what is behind it."""
    x, y = middle
    if name in ("disc", "ring"):
        box = (x - radius, y - radius, x + radius, y + radius)
        if name == "disc":
            canvas.ellipse(box, fill=fill)
        else:
            canvas.ellipse(box, outline=fill, width=int(radius * 0.4))
        return
    corners = {"square": 4, "triangle": 3, "star": 10}[name]
    radii = [radius * (0.42 if name == "star" and index % 2 else 1.0) for index in range(corners)]
    angles = [turn + 2 * math.pi * index / corners for index in range(corners)]
    canvas.polygon([(x + r * math.cos(a), y + r * math.sin(a)) for r, a in zip(radii, angles, strict=True)], fill=fill)


def draw(folder: Path, count: int, seed: int) -> None:
    """Write pictures to ``folder/photos`` and their masks to ``folder/masks``."""
    rng = np.random.default_rng(seed)
    for name in ("photos", "masks"):
        folder.joinpath(name).mkdir(parents=True)
    for index in range(count):
        drawn, mask = picture(rng)
        drawn.save(folder / "photos" / f"{index:05d}.png")
        mask.save(folder / "masks" / f"{index:05d}.png")


def read(folder: Path, recipe: Preprocessing) -> tuple[Tensor, Tensor]:
    """Return all pictures as the model takes them (N, 3, H, W), and their classes (N, H, W)."""
    photos, masks = [], []
    for path in sorted(folder.joinpath("photos").iterdir()):
        photos.append(recipe.normalize(recipe.pixels(Image.open(path).convert("RGB"))))
        masks.append(np.asarray(Image.open(folder / "masks" / path.name)))
    return torch.from_numpy(np.stack(photos)), torch.from_numpy(np.stack(masks)).long()


def features(backbone: nn.Module, photos: Tensor) -> list[Tensor]:
    """Return the frozen backbone's maps of all photos, in half precision to save memory."""
    with torch.no_grad():
        parts = [backbone(part) for part in photos.split(32)]
    return [torch.cat(level).half() for level in zip(*parts, strict=True)]


def scores(model: nn.Module, maps: list[Tensor]) -> Tensor:
    """Return scores (B, classes, SIZE, SIZE) of a backbone's maps."""
    raw = model.get_submodule("decode_head")(model.get_submodule("neck")([each.float() for each in maps]))
    return F.interpolate(raw, size=(SIZE, SIZE), mode="bilinear", align_corners=False)


def train(model: nn.Module, maps: list[Tensor], masks: Tensor, *, epochs: int, batch: int, seed: int) -> None:
    """Train everything but the backbone."""
    generator = torch.Generator().manual_seed(seed)
    learned = [each for name, each in model.named_parameters() if not name.startswith("backbone.")]
    for each in learned:
        each.requires_grad_(True)
    steps = epochs * (len(masks) // batch)
    optimizer = torch.optim.AdamW(learned, lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.15)
    model.get_submodule("neck").train()
    model.get_submodule("decode_head").train()
    for epoch in range(epochs):
        total = 0.0
        for chosen in _batches(len(masks), batch, generator):
            with torch.autocast("cpu", torch.bfloat16):
                found = scores(model, [each[chosen] for each in maps])
            loss = F.cross_entropy(found.float(), masks[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        mean = total / (len(masks) // batch)
        print(f"epoch {epoch + 1} of {epochs}: loss {mean:.4f}", file=sys.stderr, flush=True)  # noqa: T201
    model.eval()


def _batches(count: int, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    order = torch.randperm(count, generator=generator)
    yield from order[: count // batch * batch].split(batch)


def mean_iou(model: nn.Module, maps: list[Tensor], masks: Tensor) -> float:
    """Return the mean over classes of intersection over union, all pixels together."""
    found = []
    with torch.no_grad():
        for start in range(0, len(masks), 32):
            found.append(scores(model, [each[start : start + 32] for each in maps]).argmax(1))
    pairs = masks.flatten() * len(LABELS) + torch.cat(found).flatten()
    confusion = torch.bincount(pairs, minlength=len(LABELS) ** 2).reshape(len(LABELS), len(LABELS)).double()
    both = confusion.diagonal()
    return float((both / (confusion.sum(0) + confusion.sum(1) - both)).mean())


def untrained(seed: int) -> tuple[nn.Module, Preprocessing]:
    """Return the segmenter with the bundled backbone and an untrained head, and how photos become its input."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        loaded = load_model(
            "care_s0",
            random_weights=True,
            num_classes=len(LABELS),
            input_size=(SIZE, SIZE),
            options={"head": "semantic_fpn"},
        )
    trained = mvt.create_model(BACKBONE).state_dict()
    backbone = loaded.module.get_submodule("backbone")
    backbone.load_state_dict({name: trained[name] for name in backbone.state_dict()})
    return loaded.module.to(memory_format=torch.channels_last), loaded.preprocessing


def make(folder: Path, *, pictures: int, held_out: int, epochs: int, batch: int, seed: int) -> float:
    """Draw, train and write everything to ``folder``, which does not exist yet; return the mIoU on held-out pictures.

    Raises:
        UsageError: The folder exists.
    """
    check_destination(folder, overwrite=False)
    draw(folder / "train", pictures, seed)
    draw(folder / "val", held_out, seed + 1)
    model, recipe = untrained(seed)
    started = time.process_time()
    photos, masks = read(folder / "train", recipe)
    train(model, features(model.get_submodule("backbone"), photos), masks, epochs=epochs, batch=batch, seed=seed)
    seconds = time.process_time() - started
    state = {name: halve(name, each.contiguous()) for name, each in sorted(model.state_dict().items())}
    save_file(state, folder / "segmenter.safetensors")
    model.load_state_dict({name: each.float() for name, each in state.items()})  # what is measured is what is written
    photos, masks = read(folder / "val", recipe)
    measured = mean_iou(model, features(model.get_submodule("backbone"), photos), masks)
    folder.joinpath("labels.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    folder.joinpath("README.md").write_text(
        CARD.format(
            train=pictures,
            val=held_out,
            seed=seed,
            epochs=epochs,
            seconds=seconds,
            miou=measured,
            command=COMMAND.format(folder=folder),
        ),
        encoding="utf-8",
    )
    return measured


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what to write everything to; it must not exist")
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--held-out", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    torch.set_num_threads(1)  # the same sums in the same order
    torch.use_deterministic_algorithms(mode=True)
    arguments = parser.parse_args()
    measured = make(**vars(arguments))
    print(f"mIoU {measured:.2%} on {arguments.held_out} pictures\n{COMMAND.format(folder=arguments.folder)}")  # noqa: T201


if __name__ == "__main__":
    main()
