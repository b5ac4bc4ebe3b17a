from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from coremltools.converters.mil.mil import get_new_symbol
from torch import Tensor, nn

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.runtimes.coreml import Program, load_program
from mobilevit_tools.runtimes.coreml.mil import Operation
from mobilevit_tools.runtimes.coreml.session import open_session
from tests.runtimes.coreml.building import convert, mb, noise, save


class Block(nn.Module):
    """Convolutions, two kinds of attention, norms, pooling, slices and resizing, as compact transformers have them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.Hardswish())
        self.depthwise = nn.Conv2d(16, 16, 5, padding=2, groups=16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.norm = nn.LayerNorm(16)
        self.up = nn.ConvTranspose2d(16, 8, 2, 2)
        self.head = nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + F.gelu(self.depthwise(x))
        n, c, h, w = x.shape
        tokens = self.norm(x.flatten(2).mT)
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        q, k = F.elu(tokens) + 1, F.softmax(tokens, -1)
        tokens = q @ (k.mT @ tokens) / (q.sum(-1, keepdim=True) + 1)
        x = tokens.mT.reshape(n, c, h, w)
        x = F.interpolate(F.avg_pool2d(x, 3, 2, 1), (h, w), mode="bilinear")
        x = F.silu(self.up(F.pad(x, (1, 0, 0, 1))))
        x = torch.cat([x[:, 1::2], x[:, ::2].amax((2, 3), keepdim=True).expand(-1, -1, *x.shape[2:])], 1)
        return self.head(x.mean((2, 3))).topk(4).values


@pytest.fixture(scope="module")
def block() -> tuple[Block, Tensor]:
    torch.manual_seed(0)
    net = Block().eval()
    for entry in net.modules():
        if isinstance(entry, nn.BatchNorm2d):
            entry.running_mean.normal_()
            entry.running_var.uniform_(0.5, 2)
    return net, torch.randn(1, 3, 16, 16)


@pytest.mark.parametrize("target", ["iOS15", "iOS17", "iOS18"])
def test_a_converted_network_computes_what_torch_does(target: str, block: tuple[Block, Tensor], tmp_path: Path) -> None:
    net, x = block
    program = load_program(
        convert(net, x, tmp_path / "a.mlpackage", minimum_deployment_target=getattr(ct.target, target))
    )
    assert program.unsupported == ()
    (out,) = program.run({program.inputs[0].name: x.numpy()}).values()
    np.testing.assert_allclose(out, net(x).detach(), rtol=1e-4, atol=1e-5)


def test_a_network_converted_to_half_loses_little_and_the_arithmetics_agree_on_it(
    block: tuple[Block, Tensor], tmp_path: Path
) -> None:
    net, x = block
    program = load_program(convert(net, x, tmp_path / "a.mlpackage", compute_precision=ct.precision.FLOAT16))
    given = {program.inputs[0].name: x.numpy()}
    exact = net(x).detach().numpy()
    errors = {}
    for arithmetic in ("fp32", "as-typed", "half"):
        (out,) = program.run(given, arithmetic).values()
        errors[arithmetic] = np.abs(out - exact).max() / np.abs(exact).max()
    assert 0 < errors["fp32"] < 2e-3  # weights are stored in half
    assert errors["fp32"] < errors["as-typed"] <= 1e-2
    assert errors["half"] <= 1e-2


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    @mb.program(input_specs=[mb.TensorSpec((1, 3, 4, 4))])
    def program(photo: Any) -> Any:
        pooled = mb.reduce_mean(x=photo, axes=[2, 3], name="pooled")
        return mb.softmax(x=pooled, axis=-1, name="probabilities")

    path = tmp_path_factory.mktemp("classifier") / "classifier.mlpackage"
    ct.convert(
        program,
        convert_to="mlprogram",
        skip_model_load=True,
        inputs=[
            ct.ImageType(name="photo", shape=(1, 3, 4, 4), color_layout="BGR", scale=1 / 50, bias=[0.5, 0.25, -1.0])
        ],
        classifier_config=ct.ClassifierConfig(["first", "second", "third"]),
        compute_precision=ct.precision.FLOAT32,
    ).save(str(path))
    return path


def test_a_classifier_takes_pixels_and_answers_with_a_label(classifier: Path) -> None:
    program = load_program(classifier)
    label, probabilities = program.outputs
    assert (label.kind, probabilities.kind) == ("label", "probabilities")
    assert probabilities.labels == ("first", "second", "third")
    pixels = np.zeros((1, 3, 4, 4), np.uint8)
    pixels[:, 0], pixels[:, 1], pixels[:, 2] = 200, 100, 50  # red, green, blue
    scores = np.array([50 / 50 + 0.5, 100 / 50 + 0.25, 200 / 50 - 1.0])  # the model wants blue first
    expected = np.exp(scores) / np.exp(scores).sum()
    out = program.run({"photo": pixels}, fetch=[str(program.logits)])
    assert out[label.name] == "third"
    np.testing.assert_allclose(list(out[probabilities.name].values()), expected, rtol=1e-5)
    assert program.logits == "pooled"
    np.testing.assert_allclose(out["pooled"][0], scores, rtol=1e-6)
    with pytest.raises(BadInputError, match="uint8 pixels"):
        program.run({"photo": pixels.astype(np.float32)})


@pytest.mark.parametrize("kind", ["identity", "reshape", "classify"])
@pytest.mark.parametrize("source", ["damaged", None])
def test_a_value_that_is_its_own_source_or_has_none_leads_to_no_logits(
    classifier: Path, kind: str, source: str | None
) -> None:
    whole = load_program(classifier)
    declared = next(iter(whole.graph.inputs.values()))
    parameter = "probabilities" if kind == "classify" else "x"
    inputs = {parameter: (source,)} if source else {}
    damaged = Operation("damaged", kind, inputs, (("damaged", declared),))
    graph = dataclasses.replace(whole.graph, operations=(damaged,), outputs=("damaged",))
    description = dataclasses.replace(whole.description, outputs=())
    assert Program(whole.path, description, graph).logits is None


def test_a_package_that_others_made_runs(shared: Path) -> None:
    program = load_program(shared / "data" / "foreign" / "MNIST.mlpackage")
    assert program.unsupported == ()
    assert program.metadata["author"] == "Dhruv Weaver"
    one = np.zeros((1, 1, 28, 28), np.uint8)
    one[..., 4:24, 13:16] = 255
    for arithmetic in ("fp32", "half", "as-typed"):
        out = program.run({"Input": one}, arithmetic, fetch=[str(program.logits)])
        assert out["Prediction"] == 1
        assert out["Prediction_probs"][1] > 0.99
    numbers = (
        entry.value for entry in program.graph.constants.values() if entry.element.is_float and entry.value.size > 1
    )
    first, first_bias, second, second_bias = (value.astype(np.float32) for value in numbers)
    hidden = np.maximum((one.reshape(1, -1) + 0.5) @ first.T + first_bias, 0)
    exact = program.run({"Input": one}, fetch=[str(program.logits)])[str(program.logits)]
    np.testing.assert_allclose(exact, hidden @ second.T + second_bias, rtol=1e-4)


def test_one_of_several_functions_is_chosen(tmp_path: Path) -> None:
    class Scale(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.full((4, 4), factor))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight

    options = {"minimum_deployment_target": ct.target.iOS18}
    descriptor = ct.utils.MultiFunctionDescriptor()
    for name, factor in (("one", 1.0), ("two", 2.0)):
        path = convert(Scale(factor), torch.ones(1, 4), tmp_path / f"{name}.mlpackage", **options)
        descriptor.add_function(str(path), src_function_name="main", target_function_name=name)
    descriptor.default_function_name = "two"
    ct.utils.save_multifunction(descriptor, str(tmp_path / "both.mlpackage"))
    program = load_program(tmp_path / "both.mlpackage")
    assert program.description.function == "two"
    (out,) = program.run({program.inputs[0].name: np.ones((1, 4), np.float32)}).values()
    np.testing.assert_array_equal(out, np.full((1, 4), 8.0))
    other = load_program(tmp_path / "both.mlpackage", "one")
    assert other.description.functions == ("one", "two")
    (out,) = other.run({other.inputs[0].name: np.ones((1, 4), np.float32)}).values()
    np.testing.assert_array_equal(out, np.full((1, 4), 4.0))
    with pytest.raises(BadInputError, match="no function 'three'; its functions are: one, two"):
        load_program(tmp_path / "both.mlpackage", "three")
    with open_session(tmp_path / "both.mlpackage", threads=1) as session:
        assert "several functions (one, two); this is two" in session.notes[0]


def test_a_flexible_input_takes_other_sizes(tmp_path: Path) -> None:
    net = nn.Conv2d(3, 4, 3, padding=1).eval()
    height = torch.export.Dim("height", min=4, max=64)
    exported = torch.export.export(net, (torch.randn(1, 3, 12, 8),), dynamic_shapes={"input": {2: height}})
    path = tmp_path / "a.mlpackage"
    ct.convert(
        exported.run_decompositions({}),
        convert_to="mlprogram",
        skip_model_load=True,
        inputs=[ct.TensorType(name="input", shape=ct.Shape((1, 3, ct.RangeDim(4, 64, default=12), 8)))],
        compute_precision=ct.precision.FLOAT32,
        minimum_deployment_target=ct.target.iOS16,
    ).save(str(path))
    program = load_program(path)
    assert program.inputs[0].flexibility == "range"
    x = noise(1, 3, 20, 8)
    (out,) = program.run({"input": x}).values()
    np.testing.assert_allclose(out, net(torch.from_numpy(x)).detach(), atol=1e-5)
    for size in (3, 65):
        with pytest.raises(
            BadInputError, match=rf"Size \({size}\) of dimension \(2\) is not in allowed range \(4..64\)"
        ):
            program.run({"input": noise(1, 3, size, 8)})


def _growing(path: Path, kind: Any, shape: Any, sizes: tuple[Any, Any]) -> Program:
    @mb.program(input_specs=[mb.TensorSpec((1, 3, *sizes))])
    def program(x: Any) -> Any:
        return mb.relu(x=x, name="y")

    return load_program(save(program, path, inputs=[kind(name="x", shape=shape)]))


def test_a_list_of_shapes_takes_these_alone(tmp_path: Path) -> None:
    shapes = ct.EnumeratedShapes([(1, 3, 8, 8), (1, 3, 16, 12)])
    sizes = (get_new_symbol(), get_new_symbol())
    for kind, dtype in ((ct.TensorType, np.float32), (ct.ImageType, np.uint8)):
        program = _growing(tmp_path / f"{kind.__name__}.mlpackage", kind, shapes, sizes)
        assert program.inputs[0].shapes == ((1, 3, 8, 8), (1, 3, 16, 12))
        for shape in program.inputs[0].shapes:
            assert np.shape(program.run({"x": np.ones(shape, dtype)})["y"]) == shape
        with pytest.raises(BadInputError, match=r"\(1 x 3 x 8 x 12\) was not in enumerated set"):
            program.run({"x": np.ones((1, 3, 8, 12), dtype)})


def test_an_image_of_a_range_of_sizes_keeps_to_it(tmp_path: Path) -> None:
    shape = ct.Shape((1, 3, ct.RangeDim(4, 9), ct.RangeDim(5, 900)))
    program = _growing(tmp_path / "a.mlpackage", ct.ImageType, shape, (get_new_symbol(), get_new_symbol()))
    assert program.inputs[0].bounds == ((1, 1), (3, 3), (4, 9), (5, 900))
    program.run({"x": np.ones((1, 3, 9, 900), np.uint8)})
    for size in ((10, 5), (4, 4)):
        with pytest.raises(BadInputError, match="is not in allowed range"):
            program.run({"x": np.ones((1, 3, *size), np.uint8)})


def test_an_optional_input_is_filled_with_its_default(tmp_path: Path) -> None:
    @mb.program(input_specs=[mb.TensorSpec((1, 2)), mb.TensorSpec((1,))])
    def program(x: Any, shift: Any) -> Any:
        return mb.add(x=x, y=shift, name="y")

    optional = ct.TensorType(name="shift", shape=(1,), default_value=np.array([3], np.float32))
    path = save(program, tmp_path / "a.mlpackage", inputs=[ct.TensorType(name="x", shape=(1, 2)), optional])
    loaded = load_program(path)
    assert [entry.default for entry in loaded.inputs] == [None, 3.0]
    x = np.array([[1, 2]], np.float32)
    np.testing.assert_array_equal(loaded.run({"x": x})["y"], x + 3)
    np.testing.assert_array_equal(loaded.run({"x": x, "shift": np.array([5], np.float32)})["y"], x + 5)
    with pytest.raises(BadInputError, match="needs the input 'x'"):
        loaded.run({"shift": x[0, :1]})


def test_two_outputs_of_one_name_are_one(tmp_path: Path) -> None:
    @mb.program(input_specs=[mb.TensorSpec((1, 4))])
    def program(x: Any) -> Any:
        y = mb.relu(x=x, name="y")
        return y, y

    path = save(program, tmp_path / "twice.mlpackage")
    with open_session(path, threads=1) as session:
        assert [entry.name for entry in session.outputs] == ["y"]
        assert len(session.run(np.ones((1, 4), np.float32))) == 1
        assert "share a name" in session.notes[0]


def test_results_do_not_share_memory_with_inputs(tmp_path: Path) -> None:
    @mb.program(input_specs=[mb.TensorSpec((2, 2))])
    def program(x: Any) -> Any:
        return mb.reshape(x=x, shape=[4], name="flat")

    loaded = load_program(save(program, tmp_path / "flat.mlpackage"))
    x = np.ones((2, 2), np.float32)
    out = loaded.run({"x": x})["flat"]
    x[:] = 7
    np.testing.assert_array_equal(out, np.ones(4))


def test_inputs_that_are_no_arrays_are_refused(small_package: Path) -> None:
    program = load_program(small_package)
    program.inputs = (dataclasses.replace(program.inputs[0], kind="sequence"),)
    with pytest.raises(BadInputError, match="is a sequence, which cannot be made here"):
        program.run({"x": noise(1, 3, 8, 8)})


@pytest.mark.slow
def test_running_costs_at_most_three_times_eager(tmp_path: Path) -> None:
    from mobilevit_tools.models.care import care_s0

    torch.manual_seed(0)
    net, x = care_s0().eval(), torch.randn(1, 3, 224, 224)
    program = load_program(convert(net, x, tmp_path / "care.mlpackage"))
    given = {program.inputs[0].name: x.numpy()}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            (out,) = program.run(given).values()
            np.testing.assert_allclose(out, net(x), rtol=1e-3, atol=1e-4)
            ours, theirs = [], []
            for _ in range(5):  # interleaved, so that a busy machine slows both; the best of each is compared
                for samples, call in ((ours, lambda: program.run(given)), (theirs, lambda: net(x))):
                    start = time.perf_counter()
                    call()
                    samples.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    assert min(ours) < 3 * min(theirs)
