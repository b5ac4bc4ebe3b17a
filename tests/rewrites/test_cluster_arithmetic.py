from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mobilevit_tools.models.clustr import Clustering, ClusTR
from mobilevit_tools.rewrites.cluster_arithmetic import ArithmeticClustering
from tests.rewrites.seeded import assert_same, image, seeded


def tokens(count: int, *, kinds: int, dtype: torch.dtype) -> Tensor:
    """Return tokens (2, count, 16) of at most so many kinds."""
    generator = torch.Generator().manual_seed(count)
    pool = torch.randn(2, kinds, 16, generator=generator, dtype=torch.float64)
    which = torch.randint(kinds, (count,), generator=generator)
    return pool[:, which].to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kinds", [1, 7, 400])  # a plain image; many ties; hardly any
def test_the_decisions_are_those_of_the_comparisons(dtype: torch.dtype, kinds: int) -> None:
    x = tokens(400, kinds=kinds, dtype=dtype)
    expected = Clustering()(x, [25, 100])
    found = ArithmeticClustering()(x, [25, 100])
    for (centres, joined), (own_centres, own_joined) in zip(expected, found, strict=True):
        assert torch.equal(own_centres, centres)
        assert torch.equal(own_joined, joined.to(dtype))
        members = Clustering().members(joined, centres.shape[1], x)
        assert torch.equal(ArithmeticClustering().members(own_joined, centres.shape[1], x), members)


@pytest.mark.parametrize("gap", [1e-7, 1e-4])
def test_densities_that_differ_by_rounding_are_told_apart(gap: float) -> None:
    density = torch.tensor([[0.02, 0.02 + gap * 0.02, 0.02]])
    distances = torch.tensor([[[0.0, 3.0, 2.0], [3.0, 0.0, 5.0], [2.0, 5.0, 0.0]]])
    for clustering in (Clustering(), ArithmeticClustering()):
        # The second is the densest; of the other two, equal ones, the first comes first.
        assert clustering.parents(density, distances).tolist() == [[3.0, 5.0, 2.0]]


def test_clustr() -> None:
    model = seeded(ClusTR((8, 8, 8, 8), (1, 1, 1, 1), (1, 1, 1, 1), num_classes=5))
    assert_same(model, ["cluster_arithmetic"], image(), places=3)


@pytest.mark.parametrize("kind", [Clustering, ArithmeticClustering])
def test_the_nearest_is_the_nearest_however_little_it_is_nearer(kind: type[Clustering]) -> None:
    to_centre = torch.tensor([[[1.0 + 1e-6, 1.0 + 1e-5, -1.0], [1.0, 1.0, 0.0], [1.0, 0.5, 1e-7]]])
    assert kind().nearest(to_centre).tolist() == [[[1, 2, 0]]]


@pytest.mark.parametrize("kind", [Clustering, ArithmeticClustering])
def test_of_centres_that_are_one_point_the_first_is_joined_whatever_rounding_says(kind: type[Clustering]) -> None:
    # Tokens 0, 1 and 3 are one point up to rounding, of which 1 and 3 are centres beside 2; token 0 seems nearer to 3.
    distances = torch.tensor(
        [[[0.0, 2e-7, 4.0, 1e-7], [2e-7, 0.0, 4.0, 3e-7], [4.0, 4.0, 0.0, 4.0], [1e-7, 3e-7, 4.0, 0.0]]]
    )
    to_centre = kind().distances_to(torch.tensor([[2, 1, 3]]), distances)
    assert kind().nearest(to_centre).tolist() == [[[1, 1, 0, 2]]]
