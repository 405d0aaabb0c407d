"""The prepared arrays as torch batches. Arrays are memory maps: opening costs nothing, reading is by row."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from handloom import warp
from handloom.data import augment
from handloom.data.mixture import Mixture
from handloom.data.source import IGNORE, LEFT, OTHERS, REFERENCE_PX, RIGHT
from handloom.errors import DataError
from handloom.geometry import Box
from handloom.params import AugmentParams, PoseAugmentParams
from handloom.skeleton import MIDDLE_MCP, WRIST

Weights = Mapping[str, float | None]
"""Of sources, by their names."""


class Mask(NamedTuple):
    """The mask net's target: (B, S, S) float, 0 or 1."""

    hand: Tensor
    right: Tensor
    """Whether of a right hand."""
    sided: Tensor
    """Whether of a hand whose side is known."""
    others: Tensor | None
    """(B, 3, S, S): each hand whose side is not; None where a batch has none."""
    counted: Tensor | None
    """What counts at all; None: everything."""


class Keypoints(NamedTuple):
    """The pose net's target."""

    points: Tensor
    """(B, 21, 2) pixels of the network input."""
    visible: Tensor
    """(B, 21) bool."""
    right: Tensor
    """(B,) float: 1 for a right hand, 0 for a left one."""
    sided: Tensor
    """(B,) float: 1 for a hand whose side is known."""
    marked: Tensor
    """(B,) float: 1 for a hand whose keypoints are known."""
    hand: Tensor
    """(B,) float: 1 for a hand, 0 for a crop that shows none."""
    mask: Tensor
    """(B, S, S) float, 1 where this hand is; all 0 on a predicted crop."""


def _load(folder: Path, name: str) -> Any:
    path = folder / f"{name}.npy"
    try:
        return np.load(path, mmap_mode="r")
    except FileNotFoundError:
        raise DataError(f"{path}: no such array; run `python -m pipeline.stage preprocess`") from None
    except (ValueError, EOFError) as error:
        raise DataError(f"{path}: not a whole .npy file, {error}; run `dvc repro preprocess`") from None


def load_facts(folder: Path) -> dict[str, Any]:
    """Give what preprocess wrote about a set: source, image_size, crop_scale; pictures or hands per split as `rows`."""
    path = folder / "facts.json"
    if not path.exists():
        raise DataError(f"{path}: no such file; run `python -m pipeline.stage preprocess`")
    facts: dict[str, Any] = json.loads(path.read_text())
    return facts


def _input(pictures: Any) -> Tensor:
    """Give pictures (B, H, W, 3) uint8, array or tensor, as (B, 3, H, W) float, 0-255."""
    return torch.as_tensor(pictures).permute(0, 3, 1, 2).float()


def _bytes(where: Any) -> Any:
    """Give (B, H, W) of bools or 0 and 1, array or tensor, as (B, H, W, 1) uint8, 0 or 255."""
    values = where.to(torch.uint8) if isinstance(where, Tensor) else where.view(np.uint8)
    return (values * 255)[..., None]


@dataclass(frozen=True)
class SegmentSet:
    """One split of the segment set."""

    images: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    """0 background, else a value of `source`."""
    ids: NDArray[np.int32]
    sources: NDArray[np.uint8]
    """Places in `names`."""
    size: int
    names: tuple[str, ...]
    mixture: Mixture

    @classmethod
    def load(cls, folder: Path, split: str, weights: Weights | None = None) -> Self:
        """Open a split, whose sources are mixed by their weights; raises DataError where it is not there."""
        arrays = {name: _load(folder, f"{split}_{name}") for name in ("images", "masks", "ids", "sources")}
        facts = load_facts(folder)
        names = tuple(facts["sources"])
        return cls(**arrays, size=facts["image_size"], names=names, mixture=_mixture(arrays["sources"], names, weights))

    def __len__(self) -> int:
        return len(self.images)

    def on(self, device: torch.device) -> Self:
        """Give the same with its pictures and masks in a GPU's memory, where they are then changed as well."""
        return replace(self, images=_there(self.images, device), masks=_there(self.masks, device))

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, Mask]:
        """Give pictures (B, 3, S, S) and their masks."""
        masks = torch.as_tensor(self.masks[rows])
        covers = {value: masks == value for value in _values(masks)}
        return _input(self.images[rows]), _mask(covers, masks > 0, masks == RIGHT)

    def hands(self, rows: Any = slice(None)) -> NDArray[np.bool_]:
        """Give where hands are; (N, S, S), or (S, S) of one row."""
        masks = self.masks[rows]
        return np.asarray((masks > 0) & (masks != IGNORE))

    def counted(self) -> NDArray[np.bool_]:
        """Give what counts at all, (N, S, S)."""
        return np.asarray(self.masks[:] != IGNORE)

    def augmented(
        self, rows: NDArray[np.int64], params: AugmentParams, draw: Generator, size: int | None = None
    ) -> tuple[Tensor, Mask]:
        """Give the same after random changes, in another size if one is given; mirrored left hands are right ones."""
        size = size or self.size
        affines = warp.scaled(augment.draw_affines(params, len(rows), self.size, draw), self.size / size)
        masks = self.masks[rows]
        warped = warp.warp_pictures(self.images[rows], affines, size)
        nothing = torch.zeros((len(rows), size, size), dtype=torch.uint8, device=getattr(masks, "device", None))
        shares = {value: _warped(masks == value, affines, nothing) for value in _values(torch.as_tensor(masks))}
        labelled = sum((share.int() for share in shares.values()), nothing.int()) >= 128
        left, right = shares.get(LEFT, nothing), shares.get(RIGHT, nothing)
        if len(shares.keys() - {LEFT, RIGHT}):
            most = torch.stack(list(shares.values())).amax(dim=0)
            covers = {value: labelled & (share == most) for value, share in shares.items()}
        else:
            covers = {}
        mirrored = warp.mirrored(affines).to(labelled.device)[:, None, None]
        pictures = _input(augment.change_look(warped, params, draw))
        return pictures, _mask(covers, labelled, (right > left) != mirrored)


def _values(masks: Tensor) -> list[int]:
    """Give which labels masks show."""
    return [value for value in (LEFT, RIGHT, *OTHERS, IGNORE) if (masks == value).any()]


def _warped(where: Any, affines: Tensor, nothing: Tensor) -> Tensor:
    """Warp (B, S, S) bools; -> uint8, 0 to 255. Pictures without any, of a hand often a half, are left as they are."""
    there = torch.as_tensor(where).flatten(1).any(dim=1)
    chosen = there if isinstance(where, Tensor) else there.numpy()
    warped = nothing.clone()
    shares = warp.warp_pictures(_bytes(where[chosen]), affines[there.cpu()], nothing.shape[-1])
    warped[there] = torch.as_tensor(shares)[..., 0]
    return warped


def _mask(covers: Mapping[int, Tensor], labelled: Tensor, right: Tensor) -> Mask:
    """Give the target of masks by what each label covers, what any does, and what of that is of a right hand."""
    if not covers.keys() - {LEFT, RIGHT}:
        hand = labelled.float()
        return Mask(hand, (labelled & right).float(), hand, None, None)
    ignored = covers.get(IGNORE, torch.zeros_like(labelled))
    others = [covers[value].float() if value in covers else torch.zeros_like(ignored).float() for value in OTHERS]
    hand = labelled & ~ignored
    sided = hand & ~torch.stack(others).any(dim=0)
    return Mask(hand.float(), (sided & right).float(), sided.float(), torch.stack(others, dim=1), (~ignored).float())


def _mixture(sources: NDArray[np.uint8], names: tuple[str, ...], weights: Weights | None) -> Mixture:
    return Mixture.of(sources[:], names, weights) if weights else Mixture.of_all(len(sources))


def _there(array: Any, device: torch.device) -> Any:
    return torch.from_numpy(np.array(array)).to(device)


@dataclass(frozen=True)
class PoseSet:
    """One split of the pose set; row i is one hand, or in the train split a crop that shows none."""

    images: NDArray[np.uint8]
    """(M, C, C, 3): the crop and its margin."""
    keypoints: NDArray[np.float32]
    visible: NDArray[np.bool_]
    boxes: NDArray[np.float32]
    pck_px: NDArray[np.float32]
    sides: NDArray[np.uint8]
    dominant: NDArray[np.bool_]
    masks: NDArray[np.uint8]
    """(M, C, C / 8): this hand's mask, eight pixels a byte."""
    ids: NDArray[np.int32]
    sources: NDArray[np.uint8]
    """Places in `names`."""
    picture_px: NDArray[np.int32]
    """(M,) longer side of the source picture."""
    size: int
    crop_scale: float
    """Side of a crop over the longer side of its mask's box."""
    names: tuple[str, ...]
    mixture: Mixture

    @classmethod
    def load(cls, folder: Path, split: str, weights: Weights | None = None) -> Self:
        """Open a split, whose sources are mixed by their weights; raises DataError where it is not there."""
        columns = ("images", "keypoints", "visible", "boxes", "pck_px", "sides", "dominant", "masks", "ids", "sources")
        arrays = {name: _load(folder, f"{split}_{name}") for name in (*columns, "picture_px")}
        facts = load_facts(folder)
        names = tuple(facts["sources"])
        return cls(
            **arrays,
            size=facts["image_size"],
            crop_scale=facts["crop_scale"],
            names=names,
            mixture=_mixture(arrays["sources"], names, weights),
        )

    def __len__(self) -> int:
        return len(self.images)

    def moved(self, images: NDArray[np.uint8], boxes: NDArray[np.float32], keypoints: NDArray[np.float32]) -> Self:
        """Give the same hands on other crops (M, C, C, 3) of boxes (M, 4), with any margin, and without masks."""
        nothing = np.zeros((*images.shape[:2], -(-images.shape[2] // 8)), np.uint8)
        return replace(self, images=images, boxes=boxes, keypoints=keypoints, masks=nothing)

    @property
    def to_reference(self) -> NDArray[np.float32]:
        """(M,) by which px of each row's picture become those of figures: of a picture as large as RHD's, 320 px."""
        return np.float32(REFERENCE_PX) / self.picture_px[:].astype(np.float32)

    def box(self, row: int) -> Box:
        """Give the box of a row's crop in its source picture."""
        return Box(*map(float, self.boxes[row]))

    def on(self, device: torch.device) -> Self:
        """Give the same with its crops and masks in a GPU's memory, where they are then changed as well."""
        return replace(self, images=_there(self.images, device), masks=_there(self.masks, device))

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, Keypoints]:
        """Give crops (B, 3, S, S) without their margin, and their keypoints."""
        margin = (self.images.shape[1] - self.size) // 2
        inner = slice(margin, margin + self.size)
        mask = torch.as_tensor(self._masks(rows)[:, inner, inner, 0])
        return _input(self.images[rows][:, inner, inner]), self._truth(rows)._replace(mask=(mask >= 128).float())

    def augmented(
        self, rows: NDArray[np.int64], params: PoseAugmentParams, draw: Generator, size: int | None = None
    ) -> tuple[Tensor, Keypoints]:
        """Give the same after random changes, at another size where one is given.

        A keypoint that leaves the crop counts as not visible.
        """
        size = size or self.size
        affines = augment.draw_affines(params, len(rows), self.size, draw)
        truth = self._truth(rows)
        points = truth.points
        turned = torch.rand(len(rows), generator=draw) < params.upright
        turns = warp.upright(points[:, WRIST], points[:, MIDDLE_MCP])[..., :2]
        affines = warp.scaled(torch.where(turned[:, None, None], turns @ affines, affines), self.size / size)
        warped = warp.warp_pictures(self.images[rows], affines, size)
        mask = torch.as_tensor(warp.warp_pictures(self._masks(rows), affines, size)[..., 0])
        points = warp.warp_points(points, affines, self.size, size)
        inside = ((points > -0.5) & (points < size - 0.5)).all(dim=-1)
        pictures = _input(augment.change_look(warped, params, draw))
        right = (truth.right != warp.mirrored(affines).float()).float()
        visible, shown = truth.visible & inside, (mask >= 128).float()
        return pictures, truth._replace(points=points, visible=visible, right=right, mask=shown)

    def _masks(self, rows: NDArray[np.int64]) -> Any:
        """Give the masks of stored crops; (B, C, C, 1) uint8, 0 or 255."""
        bits = self.masks[rows]
        if isinstance(bits, Tensor):
            each = torch.arange(7, -1, -1, dtype=torch.uint8, device=bits.device)
            return _bytes((bits[..., None] >> each & 1).flatten(2)[..., : self.images.shape[2]])
        return _bytes(np.unpackbits(bits, axis=-1, count=self.images.shape[2]))

    def _truth(self, rows: NDArray[np.int64]) -> Keypoints:
        """Give all but the mask."""
        sides, visible = self.sides[rows], self.visible[rows]
        facts = (sides == RIGHT, (sides == LEFT) | (sides == RIGHT), visible.any(axis=1), sides > 0)
        right, sided, marked, hand = (torch.from_numpy(fact).float() for fact in facts)
        points, none = torch.from_numpy(self.keypoints[rows]), torch.empty(0)
        return Keypoints(points, torch.from_numpy(visible), right, sided, marked, hand, none)
