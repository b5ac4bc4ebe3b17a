"""Boxes: non-maximum suppression, and patches cut out of images."""

from __future__ import annotations

import torch
from torch import Tensor

from mobilevit_tools.errors import BadInputError

from .image import sample_points
from .registry import bounded, operator


def overlaps(box: Tensor, boxes: Tensor) -> Tensor:
    """Intersection over union of one box and each of (boxes, 4): centre x, centre y, width, height."""
    (low, high), (lows, highs) = (
        (each[..., :2] - each[..., 2:] / 2, each[..., :2] + each[..., 2:] / 2) for each in (box, boxes)
    )
    shared = (torch.minimum(high, highs) - torch.maximum(low, lows)).clamp(min=0).prod(-1)
    return shared / (box[2:].prod() + boxes[:, 2:].prod(-1) - shared)


def suppress(
    boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float | None, *, per_class: bool
) -> Tensor:
    """Indices of the boxes that survive, best first.

    Args:
        boxes: (boxes, 4), centre and size.
        scores: (boxes, classes).
        iou_threshold: A box goes where it overlaps a better one by more than this.
        score_threshold: Boxes whose best score lies below are not considered.
        per_class: Whether only boxes of the same best class suppress each other.
    """
    best, classes = scores.max(-1)
    order = best.argsort(descending=True, stable=True)
    if score_threshold is not None:
        order = order[best[order] > score_threshold]
    kept: list[Tensor] = []
    while len(order):
        index, order = order[0], order[1:]
        kept.append(index)
        rivals = overlaps(boxes[index], boxes[order]) > iou_threshold
        if per_class:
            rivals &= classes[order] == classes[index]
        order = order[~rivals]
    return torch.stack(kept) if kept else torch.zeros(0, dtype=torch.long)


@operator("non_maximum_suppression")
def _non_maximum_suppression(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    max_boxes: int,
    *,
    score_threshold: float | None = None,
    per_class_suppression: bool = False,
) -> tuple[Tensor, ...]:
    """Boxes are rows up to iOS 16, which names a score threshold and counts survivors; columns from iOS 17 on.

    Where no score reaches the threshold, the best box survives nevertheless, as coremltools' model of Core ML has it.
    """
    by_row = score_threshold is not None
    if not by_row:
        boxes, scores = boxes.mT, scores.mT
    bounded(len(boxes), max_boxes, scores.shape[-1])
    chosen_boxes = torch.zeros(len(boxes), max_boxes, 4)
    chosen_scores = torch.zeros(len(boxes), max_boxes, scores.shape[-1])
    indices = torch.full((len(boxes), max_boxes), -1)
    counts = torch.zeros(len(boxes), dtype=torch.long)
    for i, (image_boxes, image_scores) in enumerate(zip(boxes, scores, strict=True)):
        kept = suppress(image_boxes, image_scores, iou_threshold, score_threshold, per_class=per_class_suppression)
        kept = kept[:max_boxes] if len(kept) else image_scores.amax(-1).argmax()[None]
        counts[i] = count = len(kept)
        chosen_boxes[i, :count], chosen_scores[i, :count] = image_boxes[kept], image_scores[kept]
        indices[i, :count] = kept
    if by_row:
        return chosen_boxes, chosen_scores, indices, counts
    return chosen_boxes.mT, chosen_scores.mT, indices


@operator("surviving_boxes")
def _surviving_boxes(
    confidence: Tensor, coordinates: Tensor, iou_threshold: float, confidence_threshold: float, per_class: bool
) -> tuple[Tensor, Tensor]:
    """The model kind for non-maximum suppression: (boxes, classes) and (boxes, 4) in, those that survive out."""
    scores, boxes = confidence.reshape(-1, confidence.shape[-1]), coordinates.reshape(-1, 4)
    kept = suppress(boxes, scores, iou_threshold, confidence_threshold, per_class=per_class)
    return scores[kept], boxes[kept]


def _corners(boxes: Tensor, mode: str) -> Tensor:
    """(boxes, 4) as start row, start column, end row, end column."""
    if mode.endswith("WIDTH_FIRST"):
        boxes = boxes[:, [1, 0, 3, 2]]
    if mode.startswith("CENTER_SIZE"):
        return torch.cat((boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2), 1)
    if not mode.startswith("CORNERS"):
        raise BadInputError(f"A crop_resize operator has the unknown box_coordinate_mode {mode!r}.")
    return boxes


def _points(start: float, end: float, size: int, target: int, mode: str) -> Tensor:
    """Where ``target`` samples of a box lie in an image of ``size``.

    A box that is turned over is read backwards, but ``UNALIGN_CORNERS`` takes the whole image then, as coremltools'
    tests of Core ML expect.
    """
    if end < start and mode == "UNALIGN_CORNERS":
        return sample_points(size, target, mode)
    return sample_points(end - start + 1, target, mode) + start


def _patch(image: Tensor, rows: Tensor, columns: Tensor, outside: float) -> Tensor:
    """Bilinear samples of (channels, height, width) at the crossings of rows and columns; ``outside`` of it a value."""
    for axis, points in ((-2, rows), (-1, columns)):
        last = image.shape[axis] - 1
        shape = [-1 if axis == -2 else 1, 1 if axis == -2 else -1]
        inside = ((points >= 0) & (points <= last)).reshape(shape)
        near = points.clamp(0, last)
        low = near.floor().long()
        share = (near - low).float().reshape(shape)
        first, second = image.index_select(axis, low), image.index_select(axis, (low + 1).clamp(max=last))
        image = torch.where(inside, torch.lerp(first, second, share), outside)
    return image


@operator("crop_resize")
def _crop_resize(
    x: Tensor,
    roi: Tensor | None = None,
    boxes: Tensor | None = None,
    box_indices: Tensor | None = None,
    *,
    target_height: int = 1,
    target_width: int = 1,
    normalized_coordinates: bool = False,
    spatial_scale: float = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
    pad_value: float = 0.0,
) -> Tensor:
    """Patches of images: one for each box; up to iOS 16 one for each box and image where ``roi`` names no image."""
    if roi is not None:
        found = roi.reshape(len(roi), -1)
        owners = found[:, 0].long()[:, None] if found.shape[1] == 5 else torch.arange(len(x)).expand(len(roi), -1)
        corners = found[:, -4:]
    elif boxes is not None:
        corners = boxes.float()
        owners = (torch.arange(len(boxes)) if box_indices is None else box_indices.long())[:, None]
    else:
        raise BadInputError("A crop_resize operator has no boxes.")
    corners = _corners(corners, box_coordinate_mode).double() * spatial_scale
    if normalized_coordinates:
        corners = corners * (torch.tensor(x.shape[-2:]) - 1).repeat(2)
    bounded(*owners.shape, x.shape[1], target_height, target_width)
    patches = []
    for images, (top, left, bottom, right) in zip(owners.tolist(), corners.tolist(), strict=True):
        rows = _points(top, bottom, x.shape[-2], target_height, sampling_mode)
        columns = _points(left, right, x.shape[-1], target_width, sampling_mode)
        patches.append(torch.stack([_patch(x[image], rows, columns, pad_value) for image in images]))
    stacked = torch.stack(patches)
    return stacked if roi is not None else stacked[:, 0]
