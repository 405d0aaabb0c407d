import json
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from handloom import images
from handloom.data import cutouts, pasting
from handloom.data.cutouts import Cutouts, parted
from handloom.data.source import OTHERS, UNKNOWN, Hand
from handloom.errors import DataError
from handloom.params import CutoutsParams

PARAMS = CutoutsParams(num_training=12, num_evaluation=4, relit=0.7)
RED, GREEN = (200, 60, 50), (0, 255, 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve red hands on a bright green ground, each a rectangle with two fingers that ends below at its wrist."""
    for number in range(12):
        mask = np.zeros((60, 50), np.uint8)
        mask[25:60, 10:40] = mask[5 + number : 25, 10:18] = mask[8:25, 30:38] = 255
        picture = np.where(mask[..., None] > 0, np.array(RED), np.array(GREEN)).astype(np.uint8)
        for kind, content in (("images", picture), ("masks", mask)):
            path = tmp_path / "some" / kind / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(images.encode_png(content))
    return tmp_path


def test_a_sample_depends_on_seed_split_and_id_alone(folder: Path) -> None:
    source = Cutouts(folder, (), PARAMS, seed=5)
    assert source.ids("training") == list(range(12))
    assert source.ids("evaluation") == list(range(4))
    first = source.sample("training", 3)
    source.sample("training", 4)
    again = Cutouts(folder, (), PARAMS, seed=5).sample("training", 3)
    assert first.picture.shape == (320, 320, 3)
    np.testing.assert_array_equal(first.picture, again.picture)
    np.testing.assert_array_equal(first.mask, again.mask)
    for other in (
        source.sample("evaluation", 3),
        source.sample("training", 4),
        Cutouts(folder, (), PARAMS, seed=6).sample("training", 3),
    ):
        assert not np.array_equal(first.picture, other.picture)


def test_held_out_cut_outs_and_photographs_serve_evaluation_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: dict[str, set[str]] = {"training": set(), "evaluation": set()}
    plain, photographed = cutouts._cutout, cutouts._photograph
    behind = [folder / "rooms" / f"{number}.png" for number in range(8)]
    for path in behind:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(images.encode_png(np.full((40, 40, 3), 90, np.uint8)))
    grounds: dict[str, set[Path]] = {"training": set(), "evaluation": set()}
    source = Cutouts(folder, behind, CutoutsParams(num_training=60, num_evaluation=30, relit=0.7), seed=5)
    for split, names in used.items():

        def noting_ground(path: Path, seen: set[Path] = grounds[split]) -> object:
            seen.add(path)
            return photographed(path)

        monkeypatch.setattr(cutouts, "_photograph", noting_ground)

        def noting(path: Path, names: set[str] = names) -> object:
            names.add(path.stem)
            return plain(path)

        monkeypatch.setattr(cutouts, "_cutout", noting)
        for sample_id in source.ids(split):
            source.sample(split, sample_id)
    assert used["evaluation"] == {path.stem for path in parted(source.hands)["evaluation"]}
    assert used["training"] == {str(number) for number in range(12)} - used["evaluation"]
    assert grounds["evaluation"] == set(parted(behind)["evaluation"])
    assert grounds["training"] == set(behind) - grounds["evaluation"]


def test_one_picture_more_moves_no_other_across() -> None:
    many = [Path("data/cutouts/some/images", f"{number}.png") for number in range(500)]
    before, after = parted(many[1:]), parted(many)
    assert 30 < len(before["evaluation"]) < 70
    for split in before:
        assert set(before[split]) <= set(after[split])
    assert parted([]) == {"training": [], "evaluation": []}
    for path in many:
        assert parted([path]) == {"training": [path], "evaluation": []}
    for pair in pairwise(many):
        assert {len(part) for part in parted(pair).values()} == {1}


def test_each_hand_has_a_label_and_its_ground_stays_behind(folder: Path) -> None:
    source = Cutouts(folder, (), PARAMS, seed=5)
    shown = [source.sample("training", sample_id) for sample_id in range(12)]
    assert {int(value) for sample in shown for value in np.unique(sample.mask)} == {0, *OTHERS[:2]}
    # a hand of any skin is redder than green: no seam of the cut-out's own bright green ground
    hands = np.concatenate([sample.picture[sample.mask > 0] for sample in shown]).astype(int)
    assert len(hands) > 10_000
    assert (hands[:, 1] - hands[:, 0] > 60).mean() < 0.01


def test_an_arm_is_no_hand(folder: Path) -> None:
    picture, hand, corner, _ = cutouts._cutout(folder / "some" / "images" / "3.png")
    longest = max(
        (pasting.dress(np.random.default_rng(seed), picture, hand, corner, None, 0.7) for seed in range(20)),
        key=lambda layer: layer.alpha.shape[0],
    )
    covered, own = (np.count_nonzero(values) for values in (longest.alpha, longest.hand))
    assert own <= np.count_nonzero(hand)
    assert covered > 1.5 * own
    assert not longest.hand[len(hand) :].any()
    assert not longest.hand[longest.alpha == 0].any()


def test_a_phone_s_cut_out_is_shrunk_and_its_marks_with_it(folder: Path) -> None:
    """A photograph of 20 times as many pixels along each axis: what is cut out of it keeps every other one."""
    own = [folder / "some" / kind / "3.png" for kind in ("images", "masks")]
    for path in own:
        path.write_bytes(images.encode_png(np.asarray(Image.open(path).resize((1000, 1200), Image.Resampling.NEAREST))))
    cutouts._cutout.cache_clear()
    picture, hand, corner, factor = cutouts._cutout(own[0])
    assert factor == 2
    assert hand.shape == picture.shape[:2] == (520, 300)
    assert corner == (200, 160)
    tips = np.tile(np.array([[280, 170], [680, 190], [279.5, 1199.5]], np.float32), (7, 1))
    source = Cutouts(folder, (), PARAMS, seed=5)
    source._marks[own[0]] = pasting.Marks(tips, np.ones(21, bool))
    layer = source._dressed(np.random.default_rng(0), own[0])
    assert layer.marks
    rows, columns = np.nonzero(layer.hand)
    apart = layer.marks.points[:3] - [columns.min(), rows.min()]
    np.testing.assert_allclose(apart, [[39.75, 4.75], [239.75, 14.75], [39.5, 519.5]], atol=0.01)


def test_what_systems_leave_behind_is_no_cut_out(folder: Path) -> None:
    (folder / "some" / "images" / ".DS_Store").write_bytes(b"")
    assert len(Cutouts(folder, (), PARAMS, seed=5).hands) == 12


def test_what_is_wrong_with_a_folder_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing: must hold \*/images and \*/masks, got none; put cut-outs there"):
        Cutouts(tmp_path / "nothing", (), PARAMS, seed=5)
    mask = folder / "some" / "masks" / "7.png"
    mask.unlink()
    with pytest.raises(DataError, match=r"7\.png: must have a mask, got no .*masks/7\.png"):
        Cutouts(folder, (), PARAMS, seed=5)
    mask.write_bytes(images.encode_png(np.zeros((60, 50), np.uint8)))
    with pytest.raises(DataError, match=r"masks/7\.png: must show a hand, got 'none'"):
        cutouts._cutout(folder / "some" / "images" / "7.png")
    mask.write_bytes(images.encode_png(np.full((9, 9), 255, np.uint8)))
    with pytest.raises(DataError, match=r"masks/7\.png: must be as large as its picture, got '\(9, 9\)'"):
        cutouts._cutout(folder / "some" / "images" / "7.png")


def test_one_cut_out_is_too_few(folder: Path) -> None:
    for number in range(1, 12):
        (folder / "some" / "images" / f"{number}.png").unlink()
    with pytest.raises(DataError, match="must hold two cut-outs, one is held out, got '1'; add others"):
        Cutouts(folder, (), PARAMS, seed=5)


MARKS = np.array([(25, 55), *((12 + 3 * i, 30 + 2 * i) for i in range(8)), *((33, 12 + 2 * i) for i in range(12))])


def mark(folder: Path, hands: int = 1) -> None:
    """Mark the same keypoints in each of the twelve, all visible but the second."""
    keypoints = np.column_stack([MARKS, np.where(np.arange(21) == 1, 1, 2)]).ravel().tolist()
    records = [{"id": number, "file_name": f"{number}.png"} for number in range(12)]
    annotations = [{"image_id": number, "side": "left", "keypoints": keypoints} for number in range(12)] * hands
    (folder / "some" / "keypoints.json").write_text(json.dumps({"images": records, "annotations": annotations}))


def test_marked_keypoints_go_where_their_hand_goes(folder: Path) -> None:
    params = CutoutsParams(num_training=60, num_evaluation=4, relit=0.7)
    before = Cutouts(folder, (), params, seed=5)
    mark(folder)
    source, shapes = Cutouts(folder, (), params, seed=5), 0
    for sample_id in source.ids("training"):
        sample = source.sample("training", sample_id)
        np.testing.assert_array_equal(sample.picture, before.sample("training", sample_id).picture)
        for hand in sample.hands:
            assert hand.side == UNKNOWN
            assert hand.keypoints_px is not None
            assert hand.visible is not None
            assert not hand.visible[1]
            column, row = np.rint(hand.keypoints_px[hand.visible]).astype(int).T
            labels = sample.mask[row.clip(0, 319), column.clip(0, 319)]
            assert (labels == np.bincount(labels).argmax()).mean() > 0.8
            if np.count_nonzero(hand.visible) < 20 or len(sample.hands) > 1:
                continue
            # the whole hand lies where the way of its keypoints takes the cut-out's mask
            way, _ = cv2.estimateAffine2D(MARKS.astype(np.float32), hand.keypoints_px)
            shape = np.zeros((60, 50), np.uint8)
            shape[25:60, 10:40] = shape[16:25, 10:18] = shape[8:25, 30:38] = 255
            moved = cv2.warpAffine(shape, way, (320, 320)) > 127
            own = sample.mask == np.bincount(labels).argmax()
            assert np.count_nonzero(moved & own) > 0.8 * np.count_nonzero(moved | own)
            shapes += 1
    assert shapes > 10


def test_what_is_pasted_later_hides_keypoints() -> None:
    marks = pasting.Marks((MARKS + 100).astype(np.float32), np.ones(21, bool))
    mask = np.zeros((320, 320), np.uint8)
    mask[100:170, 100:150] = 3
    whole = pasting.seen(marks, 3, mask, mask)
    assert isinstance(whole, Hand)
    assert whole.visible is not None
    assert whole.visible.all()
    mask[100:126, 130:140] = 4
    half = pasting.seen(marks, 3, mask, mask)
    assert half is not None
    assert half.visible is not None
    np.testing.assert_array_equal(half.visible, ~((MARKS[:, 0] >= 30) & (MARKS[:, 1] < 26)))
    mask[100:150, 100:150] = 4
    assert pasting.seen(marks, 3, mask, mask) is None
    assert pasting.seen(pasting.Marks(marks.points - 130, marks.visible), 3, mask, mask) is None


def test_a_sleeve_hides_the_wrist_alone(folder: Path) -> None:
    marks = pasting.Marks(MARKS.astype(np.float32), np.ones(21, bool))
    marks.points[0] = (25, 59.4)
    hidden = set()
    for seed in range(40):
        layer = pasting.dress(
            np.random.default_rng(seed), *cutouts._cutout(folder / "some/images/3.png")[:3], marks, 0.7
        )
        assert layer.marks is not None
        assert layer.marks.visible[1:].all()
        hidden.add(bool(layer.marks.visible[0]))
    assert hidden == {True, False}


def test_a_cut_out_with_two_hands_is_named(folder: Path) -> None:
    mark(folder, hands=2)
    with pytest.raises(DataError, match=r"keypoints\.json: must mark one hand a cut-out, got '2' of 0\.png; keep one"):
        Cutouts(folder, (), PARAMS, seed=5)


def test_another_light_comes_from_any_side_and_deepens_or_flattens_folds() -> None:
    rows, columns = np.mgrid[:80, :80]
    disc = (np.hypot(rows - 39.5, columns - 39.5) < 36).astype(np.uint8) * 255
    left, right = (np.where(columns < 40, disc, 0) > 0, np.where(columns >= 40, disc, 0) > 0)
    plain, folded = np.full((80, 80, 3), 120, np.uint8), np.full((80, 80, 3), 100, np.uint8)
    folded[:, (columns[0] // 4) % 2 == 1] = 140
    sides, depths = [], []
    for seed in range(40):
        gain = pasting._relit(np.random.default_rng(seed), plain, disc)[..., 0]
        assert gain.shape == (80, 80)
        assert 0.25**2 <= gain.min() <= gain.max() <= 1.8**2
        assert np.median(gain[disc > 0]) == pytest.approx(1, abs=0.1)
        sides.append(gain[right].mean() / gain[left].mean())
        lit = pasting._relit(np.random.default_rng(seed), folded, disc)[..., 0] * (folded[..., 0] / 120.0) ** 2
        depths.append(lit[disc > 0].std())
    assert min(sides) < 0.8
    assert max(sides) > 1.25
    as_it_was = ((folded[..., 0] / 120.0) ** 2)[disc > 0].std()
    assert min(depths) < 0.8 * as_it_was
    assert max(depths) > 1.5 * as_it_was
