"""The package that simulates Qualcomm's NPU."""

from mobilevit_tools.targets._base import Package

PACKAGE = Package("onnxruntime-qnn", "--device htp", ("2.7.",), extra="qnn", module="onnxruntime_qnn")
