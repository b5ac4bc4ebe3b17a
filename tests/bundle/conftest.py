from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import TypeAdapter

import mobilevit_tools
from mobilevit_tools.artifacts.manifest import read_manifest
from mobilevit_tools.bundle.contents import Golden
from mobilevit_tools.bundle.golden import write_bundle
from mobilevit_tools.data.bundled import verification_photos
from mobilevit_tools.runtimes.registry import load_session
from mobilevit_tools.verification.inputs import build_inputs
from mobilevit_tools.verification.reference import torch_reference
from tests.conftest import SMALL

FRAMEWORKS = Path(__file__).parent / "frameworks"


def golden_in(bundle: Path) -> Golden:
    """Read what a bundle says."""
    return TypeAdapter(Golden).validate_json((bundle / "golden.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def bundles(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A bundle of the small model for every target; do not write."""
    folder = tmp_path_factory.mktemp("bundles")
    reference = torch_reference(mobilevit_tools.create_model(SMALL, random_weights=True))
    made = {}
    for source in sorted(exported.iterdir()):
        variant = Path(shutil.copytree(source, folder / source.name))
        manifest = read_manifest(variant / "manifest.json")
        inputs = build_inputs(manifest.contract.preprocessing, verification_photos())
        artifact = variant / manifest.artifact.file
        with load_session(artifact) as session:
            made[manifest.spec.target] = write_bundle(artifact, manifest, session, reference, inputs)
    return made
