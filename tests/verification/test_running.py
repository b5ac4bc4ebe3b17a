"""The verdict on an artifact, with artifacts that are wrong in one known way each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mobilevit_tools.cli.tables import parity_notes
from mobilevit_tools.data.contract import Contract
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.runtimes._base import Session, TensorInfo, UnsupportedOperatorError
from mobilevit_tools.tasks.probabilities import softmax
from mobilevit_tools.verification.inputs import VerificationInput
from mobilevit_tools.verification.parity import Parity
from mobilevit_tools.verification.running import verify_session
from mobilevit_tools.verification.tolerances import GATES

Function = Callable[[NDArray[Any]], NDArray[Any]]


class FunctionSession(Session):
    """A session that computes a Python function."""

    contract = None
    metadata: Mapping[str, str] = {}

    def __init__(self, function: Function, *, batch: int | None = 1, kind: str = "tensor") -> None:
        self.function = function
        self.inputs = (TensorInfo("image", (batch, 3, 2, 2), "float32", kind),)  # type: ignore[arg-type]
        self.outputs = (TensorInfo("logits", (batch, 4), "float32"),)

    def prepare(self, array: NDArray[Any]) -> Callable[[], object]:
        return lambda: self.run(array)

    def run(self, array: NDArray[Any]) -> list[NDArray[Any]]:
        return [self.function(array)]

    def operators(self) -> dict[str, int]:
        return {}

    def close(self) -> None:
        pass


WEIGHT = np.random.default_rng(0).standard_normal((4, 12))


def model(array: NDArray[Any]) -> NDArray[Any]:
    return array.reshape(len(array), -1).astype(np.float64) @ WEIGHT.T


def reference(array: NDArray[Any]) -> list[NDArray[Any]]:
    return [model(array)]


def inputs(count: int = 4) -> list[VerificationInput]:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (count, 1, 3, 2, 2), dtype=np.uint8)
    recipe = Preprocessing((2, 2))
    return [VerificationInput(f"input {i}", "noise", recipe.normalize(image), image) for i, image in enumerate(pixels)]


def test_the_model_itself_passes() -> None:
    parity = verify_session(FunctionSession(model), reference, inputs(), GATES["fp32"])
    assert parity.status == "passed"
    assert (parity.inputs, parity.top1_agreement, parity.reason) == (4, 1.0, None)


def test_a_small_error_fails_fp32_and_passes_fp16() -> None:
    session = FunctionSession(lambda x: model(x) * (1 + 1e-3))
    assert verify_session(session, reference, inputs(), GATES["fp32"]).status == "failed"
    assert verify_session(session, reference, inputs(), GATES["fp16"]).status == "passed"


def test_one_wrong_input_of_many_fails_and_is_named_by_the_worst_figure() -> None:
    def wrong_once(array: NDArray[Any]) -> NDArray[Any]:
        output = model(array)
        return -output if np.array_equal(array, inputs()[2].tensor) else output

    parity = verify_session(FunctionSession(wrong_once), reference, inputs(), GATES["fp16"])
    assert parity.status == "failed"
    assert parity.cosine == pytest.approx(-1)
    assert "input 2" in (parity.reason or "")


def test_a_wrong_second_row_of_a_batch_fails() -> None:
    def wrong_second_row(array: NDArray[Any]) -> NDArray[Any]:
        output = model(array)
        output[1:] += 1
        return output

    assert verify_session(FunctionSession(model, batch=2), reference, inputs(), GATES["fp32"]).status == "passed"
    assert (
        verify_session(FunctionSession(wrong_second_row, batch=2), reference, inputs(), GATES["fp32"]).status
        == "failed"
    )


def test_a_free_batch_is_run_with_more_than_one_image() -> None:
    sizes = []

    def watching(array: NDArray[Any]) -> NDArray[Any]:
        sizes.append(len(array))
        return model(array)

    verify_session(FunctionSession(watching, batch=None), reference, inputs(), GATES["fp32"])
    assert set(sizes) == {3}


@pytest.mark.parametrize("batch", [1, 4, None])
@pytest.mark.parametrize("rows", [0, 1, 2, 5])
def test_as_many_rows_as_images_are_wanted(batch: int | None, rows: int) -> None:
    session = FunctionSession(lambda x: np.resize(model(x), (rows, 4)), batch=batch)
    parity = verify_session(session, reference, inputs(), GATES["fp32"])
    if rows == batch:
        assert parity.status == "passed"
    else:
        assert parity.status == "failed"
        assert parity.reason == f"an output of the artifact has a batch of {rows}, not {batch or 3}"


def with_batch(step: Function) -> Function:
    return lambda array: step(model(array))


MIXED = {
    "broadcast": with_batch(lambda rows: np.tile(rows[:1], (len(rows), 1))),
    "shifted": with_batch(lambda rows: np.roll(rows, 1, axis=0)),
    "reversed": with_batch(lambda rows: rows[::-1]),
    "last two exchanged": with_batch(lambda rows: np.concatenate([rows[:-2], rows[:-3:-1]])),
    "mixed": with_batch(lambda rows: rows + 0.01 * rows.mean(axis=0)),
    "fixed at two": with_batch(lambda rows: np.resize(rows[:2], rows.shape)),
}


@pytest.mark.parametrize("batch", [2, 3, 4, None])
@pytest.mark.parametrize("wrong", MIXED)
def test_images_of_a_batch_that_meet_each_other_fail(wrong: str, batch: int | None) -> None:
    parity = verify_session(FunctionSession(MIXED[wrong], batch=batch), reference, inputs(5), GATES["fp32"])
    right = (wrong, batch) == ("fixed at two", 2)
    assert parity.status == ("passed" if right else "failed")


def test_every_image_is_judged_in_every_row_of_a_batch() -> None:
    for row in range(4):

        def wrong_row(array: NDArray[Any], row: int = row) -> NDArray[Any]:
            output = model(array)
            output[row] += 1
            return output

        parity = verify_session(FunctionSession(wrong_row, batch=4), reference, inputs(6), GATES["fp32"])
        assert [result.name for result in parity.results] == [f"input {i}" for i in range(6)]
        assert all((result.distance.snr_db or 0) < 80 for result in parity.results)


def test_an_input_is_compared_with_its_own_row_only() -> None:
    given = inputs(5)

    def wrong_once(array: NDArray[Any]) -> NDArray[Any]:
        output = model(array)
        output[[np.array_equal(row, given[2].tensor[0]) for row in array]] += 1
        return output

    parity = verify_session(FunctionSession(wrong_once, batch=3), reference, given, GATES["fp32"])
    assert parity.status == "failed"
    assert [result.name for result in parity.results if (result.distance.snr_db or 0) < 80] == ["input 2"]


@pytest.mark.parametrize(("batch", "runs"), [(1, 5), (3, 5), (None, 5)])
def test_each_input_leads_one_run_and_the_model_runs_little_more_often(batch: int | None, runs: int) -> None:
    given, led, asked = inputs(5), [], []

    def watching(array: NDArray[Any]) -> NDArray[Any]:
        led.append(array[:1])
        return model(array)

    def counting(array: NDArray[Any]) -> list[NDArray[Any]]:
        asked.append(array)
        return reference(array)

    parity = verify_session(FunctionSession(watching, batch=batch), counting, given, GATES["fp32"])
    assert parity.inputs == runs
    assert len(led) == runs
    assert all(np.array_equal(first, item.tensor) for first, item in zip(led, given, strict=True))
    assert len(asked) == runs + (batch or 3) - 1


def test_what_is_not_finite_in_one_row_is_laid_to_that_input_alone() -> None:
    given = inputs(5)

    def broken_once(array: NDArray[Any]) -> NDArray[Any]:
        output = model(array)
        output[[np.array_equal(row, given[2].tensor[0]) for row in array]] = np.nan
        return output

    parity = verify_session(FunctionSession(broken_once, batch=3), reference, given, GATES["fp32"])
    assert parity.reason == "non-finite output on input 2; top-1 changed on input 2"


def test_nan_fails_whatever_the_gate() -> None:
    parity = verify_session(FunctionSession(lambda x: model(x) * np.nan), reference, inputs(), GATES["fp16"])
    assert parity.status == "failed"
    assert "non-finite" in (parity.reason or "")
    assert parity.snr_db is None


def test_an_artifact_of_zeros_fails_by_its_figures() -> None:
    parity = verify_session(FunctionSession(lambda x: 0 * model(x)), reference, inputs(), GATES["fp32"])
    assert (parity.status, parity.cosine) == ("failed", 0.0)
    assert parity.snr_db is not None
    assert parity.snr_db <= 0
    assert "cosine 0.000000 below" in (parity.reason or "")


def test_a_reference_of_zeros_is_said_to_be_one() -> None:
    parity = verify_session(FunctionSession(model), lambda x: [0 * model(x)], inputs(), GATES["fp32"])
    assert (parity.status, parity.cosine) == ("failed", None)
    assert "the reference is zero but the artifact is not" in (parity.reason or "")


def test_a_missing_operator_is_not_verified_and_named() -> None:
    def refuse(array: NDArray[Any]) -> NDArray[Any]:
        raise UnsupportedOperatorError(("fancy_op",))

    parity = verify_session(FunctionSession(refuse), reference, inputs(), GATES["fp32"])
    assert parity.status == "not_verified"
    assert "fancy_op" in (parity.reason or "")


def test_numbers_that_mean_nothing_are_not_verified() -> None:
    session = FunctionSession(model)
    session.unverifiable = "It draws random numbers."
    parity = verify_session(session, reference, inputs(), GATES["fp32"])
    assert (parity.status, parity.reason) == ("not_verified", "It draws random numbers.")


def test_a_wrong_shape_fails() -> None:
    parity = verify_session(FunctionSession(lambda x: model(x)[:, :3]), reference, inputs(), GATES["fp32"])
    assert parity.status == "failed"
    assert "shape" in (parity.reason or "")


def test_an_image_artifact_gets_pixels() -> None:
    recipe = Preprocessing((2, 2))
    session = FunctionSession(lambda pixels: model(recipe.normalize(pixels)), kind="image")
    assert verify_session(session, reference, inputs(), GATES["fp32"]).status == "passed"


def row(values: list[float]) -> Function:
    return lambda array: np.tile([values], (len(array), 1))


def changed_on(count: int, tied: list[float], got: list[float], *, precision: str, of: int = 20) -> Parity:
    """Verify an artifact that answers ``got`` on the first inputs, where the model's answer is ``tied``."""
    given = inputs(of)
    first = {item.tensor.tobytes() for item in given[:count]}

    def either(values: list[float]) -> Function:
        return lambda array: np.stack([values if each.tobytes() in first else model(each[None])[0] for each in array])

    gate = replace(GATES[precision], judged=("noise",))
    return verify_session(FunctionSession(either(got)), lambda x: [either(tied)(x)], given, gate)


TIED, TURNED = [10.0, 9.999, 1.0, 0.0], [9.999, 10.0, 1.0, 0.0]


@pytest.mark.parametrize("precision", ["fp16", "int8-weight", "int8"])
@pytest.mark.parametrize(("count", "status"), [(1, "passed"), (2, "passed"), (3, "failed"), (20, "failed")])
def test_near_ties_excuse_a_tenth_of_the_inputs(precision: str, count: int, status: str) -> None:
    if precision == "int8" and count == 3:
        status = "passed"  # one of twenty is within the gate
    parity = changed_on(count, TIED, TURNED, precision=precision)
    assert parity.status == status
    assert parity.near_ties == tuple(f"input {index}" for index in range(min(count, 2)))
    assert parity.top1_agreement == pytest.approx(1 - count / 20)


def test_fewer_than_ten_inputs_have_no_tenth() -> None:
    assert changed_on(1, TIED, TURNED, precision="fp16", of=9).status == "failed"


def test_float32_has_no_near_ties() -> None:
    parity = changed_on(1, [10.0, 10.0 - 1e-5, 1.0, 0.0], [10.0 - 1e-5, 10.0, 1.0, 0.0], precision="fp32")
    assert (parity.status, parity.reason, parity.near_ties) == ("failed", "top-1 changed on input 0", ())


@pytest.mark.parametrize("precision", ["fp16", "int8-weight", "int8"])
def test_a_change_that_noise_does_not_explain_fails(precision: str) -> None:
    clear = np.random.default_rng(0).standard_normal((1, 1000))
    clear[0, :2] = 10.0, 9.5
    exchanged = clear.copy()
    exchanged[0, :2] = 9.7, 9.8
    noisy = clear + 0.15 * np.random.default_rng(1).standard_normal(clear.shape)
    noisy[0, :2] = 9.7, 9.8
    gate = replace(GATES[precision], max_abs_rel=None, snr_db=10.0, cosine=0.9, judged=("noise",), near_ties=1.0)
    for changed, status in ((exchanged, "failed"), (noisy, "passed")):
        session = FunctionSession(lambda x, row=changed: np.tile(row, (len(x), 1)))
        parity = verify_session(session, lambda _: [clear], inputs(1), gate)
        assert (parity.status, parity.top1_agreement) == (status, 0.0)


@pytest.mark.parametrize("offset", [-8.0, -100.0])
@pytest.mark.parametrize("precision", ["fp16", "int8-weight", "int8"])
def test_an_offset_that_all_logits_share_hides_nothing(offset: float, precision: str) -> None:
    gate = replace(GATES[precision], judged=("noise",))
    mean = np.mean([model(item.tensor)[0] for item in inputs(20)], axis=0)
    wanted = {item.tensor.tobytes(): model(item.tensor)[0] / 20 for item in inputs(20)}
    for values, status in ((None, "passed"), (mean / 20, "failed")):
        session = FunctionSession(
            lambda x, values=values: np.stack(
                [(wanted[each.tobytes()] if values is None else values) + offset for each in x]
            )
        )
        parity = verify_session(session, lambda x: [wanted[x.tobytes()][None] + offset], inputs(20), gate)
        assert parity.status == status
        assert values is None or (parity.snr_db or 0.0) < 10


def test_an_offset_that_only_the_artifact_has_fails() -> None:
    parity = verify_session(FunctionSession(lambda x: model(x) + 0.01), reference, inputs(), GATES["fp32"])
    assert parity.status == "failed"


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8-weight", "int8"])
def test_a_constant_answer_fails_even_where_the_model_hardly_changes(precision: str) -> None:
    base = np.array([[3.0, -2.0, 1.0, 0.5]])

    def hardly(x: NDArray[Any]) -> NDArray[Any]:
        return base + 1e-6 * model(x)

    gate = replace(GATES[precision], judged=("noise",))
    right = verify_session(FunctionSession(hardly), lambda x: [hardly(x)], inputs(), gate)
    constant = verify_session(FunctionSession(row(base[0].tolist())), lambda x: [hardly(x)], inputs(), gate)
    assert (right.status, constant.status) == ("passed", "failed")
    assert constant.reason == "its output is nearly constant across inputs"


def test_a_model_that_is_constant_itself_may_be_answered_with_a_constant() -> None:
    session = FunctionSession(row([1.0, 2.0, 3.0, 4.0]))
    parity = verify_session(session, lambda x: [row([1.0, 2.0, 3.0, 4.0])(x)], inputs(), GATES["fp32"])
    assert (parity.status, parity.constant_model) == ("passed", True)
    assert [note for note in parity_notes(parity) if "same output for every input" in note]


def test_a_model_is_constant_only_where_several_inputs_and_all_outputs_say_so() -> None:
    one = verify_session(FunctionSession(model), reference, inputs(1), GATES["fp32"])
    several = verify_session(FunctionSession(model), reference, inputs(), GATES["fp32"])
    assert (one.constant_model, several.constant_model) == (False, False)


def test_a_single_logit_has_no_class_and_no_common_offset() -> None:
    for error, status in ((0.0, "passed"), (1e-3, "failed")):
        session = FunctionSession(lambda x, error=error: model(x)[:, :1] * (1 + error))
        parity = verify_session(session, lambda x: [model(x)[:, :1]], inputs(), GATES["fp32"])
        assert (parity.status, parity.top1_agreement) == (status, None)


def held_out(count: int) -> list[VerificationInput]:
    photos = [replace(item, name=f"photo {index}", kind="photo") for index, item in enumerate(inputs(5))]
    return [*photos, *(replace(item, kind="held-out") for item in inputs(count + 5)[5:])]


@pytest.mark.parametrize(("wrong", "status"), [(0, "passed"), (3, "passed"), (4, "failed"), (30, "failed")])
def test_predictions_of_int8_are_judged_on_the_photos_held_out_of_calibration(wrong: int, status: str) -> None:
    given = held_out(60)
    turned = {item.tensor.tobytes() for item in given[5 : 5 + wrong]}

    def turning(array: NDArray[Any]) -> NDArray[Any]:
        return np.stack([(-1 if each.tobytes() in turned else 1) * model(each[None])[0] for each in array])

    parity = verify_session(FunctionSession(turning), reference, given, GATES["int8"])
    assert (parity.status, parity.held_out) == (status, 60)
    assert parity.top1_agreement == pytest.approx(1 - wrong / 60)
    assert parity.margins.top1_agreement == pytest.approx(1 - wrong / 60 - 0.95)
    assert parity.snr_db is not None
    assert parity.snr_db > 100  # of the photos alone
    assert (parity.reason is None) == (status == "passed")
    if wrong == 4:
        assert parity.reason == "same top-1 on 56 of 60 photos held out of calibration, below 95%"


def test_margins_are_to_each_limit_and_negative_beyond_it() -> None:
    parity = verify_session(FunctionSession(lambda x: model(x) * (1 + 1e-3)), reference, inputs(), GATES["fp32"])
    assert parity.margins.snr_db == pytest.approx((parity.snr_db or 0) - 80)
    assert parity.margins.max_abs_rel == pytest.approx(1e-4 - (parity.max_abs_rel or 0))
    assert parity.margins.max_abs_rel is not None
    assert parity.margins.max_abs_rel < 0
    assert parity.margins.cosine == pytest.approx(1e-5, rel=1e-3)
    assert parity.margins.top1_agreement == 0
    loose = verify_session(FunctionSession(model), reference, inputs(), replace(GATES["int8"], judged=("noise",)))
    assert (loose.margins.max_abs_rel, loose.margins.top1_agreement) == (None, pytest.approx(0.05))


def test_stage_maps_are_judged_without_classes() -> None:
    session = FunctionSession(model)
    session.contract = Contract("m", Preprocessing((2, 2)), output="features")
    assert verify_session(session, reference, inputs(), GATES["fp32"]).top1_agreement is None


@pytest.mark.parametrize(("axis", "status"), [(1, "passed"), (0, "failed")])
def test_probabilities_must_be_the_softmax_of_the_logits(axis: int, status: str) -> None:
    class Classifier(FunctionSession):
        def run(self, array: NDArray[Any]) -> list[NDArray[Any]]:
            logits = model(array)
            exponentials = np.exp(logits - logits.max())
            return [logits, exponentials / exponentials.sum(axis=axis, keepdims=True)]

    session = Classifier(model)
    session.contract = Contract("m", Preprocessing((2, 2)), output="probabilities")
    parity = verify_session(session, reference, inputs(), GATES["fp32"])
    assert parity.status == status
    assert parity.reason is None or "softmax" in parity.reason


@pytest.mark.parametrize(("scale", "status"), [(1.0, "passed"), (1.1, "failed")])
def test_probabilities_alone_are_judged_as_such(scale: float, status: str) -> None:
    def probabilities(array: NDArray[Any]) -> NDArray[Any]:
        logits = scale * model(array)
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    session = FunctionSession(probabilities)
    session.contract = Contract("m", Preprocessing((2, 2)), output="probabilities")
    assert verify_session(session, reference, inputs(), GATES["fp32"]).status == status


@pytest.mark.parametrize(("share", "status"), [(1.0, "passed"), (0.0, "failed")])
@pytest.mark.parametrize("classes", [4, 1000])
def test_probabilities_are_compared_with_their_own_size(classes: int, share: float, status: str) -> None:
    wide = np.random.default_rng(2).standard_normal((classes, 12)) / 100

    class Classifier(FunctionSession):
        def run(self, array: NDArray[Any]) -> list[NDArray[Any]]:
            logits = array.reshape(len(array), -1).astype(np.float64) @ wide.T
            return [logits, share * softmax(logits)]

    session = Classifier(model)
    session.contract = Contract("m", Preprocessing((2, 2)), output="probabilities")
    wanted = [array.reshape(1, -1).astype(np.float64) @ wide.T for array in (item.tensor for item in inputs())]
    found = iter(wanted)
    assert verify_session(session, lambda _: [next(found)], inputs(), GATES["fp32"]).status == status


def test_maps_of_an_artifact_without_a_contract_are_judged_without_classes() -> None:
    session = FunctionSession(lambda array: array[:, :, :1] * np.ones((2, 1)))
    for scale, status in ((1, "passed"), (1.1, "failed")):
        parity = verify_session(
            session, lambda x, scale=scale: [scale * x[:, :, :1] * np.ones((2, 1))], inputs(), GATES["fp32"]
        )
        assert (parity.status, parity.top1_agreement) == (status, None)


class ModelledSession(FunctionSession):
    """A session that models its runtime, right in one arithmetic and not in the other."""

    arithmetics = ("as-typed", "half")

    def use(self, arithmetic: str) -> None:
        self.arithmetic = arithmetic


@pytest.mark.parametrize("wrong", ["as-typed", "half"])
def test_the_worse_arithmetic_decides(wrong: str) -> None:
    session = ModelledSession(lambda x: model(x) * (np.nan if session.arithmetic == wrong else 1))
    parity = verify_session(session, reference, inputs(), GATES["fp16"])
    assert (parity.status, parity.arithmetic) == ("failed", wrong)
    assert parity.reason is not None
    assert parity.reason.startswith(f"in {wrong} arithmetic")
    assert session.arithmetic == "as-typed"


def test_both_arithmetics_pass_and_the_less_exact_one_is_reported() -> None:
    session = ModelledSession(lambda x: model(x) * (1 + 1e-3 * (session.arithmetic == "half")))
    parity = verify_session(session, reference, inputs(), GATES["fp16"])
    assert (parity.status, parity.arithmetic, parity.reason) == ("passed", "half", None)


def sigmoid(logits: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(1 / (1 + np.exp(-logits)))


def themselves(scores: NDArray[Any]) -> NDArray[Any]:
    return scores


@pytest.mark.parametrize(
    ("scores", "logits_too", "theirs", "wrong"),
    [
        (softmax, True, themselves, np.fliplr),
        (softmax, False, themselves, np.fliplr),
        (softmax, True, softmax, np.fliplr),
        (softmax, False, softmax, sigmoid),
        (sigmoid, False, sigmoid, themselves),
        (themselves, False, themselves, softmax),
    ],
)
def test_a_classifier_of_others_gives_what_its_model_gives_or_the_softmax_of_it(
    scores: Function, logits_too: bool, theirs: Function, wrong: Function
) -> None:
    class Classifier(FunctionSession):
        described = Contract("m", Preprocessing((2, 2)), output="probabilities")

        def run(self, array: NDArray[Any]) -> list[NDArray[Any]]:
            return [*([model(array)] if logits_too else []), scores(model(array))]

    def judged(asked: Function) -> str:
        return verify_session(Classifier(model), lambda x: [asked(model(x))], inputs(), GATES["fp32"]).status

    assert judged(theirs) == "passed"
    assert judged(wrong) == "failed"
