import math
import re
from collections.abc import Iterator
from datetime import date
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from handloom.errors import ParamsError
from handloom.params import Params

GOOD = Path("presets/default.yaml").read_text()
EARLY = GOOD[GOOD.index("early_fraction:") : GOOD.index("           # px\n  ema")]


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
        (
            EARLY,
            "early_fraction: 0.5\n  early_size: 100",
            "segment.early_size: must divide by segment.model's stem x 2",
        ),
        (EARLY, "early_fraction: 0.5\n  early_size: 160", "segment.early_size: at most preprocess.image_size = 128"),
        ("[1.0, 1.25]", "[1.0, 1.1]", "evaluate.mask_scales: image_size x scale must divide by 32, got '1.1', which"),
        ("synthetic: 1.0", "synthetic: some", "sources.synthetic: should be a valid number, got 'some'"),
        ("synthetic: 1.0", "synthetic: -1", "sources.synthetic: should be greater than or equal to 0, got '-1'"),
        ("synthetic: 1.0", "synthetic: 0", "sources: one must have a weight above 0, got '{'synthetic': 0"),
        ("synthetic: 1.0", "../synthetic: 1.0", "sources.../synthetic.[key]: String should match"),
        ("  sigma_px: 3.0", "  # gone", "pose.sigma_px: missing; add it"),
        ("epochs: ", "epochs: .nan # ", "segment.epochs: should be"),
        (
            "decoder: 0.5",
            "decoder: [1.0, 0.5]",
            "segment.model.decoder: must be one number, or 4 of them, got '[1.0, 0.",
        ),
        (
            "decoder: 0.5",
            "decoder: some",
            "segment.model.decoder: should be a number above 0, or a list of such, got 's",
        ),
        ("decoder: 0.5", "decoder: [1, 1, 1, -1]", "segment.model.decoder: should be a number above 0, or a list of"),
        ("decoder: 0.5", f"decoder: 1{'0' * 400}", "segment.model.decoder: should be a number above 0, or a list of"),
        ("decoder: 0.5", "decoder: true", "segment.model.decoder: should be a number above 0, or a list of such, got"),
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


def test_a_scale_that_makes_a_whole_size_but_for_rounding_serves(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(GOOD.replace("image_size: 128", "image_size: 800").replace("[1.0, 1.25]", "[1.0, 2.2]"))
    assert 2.2 * 800 != 1760
    assert Params.load(path).evaluate.mask_scales == [1.0, 2.2]


def test_scientific_notation_is_a_number(tmp_path: Path) -> None:
    assert loaded(tmp_path, "learning_rate: 0.005", "learning_rate: 5e-3").segment.learning_rate == 0.005


def test_a_decoder_of_a_width_for_each_level_is_for_a_unet(tmp_path: Path) -> None:
    assert loaded(tmp_path, "decoder: 0.5", "decoder: [1, 1, 0.5, 0.5]").segment.model.decoder == [1.0, 1.0, 0.5, 0.5]
    shape = GOOD[GOOD.index("unet  ") : GOOD.index("decoder: 0.5")]
    with pytest.raises(ParamsError, match=r"segment\.model\.decoder: must be one number, got '\[1\.0, 1\.0"):
        loaded(tmp_path, f"{shape}decoder: 0.5", shape.replace("unet", "mobilenet_fcn", 1) + "decoder: [1, 1, 1, 1]")


def test_a_whole_number_serves_as_a_float(tmp_path: Path) -> None:
    assert loaded(tmp_path, "sigma_px: 3.0", "sigma_px: 3").pose.sigma_px == 3.0


def test_a_missing_file_says_where_to_stand(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="no such file; run from the repository's root"):
        Params.load(tmp_path / "params.yaml")


def leaves(section: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in section.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


LEAVES = dict(leaves(YAML(typ="safe").load(GOOD)))
WRONG = {
    "a word": "seven",
    "a list": [[1]],
    "a section": {"a": 1},
    "no number": math.nan,
    "no end": math.inf,
    "negative": -1,
    "a switch": True,
    "a date": date(2026, 11, 28),
}


def changed(path: tuple[str, ...], key: str, value: Any) -> dict[str, Any]:
    """Give the default params with the leaf at `path` in its place under `key` and with `value`."""
    whole = YAML(typ="safe").load(GOOD)
    section = reduce(lambda place, name: place[name], path[:-1], whole)
    del section[path[-1]]
    section[key] = value
    return whole


def refusal(whole: Any) -> str:
    """Give what is said of params, "" where they are taken."""
    try:
        Params.parse(whole, "params.yaml")
    except ParamsError as error:
        return str(error)
    return ""


def accepts(value: Any, good: Any) -> bool:
    """Whether `value` is no mistake where `good` stands."""
    if isinstance(good, str | None):  # an address, a word of a list, or nothing yet
        return isinstance(value, str)
    return isinstance(value, type(good)) and isinstance(good, bool)


@pytest.mark.parametrize("path", LEAVES, ids=".".join)
def test_every_leaf_refuses_what_it_cannot_be(path: tuple[str, ...]) -> None:
    for kind, value in WRONG.items():
        if path[0] == "sources" and LEAVES[path] is None and kind in ("a switch", "negative"):
            value = -1.0
        if accepts(value, LEAVES[path]):
            continue
        said = refusal(changed(path, path[-1], value))
        assert said.startswith(f"params.yaml: {'.'.join(path)}"), f"{kind}: {said}"
        assert "\n" not in said


@pytest.mark.parametrize("path", [path for path in LEAVES if path[0] != "sources"], ids=".".join)
def test_every_misspelt_leaf_is_named_with_what_was_meant(path: tuple[str, ...]) -> None:
    key = path[-1]
    typo = key[:-2] + key[:-3:-1] if key[-1] != key[-2] else key + "x"
    said = refusal(changed(path, typo, LEAVES[path]))
    assert f"{'.'.join((*path[:-1], typo))}: unknown key; did you mean '{key}'?" in said
    without = changed(path, "x", 1)
    section = reduce(lambda place, name: place[name], path[:-1], without)
    del section["x"]
    assert f"{key}: missing; add it" in refusal(without)


def test_a_key_that_stands_twice_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r'not valid YAML, .*found duplicate key "epochs"') as caught:
        loaded(tmp_path, "  batch_size: 16", "  epochs: 3\n  batch_size: 16")
    assert "\n" not in str(caught.value)
    with pytest.raises(ParamsError, match='found duplicate key "pose"'):
        loaded(tmp_path, "evaluate:\n", "pose: {}\nevaluate:\n")


@example({"\n": None})
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8))  # fmt: skip
def test_any_yaml_is_params_or_one_line(value: Any) -> None:
    for whole in (value, {"sources": value}, changed(("pose", "epochs"), "epochs", value)):
        assert "\n" not in refusal(whole)


@given(st.text(max_size=200))
def test_any_text_is_params_or_one_line(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, "utf-8", errors="surrogatepass")
    with pytest.raises(ParamsError) as caught:
        Params.load(path)
    assert "\n" not in str(caught.value)


def test_no_value_reaches_a_shell() -> None:
    """DVC puts `${...}` of a command into a shell; no command of any pipeline holds one that params.yaml decides."""
    for path in (Path("dvc.yaml"), *Path("experiments").glob("*/dvc.yaml")):
        for stage in YAML(typ="safe").load(path)["stages"].values():
            cmd = stage.get("do", stage)["cmd"]
            assert set(re.findall(r"\$\{(.*?)\}", cmd)) <= {"item.net", "key"}, path
