from __future__ import annotations

from pathlib import Path

import pytest

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.sweeping.plan import MAX_PLAN_BYTES, ExcludeRule, ModelEntry, read_plan

MODEL = '[[models]]\nname = "care_s0.imagenette"\n'
HEAD = 'targets = ["onnx"]\n'


def test_a_whole_plan(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(
        """
        targets = ["onnx", "executorch-portable"]
        precisions = ["fp32", "int8"]
        devices = ["none", "adb:R5CT30"]
        calibration = "photos"
        calibration_size = 20
        eval = "labelled"
        rigor = "default"
        threads = 2
        timeout = 60

        [[models]]
        name = "care_s1"
        checkpoint = "best.pth"
        num_classes = 7
        labels = "names.txt"
        input_size = 192
        mean = [0.5, 0.4, 0.3]
        std = 0.25
        options = { qk_norm = true, depth = 3, act = "gelu" }

        [[exclude]]
        model = "care*"
        precision = ["int8", "fp16"]
        """
    )
    plan = read_plan(path)
    assert plan.models == [
        ModelEntry(
            name="care_s1",
            checkpoint="best.pth",
            num_classes=7,
            labels="names.txt",
            input_size=192,
            mean=[0.5, 0.4, 0.3],
            std=0.25,
            options={"qk_norm": True, "depth": 3, "act": "gelu"},
        )
    ]
    assert plan.exclude == [ExcludeRule(model=("care*",), precision=("int8", "fp16"))]
    assert (plan.threads, plan.timeout, plan.calibration_size) == (2, 60.0, 20)


def test_what_a_plan_need_not_say(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(HEAD + MODEL)
    plan = read_plan(path)
    assert (plan.precisions, plan.devices, plan.exclude) == (["fp32"], ["none"], [])
    assert (plan.calibration, plan.eval, plan.rigor, plan.threads, plan.timeout) == (None, None, "quick", 1, 1800.0)


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        (MODEL, "targets is missing", None),
        (HEAD, "models is missing", None),
        (HEAD + MODEL.replace("models", "model"), "there is no key model (1 more like it)", "Did you mean models?"),
        ("targets = []\n" + MODEL, "targets: list should have at least 1 item", None),
        (HEAD + "precision = 1\n" + MODEL, "there is no key precision", "Did you mean precisions?"),
        (HEAD + MODEL + 'chekpoint = "x.pth"\n', "there is no key models[0].chekpoint", "Did you mean checkpoint?"),
        (HEAD + MODEL + '[[exclude]]\nzzz = "x"\n', "there is no key exclude[0].zzz", "Keys: model, target, prec"),
        (HEAD + MODEL + MODEL.replace("care_s0.imagenette", ""), "models[1].name: '' cannot be given", None),
        (HEAD + MODEL + 'checkpoint = "--overwrite"\n', "models[0].checkpoint: '--overwrite' cannot be given", None),
        ('targets = ["onnx", "-x"]\n' + MODEL, "targets[1]: '-x' cannot be given", None),
        (HEAD + MODEL + "[[exclude]]\ndevice = 3\n", "exclude[0].device: input should be a valid tuple", None),
        (HEAD + MODEL + '[[exclude]]\ndevice = ["a", 3]\n', "exclude[0].device[1]: input should be a valid str", None),
        (HEAD + "threads = 0\n" + MODEL, "threads: input should be greater than or equal to 1", None),
        (HEAD + 'threads = "2"\n' + MODEL, "threads: input should be a valid integer", None),
        (HEAD + "timeout = 0\n" + MODEL, "timeout: input should be greater than 0", None),
        (HEAD + "timeout = inf\n" + MODEL, "timeout: input should be a finite number", None),
        (HEAD + MODEL + "num_classes = 0\n", "models[0].num_classes: input should be greater than or equal to 1", None),
        (HEAD + MODEL + "random_weights = 1\n", "models[0].random_weights: input should be a valid boolean", None),
        (HEAD + "a = 1\nb = 1\n" + MODEL, "there is no key a (1 more like it)", None),
        ("targets = [", "is not TOML", "A plan is a TOML file"),
        ("x = " + "[" * 5000, "is ", None),
        ("models = 3\n" + HEAD, "models: input should be a valid list", None),
    ],
)
def test_what_is_wrong_is_named_by_its_key(tmp_path: Path, text: str, said: str, hint: str | None) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(text)
    with pytest.raises(BadInputError) as caught:
        read_plan(path)
    assert said in caught.value.message
    assert str(path) in caught.value.message
    if hint is not None:
        assert caught.value.hint is not None
        assert caught.value.hint.startswith(hint)


def test_files_that_are_no_plan(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be read: No such file"):
        read_plan(tmp_path / "nowhere.toml")
    with pytest.raises(BadInputError, match="cannot be read: Is a directory"):
        read_plan(tmp_path)
    path = tmp_path / "sweep.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadInputError, match="is not TOML"):
        read_plan(path)
    path.write_text(f"timeout = {'9' * 5000}")
    with pytest.raises(BadInputError, match="too many digits"):
        read_plan(path)
    path.write_bytes(b"#" * (MAX_PLAN_BYTES + 1))
    with pytest.raises(BadInputError, match="larger than 1 MB"):
        read_plan(path)
