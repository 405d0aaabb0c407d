from pathlib import Path

import pytest

from handloom.errors import ParamsError
from handloom.params import Params

GOOD = Path("presets/default.yaml").read_text()


def loaded(tmp_path: Path, old: str, new: str) -> Params:
    assert old in GOOD
    path = tmp_path / "params.yaml"
    path.write_text(GOOD.replace(old, new, 1))
    return Params.load(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("warmup_fraction:", "warmup_fracton:", "segment.warmup_fracton: unknown key; did you mean 'warmup_fraction'?"),
        ("batch_size: 16", "batch_size: sixteen", "segment.batch_size: should be a valid integer, got 'sixteen'"),
        ("batch_size: 16", "batch_size: 16.5", "segment.batch_size: should be a valid integer, got '16.5'"),
        ("batch_size: 16", "batch_size: true", "segment.batch_size: should be a valid integer, got 'True'"),
        ("parts: 2", "parts: 5", "segment.batch_size: must divide by parts = 5, got '16'; change either"),
        ("epochs: ", "epochs: -", "segment.epochs: should be greater than 0, got '-"),
        ("image_size: 128", "image_size: 100", "preprocess.image_size: should be a multiple of 16, got '100'"),
        ("image_size: 128", "image_size: 144", "got '144'; choose another size, stem or depth"),
        ("[1.0, 1.25]", "[1.0, 1.1]", "evaluate.mask_scales: image_size x scale must divide by 32, got '1.1', which"),
        ("synthetic: 1.0", "synthetic: some", "sources.synthetic: should be a valid number, got 'some'"),
        ("synthetic: 1.0", "synthetic: -1", "sources.synthetic: should be greater than or equal to 0, got '-1'"),
        ("synthetic: 1.0", "synthetic: 0", "sources: one must have a weight above 0, got '{'synthetic': 0"),
        ("synthetic: 1.0", "../synthetic: 1.0", "sources.../synthetic.[key]: String should match"),
        ("  sigma_px: 3.0", "  # gone", "pose.sigma_px: missing; add it"),
        ("epochs: ", "epochs: .nan # ", "segment.epochs: should be"),
        ("clip_norm: 1.0", "clip_norm: [1]", "segment.clip_norm: should be a valid number, got '[1]'"),
        ("download:", "download: [", "not valid YAML"),
    ],
)
def test_a_wrong_value_is_named_in_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ParamsError) as caught:
        loaded(tmp_path, old, new)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "params.yaml"))


def test_scientific_notation_is_a_number(tmp_path: Path) -> None:
    assert loaded(tmp_path, "learning_rate: 0.005", "learning_rate: 5e-3").segment.learning_rate == 0.005


def test_a_whole_number_serves_as_a_float(tmp_path: Path) -> None:
    assert loaded(tmp_path, "sigma_px: 3.0", "sigma_px: 3").pose.sigma_px == 3.0


def test_a_missing_file_says_where_to_stand(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="no such file; run from the repository's root"):
        Params.load(tmp_path / "params.yaml")
