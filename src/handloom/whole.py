"""Both nets and all that stands between them as one module, picture to hands, in operations that ONNX has.

It says what `HandFinder` says; where that one calls OpenCV or scipy, their arithmetic stands here as matrix products.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch._higher_order_ops.while_loop import while_loop
from torch.nn import functional

from handloom import masks, warp
from handloom.inference import HAND, NO_HAND, SAME_HAND, HandFinder
from handloom.models.unet import Output
from handloom.models.upright import Upright, single, turned, turns_of
from handloom.params import PoseParams, SegmentParams
from handloom.tasks import POSE, SEGMENT, full_size, mask_maps, params_of, read_pose


class Hands(NamedTuple):
    """The hands of one picture, largest first; the first dimension of each is their number."""

    boxes: Tensor
    """(N, 4) xyxy, px of the picture."""
    keypoints: Tensor
    """(N, 21, 3) x and y in px of the picture, probability of being visible."""
    right: Tensor
    """(N,) probability of a right hand."""
    scores: Tensor
    """(N,)."""
    numbers: Tensor
    """(N,) of each in `labels`."""
    labels: Tensor
    """(S, S) uint8 of the picture padded to a square: 0 no hand, else the number of its hand."""


MAX_HANDS = 16
"""Piles of votes that are looked at, highest first: arrays of a fixed size are what most runtimes do well."""


class Whole(nn.Module):
    """(H, W, 3) uint8 RGB and a least score -> Hands."""

    def __init__(self, finder: HandFinder) -> None:
        super().__init__()
        self.segment, self.pose = finder.segment.net, finder.pose.net
        self.mask_params: SegmentParams = params_of(SEGMENT, finder.segment.about)
        self.pose_params: PoseParams = params_of(POSE, finder.pose.about)
        self.size, self.crop_size, self.crop_scale = finder.size, finder.crop_size, finder.crop_scale

    def forward(self, picture: Tensor, min_score: Tensor) -> Hands:
        """Give the hands of one picture."""
        own = self._find(picture)
        keypoints, right, scores = self._read(picture, self._boxes(picture, own))
        owners, numbers = _owners(keypoints[..., :2], scores), torch.arange(own.shape[0])
        pixels = ((owners == numbers[:, None]).float() @ own.flatten(1).float()).view_as(own)  # each owner's
        enough = own.sum(dim=(1, 2)) >= masks.MIN_SHARE * self.size**2
        boxes = self._boxes(picture, pixels > 0)
        labels = (pixels * ((numbers + 1) * enough)[:, None, None]).amax(dim=0)
        kept = ((scores >= min_score) & enough & (owners == numbers)).nonzero().squeeze(1)
        return Hands(boxes[kept], keypoints[kept], right[kept], scores[kept], numbers[kept] + 1, labels.to(torch.uint8))

    def _boxes(self, picture: Tensor, own: Tensor) -> Tensor:
        """Give boxes (N, 4), px of the picture, of pixels (N, S, S)."""
        height, width = picture.shape[:2]
        step = torch.sym_max(height, width) / self.size
        edges = torch.tensor([1, 0, 1, 0]) * width + torch.tensor([0, 1, 0, 1]) * height
        boxes: Tensor = (_tight(own) * step).minimum(edges)
        return boxes

    def _find(self, picture: Tensor) -> Tensor:
        """Give each hand's pixels (N, S, S), largest first; N >= 1, so one may have none."""
        maps = self.segment(_shrunk(picture, self.size)[None]).maps
        maps = _without_padding(maps, picture.shape[0], picture.shape[1])
        where = mask_maps(self.mask_params)
        logits, small = full_size(maps[:, where["hand"]], self.size)[0, 0], maps[0, where["hand"]][0]
        if "centre" in where:
            along = (torch.arange(maps.shape[-1]) + 0.5) / maps.shape[-1]
            centres = maps[0, where["centre"]] + torch.stack(torch.meshgrid(along, along, indexing="xy"))
            right = maps[0, where["right"]][0] if "right" in where else None
            labels = _parted(small > 0, centres, right)
        else:
            labels = _regions(small > 0)
        labels = _enlarged(labels, logits > 0)
        own = labels == torch.arange(1, MAX_HANDS + 1)[:, None, None]
        sizes, order = own.sum(dim=(1, 2)).float().topk(MAX_HANDS)
        enough = sizes >= masks.MIN_SHARE * self.size**2
        enough[0] = True
        places = order[enough.nonzero().squeeze(1)]
        torch._check(places.shape[0] >= 1)
        torch._check(places.shape[0] <= MAX_HANDS)
        return own[places]

    def _said(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        said: Output = single(self.pose)(crops)
        return said.maps, said.numbers

    def _read(self, picture: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give keypoints (N, 21, 3), and how sure a right hand and a hand at all are (N,), of boxes (N, 4)."""
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2
        side = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1, keepdim=True) * self.crop_scale
        corner = centre - side / 2
        crops = _cropped(picture, corner, side, self.crop_size)
        if isinstance(self.pose, Upright):  # the same for all: a graph has no crops that it leaves out
            first = Output(*self._said(crops))
            turns = turns_of(first)
            maps, numbers = self._said(turned(crops, turns).round())
            numbers[:, HAND] = (numbers[:, HAND] + first.numbers[:, HAND]) / 2
            said = read_pose(maps, numbers, self.pose_params, self.crop_size)
            said["keypoints"] = warp.turned_back(said["keypoints"], turns, self.crop_size)
        else:
            said = read_pose(*self._said(crops), self.pose_params, self.crop_size)
        points_px = (said["keypoints"] + 0.5) * (side / self.crop_size)[:, None] + corner[:, None] - 0.5
        return torch.cat([points_px, said["visible"][..., None]], dim=-1), said["right"], said["hand"]


def _owners(points: Tensor, scores: Tensor) -> Tensor:
    """Do `inference._owners`; (N, 21, 2), (N,) -> (N,)."""
    extents = (points.amax(dim=1) - points.amin(dim=1)).amax(dim=1)
    apart = (points[:, None] - points).square().sum(dim=-1).sqrt().mean(dim=-1)
    owners = torch.where(apart <= SAME_HAND * extents, scores, -1.0).argmax(dim=1)
    for _ in range(4):  # the owner's own owner, along a chain of up to 16
        owners = owners[owners]
    return owners


def _without_padding(maps: Tensor, height: int, width: int) -> Tensor:
    """Do `inference.without_padding`; height and width may be symbols."""
    along, side = torch.arange(maps.shape[-1]), torch.sym_max(height, width)
    inside = (along[:, None] * side < height * maps.shape[-1]) & (along * side < width * maps.shape[-1])
    hand = torch.where(inside, maps[:, :1], maps[:, :1].clamp(max=-NO_HAND))
    return torch.cat([hand, maps[:, 1:]], dim=1)


def _shrunk(picture: Tensor, size: int) -> Tensor:
    """Do `images.shrink` of the picture padded to a square; (H, W, 3) -> (3, size, size), 0-255."""
    side = torch.sym_max(picture.shape[0], picture.shape[1])
    step = side / size
    along, first = torch.arange(side, dtype=torch.float64), torch.arange(size, dtype=torch.float64)[:, None] * step
    covered = ((first + step).minimum(along + 1) - first.maximum(along)).clamp(min=0) / step
    centres = (first + step / 2 - 0.5).clamp(min=0).minimum(along[-1])
    between = (1 - (along - centres).abs()).clamp(min=0)
    weights = torch.where(along[-1] + 1 < size, between, covered).float()
    return _resampled(picture, weights[:, : picture.shape[0]], weights[:, : picture.shape[1]])


def _cropped(picture: Tensor, corner: Tensor, side: Tensor, size: int) -> Tensor:
    """Do `images.crop` of squares; (H, W, 3), (N, 2), (N, 1) -> (N, 3, size, size), 0-255."""
    step = side / size
    factor = step.clamp(min=1.0).floor()  # squares of so many pixels are averaged first
    weights = []
    for axis, length in ((0, picture.shape[1]), (1, picture.shape[0])):
        places = torch.arange(length)
        square = (places / factor).floor()
        filled = (places == places[-1]) * (square * factor + factor - length)  # by the last pixel, beyond the picture
        share = (1 + filled) / factor
        centres = (corner[:, axis, None] + (torch.arange(size) + 0.5) * step) / factor - 0.5
        weights.append((1 - (square[:, None] - centres[..., None]).abs()).clamp(min=0) * share[:, None])
    return _resampled(picture, weights[1], weights[0])


def _resampled(picture: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Weigh rows (..., S, H) and columns (..., S, W) of a picture (H, W, 3) -> (..., 3, S, S)."""
    across = columns[..., None, :, :] @ picture.permute(2, 1, 0).float()  # (..., 3, S, H)
    return (across @ rows[..., None, :, :].mT).round().mT


def _parted(mask: Tensor, centres: Tensor, right: Tensor | None) -> Tensor:
    """Do `masks.part` but for the order; (S, S) bool, (2, S, S), (S, S) logits -> labels (S, S), 0 to MAX_HANDS."""
    cells = masks.CELLS
    column, row = (centres * cells).floor().long()
    counted = mask & ((centres >= 0) & (centres < 1)).all(dim=0)
    sides = [counted] if right is None else [counted & (right <= 0), counted & (right > 0)]
    where = (row * cells + column).clamp(0, cells**2 - 1).flatten()
    counts = [torch.zeros(cells**2).index_add(0, where, own.float().flatten()) for own in sides]
    spread = torch.from_numpy(masks.SPREAD).float()
    piles = spread @ torch.stack(counts).view(-1, 1, cells, cells) @ spread
    peaks = (piles == functional.max_pool2d(piles, 5, stride=1, padding=2)) & (piles > masks.MIN_PEAK * piles.max())
    heights, index = (piles * peaks).flatten().topk(MAX_HANDS)
    side, place = index // cells**2, torch.stack([index % cells, index // cells % cells], dim=1).float()
    beside = (place[:, None] - place).square().sum(dim=2) <= masks.ONE_HAND**2
    doubles = (beside & (side[:, None] != side) & (heights[:, None] < heights)).any(dim=1)
    apart = (centres[None] - ((place + 0.5) / cells)[:, :, None, None]).square().sum(dim=1)
    if right is not None:
        leaning = (right / 2).tanh() - (2 * side - 1)[:, None, None]
        apart = apart + masks.SIDE_REACH**2 * leaning.square()
    apart = torch.where(((heights > 0) & ~doubles)[:, None, None], apart, torch.inf)
    labels = _without_fragments((apart.argmin(dim=0) + 1) * mask)
    return labels if right is None else _united(labels, right)


def _enlarged(labels: Tensor, fine: Tensor) -> Tensor:
    """Do `masks._enlarged`; (h, h), (H, H) bool -> (H, H)."""
    factor, numbers = fine.shape[0] // labels.shape[0], labels.float()[None, None]
    across, down = (functional.max_pool2d(numbers, size, 1, [side // 2 for side in size]) for size in ((1, 3), (3, 1)))
    sides, corners = across.maximum(down), functional.max_pool2d(numbers, 3, 1, 1)
    reached = torch.where(numbers > 0, numbers, torch.where(sides > 0, sides, corners))[0, 0].long()
    return reached.repeat_interleave(factor, 0).repeat_interleave(factor, 1) * fine


def _united(labels: Tensor, right: Tensor) -> Tensor:
    """Do `masks._united` but for the order; (S, S) labels 0 to MAX_HANDS, (S, S) logits -> labels."""
    own = (labels == torch.arange(1, MAX_HANDS + 1)[:, None, None]).float()
    leanings = (own * (right / 2).tanh()).sum(dim=(1, 2)) / own.sum(dim=(1, 2)).clamp(min=1)
    beside = [(own[:, :, :-1], own[:, :, 1:]), (own[:, :-1], own[:, 1:])]
    touching = torch.stack([a.flatten(1) @ b.flatten(1).mT for a, b in beside]).sum(dim=0)
    alike = (leanings[:, None] - leanings).abs() < masks.ALIKE
    joined = ((touching + touching.mT) * alike + torch.eye(MAX_HANDS) > 0).float()
    for _ in range(4):  # what a chain of up to 16 joins
        joined = (joined @ joined > 0).float()
    return torch.cat([torch.zeros(1, dtype=torch.long), joined.argmax(dim=1) + 1])[labels]


def _regions(mask: Tensor) -> Tensor:
    """Do `masks.regions` but for the order; (S, S) bool -> labels (S, S), 0 to MAX_HANDS."""
    numbers = _fragments(mask.long())
    largest = _sizes(numbers).topk(MAX_HANDS).indices
    return ((numbers == largest[:, None, None]) * torch.arange(1, MAX_HANDS + 1)[:, None, None]).sum(dim=0) * mask


def _without_fragments(labels: Tensor) -> Tensor:
    """Take small fragments out of each hand, as `masks.part` does; labels (S, S), 0 to MAX_HANDS."""
    numbers = _fragments(labels)
    fragment = _sizes(numbers)[numbers]  # (S, S), the size of the one that each pixel is of
    own = labels == torch.arange(MAX_HANDS + 1)[:, None, None]
    least = torch.minimum(masks.FRAGMENT_SHARE * own.sum(dim=(1, 2)), (own * fragment).amax(dim=(1, 2)))
    return labels * (fragment >= least[labels])


def _sizes(numbers: Tensor) -> Tensor:
    """Count the pixels of each number but 0; (S, S) -> (S x S + 1,) float."""
    return torch.zeros(numbers.numel() + 1).index_add(0, numbers.flatten(), (numbers > 0).float().flatten())


def _fragments(labels: Tensor) -> Tensor:
    """Number the pixels of one label that touch, at corners too, alike; (S, S) -> (S, S), 0 where the label is.

    Every pixel begins with a number of its own, takes the highest among its neighbours of its label, then that of the
    pixel which had this number first, until nothing changes.
    """
    size = labels.shape[-1]
    shifts = [(dy, dx) for dy in range(3) for dx in range(3)]
    framed = functional.pad(labels, [1] * 4)
    alike = torch.stack([framed[dy : dy + size, dx : dx + size] == labels for dy, dx in shifts])

    def spread(numbers: Tensor, going: Tensor) -> tuple[Tensor, Tensor]:
        framed = functional.pad(numbers, [1] * 4)
        near = torch.stack([framed[dy : dy + size, dx : dx + size] for dy, dx in shifts])
        highest = (near * alike).amax(dim=0).flatten()
        jumped = highest[(highest - 1).clamp(min=0)].view(size, size) * (labels > 0)
        return jumped, (jumped != numbers).any()

    begin = (torch.arange(size**2).view(size, size) + 1) * (labels > 0)
    numbers: Tensor = while_loop(lambda numbers, going: going.clone(), spread, (begin, torch.tensor(True)))[0]
    return numbers


def _tight(own: Tensor) -> Tensor:
    """Do `masks.tight_box` for each; (N, S, S) bool -> (N, 4) xyxy."""
    edges = []
    for axis in (1, 2):  # folded away: rows for x, columns for y
        there = own.any(dim=axis).long()
        edges.append((there.argmax(dim=1), there.shape[1] - there.flip(1).argmax(dim=1)))
    (left, right), (top, bottom) = edges
    return torch.stack([left, top, right, bottom], dim=1).float()
