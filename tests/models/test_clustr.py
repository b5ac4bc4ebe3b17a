"""ClusTR's clustering, against a slow reading of its definition, and its steadiness under rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mobilevit_tools.models.clustr import (
    Block,
    Clustering,
    ClusterTrace,
    ClusTR,
    earlier,
    merge,
    precedes,
    squared_distances,
)
from mobilevit_tools.models.factory import create_model


def slow_clusters(x: np.ndarray, count: int) -> tuple[list[int], np.ndarray]:
    """Cluster tokens (N, C): centres from the best, and the centre of every token."""
    tokens, channels = x.shape
    distance = np.sqrt(((x[:, None] - x[None]) ** 2).sum(-1) / channels)
    density = np.exp(-(np.sort(distance, axis=1)[:, :5] ** 2).mean(axis=1))
    score = np.empty(tokens)
    for i in range(tokens):
        higher = [j for j in range(tokens) if (density[j], -j) > (density[i], -i)]
        parent = min((distance[i, j] for j in higher), default=distance.max())
        score[i] = parent * density[i]
    centres = sorted(range(tokens), key=lambda i: (-score[i], i))[:count]
    joined = np.array([i if i in centres else min(centres, key=lambda c: distance[i, c]) for i in range(tokens)])
    return centres, joined


@pytest.mark.parametrize(("tokens", "count", "kinds"), [(36, 9, 36), (40, 1, 40), (60, 24, 60), (4, 1, 4), (60, 24, 5)])
def test_clusters_are_those_of_the_definition(tokens: int, count: int, kinds: int) -> None:
    generator = torch.Generator().manual_seed(tokens)
    x = torch.randn(3, tokens, 8, generator=generator, dtype=torch.float64)[:, torch.arange(tokens) % kinds]
    ((centres, joined),) = Clustering()(x, [count])
    for image in range(3):
        expected_centres, expected = slow_clusters(x[image].numpy(), count)
        assert centres[image].tolist() == expected_centres
        assert centres[image][joined[image, 0]].tolist() == expected.tolist()


def test_a_cluster_is_merged_to_the_weighted_mean_of_its_tokens() -> None:
    x, weight = torch.randn(1, 5, 3), torch.rand(1, 5, 1) + 0.1
    joined = torch.tensor([[[0, 1, 0, 2, 1]]])
    merged = merge(x, weight, Clustering().members(joined, 3, x))
    for cluster, members in enumerate(([0, 2], [1, 4], [3])):
        w, y = weight[0, members], x[0, members]
        torch.testing.assert_close(merged[0, cluster], (w * y).sum(0) / (w.sum() + 1e-6))


def test_of_equal_values_the_lower_index_comes_first() -> None:
    order = precedes(torch.tensor([[1.0, 2.0, 1.0, 2.0]]), earlier(4, torch.device("cpu")))[0].sum(dim=-1)
    assert order.tolist() == [2, 0, 3, 1]


def test_distances_are_exact_near_zero() -> None:
    x = torch.randn(1, 20, 16) + 100  # a common offset, which a plain product would round away
    expected = torch.cdist(x.double(), x.double()) ** 2 / 16
    torch.testing.assert_close(squared_distances(x).double(), expected, rtol=1e-4, atol=1e-5)
    assert squared_distances(x).diagonal(dim1=1, dim2=2).abs().max() <= 1e-6


def test_a_centre_joins_itself_even_where_another_is_equal_to_it() -> None:
    x = torch.tensor([[[0.0, 0.0], [0.0, 0.0], [1.0, 3.0], [1.0, 3.0], [0.0, 0.1]]])
    ((centres, joined),) = Clustering()(x, [4])
    members = dict(enumerate(centres[0][joined[0, 0]].tolist()))
    assert all(members[centre] == centre for centre in centres[0].tolist())


def test_tokens_join_their_nearest_centre_ten_thousand_times_out_of_ten_thousand() -> None:
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(25, 400, 32, generator=generator)
    ((centres, joined),) = Clustering()(x, [49])
    exact = torch.cdist(x.double(), x.double().gather(1, centres.unsqueeze(-1).expand(-1, -1, 32)))
    nearest = exact.argmin(dim=-1)
    nearest.scatter_(1, centres, torch.arange(49).expand(25, -1))  # a centre joins itself
    assert nearest.numel() == 10_000
    assert torch.equal(joined[:, 0], nearest)


def test_centres_that_are_nearly_as_near_are_told_apart() -> None:
    # Between two centres, a little nearer to the later one: by less than the distances of tokens are apart, by more
    # than rounding.
    x = torch.zeros(1, 41, 4)
    x[0, :20, 0], x[0, 20:40, 0] = 1.0, -1.0
    x[0, :40, 1:] = 1e-3 * torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    x[0, 40, 0] = 1e-6
    ((centres, joined),) = Clustering()(x, [2])
    first, second = sorted(centres[0].tolist())
    assert (first < 20, 20 <= second < 40) == (True, True)
    for sign, near in ((1, first), (-1, second)):
        x[0, 40, 0] = sign * 1e-6
        ((centres, joined),) = Clustering()(x, [2])
        assert int(centres[0][joined[0, 0, 40]]) == near


def noisy(x: Tensor, seed: int) -> Tensor:
    return x * (1 + 1e-7 * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)))


def test_rounding_does_not_choose_between_equal_tokens() -> None:
    # An even area: three quarters of the tokens are the same one, and there are more centres than kinds of tokens.
    generator = torch.Generator().manual_seed(0)
    kinds = torch.randn(1, 8, 32, generator=generator)
    which = torch.cat([torch.zeros(104, dtype=torch.long), torch.arange(8).repeat(5)])
    x = kinds[:, which[torch.randperm(144, generator=generator)]]
    reference = [tensor for pair in Clustering()(x, [9, 36]) for tensor in pair]
    for seed in range(20):
        again = [tensor for pair in Clustering()(noisy(x, seed), [9, 36]) for tensor in pair]
        assert ClusterTrace.count_changed([x, *reference], [x, *again]) == 0


def test_rounding_does_not_choose_between_nearly_equal_tokens() -> None:
    # Two even halves: towards their edges, tokens differ by anything from rounding to a lot.
    model = create_model("clustr_t", random_weights=True, img_size=64)
    generator = torch.Generator()
    scale = 0.0
    for block in (part for part in model.modules() if isinstance(part, Block)):
        block.norm1.register_forward_hook(
            lambda _, __, x: x + scale * torch.randn(x.shape, generator=generator.manual_seed(x.shape[1]))
        )
    x = torch.zeros(1, 3, 64, 64)
    x[:, :, 32:] = 1.5
    with torch.no_grad():
        reference = model(x)
        scale = 4e-7
        noisy = model(x)
    difference = (noisy - reference).abs().max() / reference.abs().max()
    assert 0 < difference <= 1e-4


@pytest.mark.parametrize("value", [-2.1, 0.0, 2.6])
def test_logits_of_a_plain_image_are_steady(value: float) -> None:
    model = create_model("clustr_t", random_weights=True, img_size=96)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3)
        x = torch.full((1, 3, 96, 96), value)
        reference = model(x)
        other = model(x.to(memory_format=torch.channels_last) * (1 + 2e-7))
    assert (reference - other).abs().max() <= 1e-4 * reference.abs().max()


def test_a_trace_tells_the_clusters_of_every_clustering() -> None:
    model = create_model("clustr_t", random_weights=True, img_size=96)
    x = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    logits, *found = ClusterTrace(model)(x)
    assert torch.equal(logits, model(x))
    # Stages 1 and 2 cluster twice a block, stage 3 once: its finer scale has a cluster for every token.
    shapes = [(tuple(c.shape), tuple(j.shape)) for c, j in zip(found[::2], found[1::2], strict=True)]
    assert shapes == [
        *[((1, n), (1, 1, 576)) for n in (9, 36)],
        *[((1, n), (1, 1, 144)) for _ in range(2) for n in (9, 36)],
        *[((1, 9), (1, 1, 36)) for _ in range(6)],
    ]
    other = [tensor.clone() for tensor in (logits, *found)]
    other[2][0, 0, :3] = (other[2][0, 0, :3] + 1) % 9
    changed = ClusterTrace.count_changed([logits, *found], other)
    assert changed == 3


def test_the_graph_draws_no_random_numbers_and_scatters_nothing() -> None:
    model = ClusTR((8, 8, 8, 8), (1, 1, 1, 1), (1, 1, 1, 1)).eval()
    graph = torch.export.export(model, (torch.randn(1, 3, 64, 64),), strict=False).graph
    names = {str(node.target) for node in graph.nodes if node.op == "call_function"}
    assert not [name for name in names if any(word in name for word in ("rand", "scatter", "nonzero", "index_put"))]
