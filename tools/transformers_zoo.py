"""Image models of transformers in small sizes, for ``mvt bench zoo tools/transformers_zoo.py:beit``.

Each function has the name of an architecture and returns it with random weights: no download is needed. They are small
so that a table of all takes minutes; what they compute is what the published sizes compute.
"""

# ruff: noqa: D103  (the names say all)
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import transformers
from torch import nn

from mobilevit_tools.models.sources.torchvision import make_importable

make_importable()
Model = tuple[nn.Module, Mapping[str, Any]]
_FOUR: dict[str, Any] = {"depths": [1, 1, 1, 1], "hidden_sizes": [16, 32, 40, 64]}
_VIT: dict[str, Any] = {
    "hidden_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "intermediate_size": 96,
    "image_size": 64,
}
_DECODER: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "num_queries": 10,
}


def _made(model: str, config: str, *, size: int = 64, labels: int | None = 10, **options: Any) -> Model:
    stated = options if labels is None else {"num_labels": labels, **options}
    built = getattr(transformers, model)(getattr(transformers, config)(**stated))
    return built, {"input_size": (size, size)}


def _resnet(*stages: str) -> Any:
    return transformers.ResNetConfig(embedding_size=16, **_FOUR, out_features=list(stages))


def beit() -> Model:
    return _made("BeitForImageClassification", "BeitConfig", use_relative_position_bias=True, **_VIT)


def beit_segmentation() -> Model:
    places = {"out_indices": [1, 2, 3, 4], "pool_scales": [1, 2, 3]}
    return _made("BeitForSemanticSegmentation", "BeitConfig", use_relative_position_bias=True, **_VIT, **places)


def bit() -> Model:
    sizes = {"hidden_sizes": [32, 64, 96, 128], "depths": [1, 1, 1, 1], "num_groups": 8}
    return _made("BitForImageClassification", "BitConfig", embedding_size=16, **sizes)


def clip() -> Model:
    return _made("CLIPVisionModelWithProjection", "CLIPVisionConfig", labels=None, patch_size=16, **_VIT)


def conditional_detr() -> Model:
    backbone = {"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone_config": _resnet("stage4")}
    return _made("ConditionalDetrForObjectDetection", "ConditionalDetrConfig", size=128, **_DECODER, **backbone)


def convnextv2() -> Model:
    return _made("ConvNextV2ForImageClassification", "ConvNextV2Config", **_FOUR)


def data2vec() -> Model:
    return _made("Data2VecVisionForImageClassification", "Data2VecVisionConfig", **_VIT)


def deformable_detr() -> Model:
    stages = _resnet("stage2", "stage3", "stage4")
    backbone = {"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone_config": stages}
    return _made("DeformableDetrForObjectDetection", "DeformableDetrConfig", size=128, **_DECODER, **backbone)


def deit() -> Model:
    return _made("DeiTForImageClassificationWithTeacher", "DeiTConfig", **_VIT)


def detr() -> Model:
    backbone = {"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone_config": _resnet("stage4")}
    return _made("DetrForObjectDetection", "DetrConfig", size=128, **_DECODER, **backbone)


def dinov2_with_registers() -> Model:
    sizes = {**_VIT, "image_size": 70, "patch_size": 14}
    return _made("Dinov2WithRegistersForImageClassification", "Dinov2WithRegistersConfig", size=70, **sizes)


def dinov3_vit() -> Model:
    return _made("DINOv3ViTModel", "DINOv3ViTConfig", labels=None, **_VIT)


def dpt() -> Model:
    sizes = {"backbone_out_indices": [0, 1, 2, 3], "neck_hidden_sizes": [16, 32, 48, 48], "fusion_hidden_size": 32}
    return _made("DPTForDepthEstimation", "DPTConfig", labels=None, **_VIT, **sizes)


def efficientnet() -> Model:
    sizes = {"width_coefficient": 0.5, "depth_coefficient": 0.5, "hidden_dim": 640}
    return _made("EfficientNetForImageClassification", "EfficientNetConfig", image_size=64, **sizes)


def focalnet() -> Model:
    sizes = {"embed_dim": 24, "depths": [1, 2, 1], "focal_levels": [2, 2, 2], "focal_windows": [3, 3, 3]}
    return _made("FocalNetForImageClassification", "FocalNetConfig", image_size=64, **sizes)


def glpn() -> Model:
    return _made("GLPNForDepthEstimation", "GLPNConfig", labels=None, decoder_hidden_size=16, **_FOUR)


def hiera() -> Model:
    sizes = {"embed_dim": 24, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 2, 4]}
    return _made("HieraForImageClassification", "HieraConfig", image_size=[64, 64], **sizes)


def ijepa() -> Model:
    return _made("IJepaForImageClassification", "IJepaConfig", patch_size=16, **_VIT)


def maskformer() -> Model:
    stages = ["stage1", "stage2", "stage3", "stage4"]
    swin_sizes = {"embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 4}
    backbone = transformers.SwinConfig(image_size=128, out_features=stages, **swin_sizes)
    decoder = transformers.DetrConfig(**_DECODER)
    parts = {"backbone_config": backbone, "decoder_config": decoder, "fpn_feature_size": 32, "mask_feature_size": 32}
    return _made("MaskFormerForInstanceSegmentation", "MaskFormerConfig", size=128, **parts)


def mobilenet_v1() -> Model:
    return _made("MobileNetV1ForImageClassification", "MobileNetV1Config", depth_multiplier=0.5)


def mobilenet_v2_segmentation() -> Model:
    return _made("MobileNetV2ForSemanticSegmentation", "MobileNetV2Config", depth_multiplier=0.5)


def mobilevitv2() -> Model:
    return _made("MobileViTV2ForImageClassification", "MobileViTV2Config", width_multiplier=0.5, image_size=64)


def poolformer() -> Model:
    return _made("PoolFormerForImageClassification", "PoolFormerConfig", **_FOUR)


def pvt_v2() -> Model:
    return _made("PvtV2ForImageClassification", "PvtV2Config", image_size=64, **_FOUR)


def regnet() -> Model:
    sizes = {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 1, 1], "groups_width": 8}
    return _made("RegNetForImageClassification", "RegNetConfig", embedding_size=16, **sizes)


def resnet() -> Model:
    return _made("ResNetForImageClassification", "ResNetConfig", embedding_size=16, **_FOUR)


def segformer() -> Model:
    return _made("SegformerForImageClassification", "SegformerConfig", **_FOUR)


def siglip() -> Model:
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 16}
    parts = {"vision_config": {**_VIT, "patch_size": 16}, "text_config": text}
    return _made("SiglipForImageClassification", "SiglipConfig", **parts)


def swiftformer() -> Model:
    sizes = {"embed_dims": [16, 32, 48, 64], "depths": [1, 1, 2, 1]}
    return _made("SwiftFormerForImageClassification", "SwiftFormerConfig", image_size=64, **sizes)


def swin() -> Model:
    sizes = {"embed_dim": 24, "depths": [1, 2, 1], "num_heads": [1, 2, 3], "window_size": 4}
    return _made("SwinForImageClassification", "SwinConfig", image_size=64, **sizes)


def swinv2() -> Model:
    sizes = {"embed_dim": 24, "depths": [1, 2, 1], "num_heads": [1, 2, 3], "window_size": 4}
    return _made("Swinv2ForImageClassification", "Swinv2Config", image_size=64, **sizes)


def upernet() -> Model:
    stages = ["stage1", "stage2", "stage3", "stage4"]
    backbone = transformers.ConvNextConfig(**_FOUR, out_features=stages)
    sizes = {"hidden_size": 32, "auxiliary_in_channels": 40, "auxiliary_channels": 16}
    return _made("UperNetForSemanticSegmentation", "UperNetConfig", backbone_config=backbone, **sizes)


def vit() -> Model:
    return _made("ViTForImageClassification", "ViTConfig", **_VIT)


def vitpose() -> Model:
    sizes = {**_VIT, "image_size": [64, 64], "out_indices": [4]}
    backbone = transformers.VitPoseBackboneConfig(**sizes)
    return _made("VitPoseForPoseEstimation", "VitPoseConfig", labels=None, backbone_config=backbone)
