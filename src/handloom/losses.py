"""(prediction, target) -> scalar."""

import torch
from torch import Tensor
from torch.nn import functional


def mask_cross_entropy(logits: Tensor, mask: Tensor, counted: Tensor | None = None) -> Tensor:
    """Give the mean binary cross-entropy per pixel; (B, H, W) logits of a hand, (B, H, W) 0 or 1.

    `counted` (B, H, W), 0 or 1, names the pixels that count; None: all.
    """
    if counted is None:
        return functional.binary_cross_entropy_with_logits(logits, mask)
    return binary_cross_entropy(logits, mask, counted)


def soft_iou(logits: Tensor, mask: Tensor, counted: Tensor | None = None) -> Tensor:
    """Give 1 - IoU of the hand's probability per picture, then the mean; (B, H, W) logits, (B, H, W) 0 or 1.

    The 1 added above and below makes an empty mask count for nothing but false hands. `counted` as above; the mask is 0
    where it is.
    """
    probability = logits.sigmoid() if counted is None else logits.sigmoid() * counted
    intersection = (probability * mask).sum(dim=(1, 2))
    union = probability.sum(dim=(1, 2)) + mask.sum(dim=(1, 2)) - intersection
    return 1 - ((intersection + 1) / (union + 1)).mean()


def centre_distance(offsets: Tensor, hands: Tensor) -> Tensor:
    """Give the mean distance between where hand pixels say their hand's centre lies and where it does.

    (B, 2, H, W) offsets (x, y) from each pixel to its hand's centre, in sides of the picture; (B, N, H, W), the share
    of each pixel that each of N hands covers. A centre is the mean of its hand's pixels.
    """
    height, width = hands.shape[-2:]
    along = [(torch.arange(n, device=hands.device) + 0.5) / n for n in (width, height)]
    places = torch.stack(torch.meshgrid(*along, indexing="xy"))
    distance = hands.new_zeros(())
    for own in hands.unbind(dim=1):
        pixels = own.sum(dim=(1, 2)).clamp(min=1)
        centre = (places * own.unsqueeze(1)).sum(dim=(2, 3)) / pixels.unsqueeze(1)
        away = (places + offsets - centre[..., None, None]).square().sum(dim=1).add(1e-8).sqrt()
        distance = distance + (away * own).sum()
    return distance / hands.sum(dim=1).sum().clamp(min=1)


def heatmap_cross_entropy(logits: Tensor, along_x: Tensor, along_y: Tensor, visible: Tensor) -> Tensor:
    """Give the mean cross-entropy between each visible keypoint's map and its separable target distribution.

    (B, K, H, W) logits; (B, K, W) and (B, K, H) marginals, each summing to 1; (B, K) bool. Since the target sums to 1,
    -sum(target * log_softmax) is logsumexp(logits) - sum(target * logits), and the second term factors.
    """
    expected = (logits * along_x.unsqueeze(-2)).sum(dim=-1).mul(along_y).sum(dim=-1)
    per_map = logits.flatten(2).logsumexp(dim=-1) - expected
    return _over_visible(per_map, visible)


def soft_argmax_distance(logits: Tensor, centres: Tensor, visible: Tensor) -> Tensor:
    """Give the mean distance between each visible keypoint and the mean of its map's softmax, map pixels.

    (B, K, H, W) logits; (B, K, 2) centres (x, y) in map pixels; (B, K) bool. Integral regression, Sun et al. 2018.
    """
    height, width = logits.shape[-2:]
    maps = torch.softmax(logits.flatten(2), dim=-1).view_as(logits)
    x = (maps.sum(dim=-2) * torch.arange(width, device=maps.device)).sum(dim=-1)
    y = (maps.sum(dim=-1) * torch.arange(height, device=maps.device)).sum(dim=-1)
    # 1e-6: the root's slope at 0 is infinite
    distance = ((torch.stack([x, y], dim=-1) - centres).square().sum(dim=-1) + 1e-6).sqrt()
    return _over_visible(distance, visible)


def map_l2(maps: Tensor, target: Tensor, visible: Tensor) -> Tensor:
    """Give the mean squared error per pixel of visible keypoints' maps; two (B, K, H, W), (B, K) bool."""
    return _over_visible((maps - target).square().mean(dim=(2, 3)), visible)


def map_weighted_l2(maps: Tensor, target: Tensor, visible: Tensor) -> Tensor:
    """Give the same with the target's half of the weight: a keypoint is a hundredth of its map."""
    weight = target / target.mean(dim=(2, 3), keepdim=True).clamp(min=1e-12) + 1
    return _over_visible(((maps - target).square() * weight).mean(dim=(2, 3)) / 2, visible)


def map_l1(maps: Tensor, target: Tensor, visible: Tensor) -> Tensor:
    """Give the mean absolute error per pixel of visible keypoints' maps."""
    return _over_visible((maps - target).abs().mean(dim=(2, 3)), visible)


def map_cross_entropy(logits: Tensor, target: Tensor, visible: Tensor) -> Tensor:
    """Give the mean binary cross-entropy per pixel of visible keypoints' maps; target in 0..1."""
    per_pixel = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return _over_visible(per_pixel.mean(dim=(2, 3)), visible)


def map_soft_iou(logits: Tensor, target: Tensor, visible: Tensor) -> Tensor:
    """Give 1 - soft IoU of visible keypoints' maps; target in 0..1."""
    said = logits.sigmoid()
    intersection = (said * target).sum(dim=(2, 3))
    union = (said + target - said * target).sum(dim=(2, 3))
    return _over_visible(1 - intersection / union.clamp(min=1e-6), visible)


def binary_cross_entropy(logits: Tensor, truth: Tensor, counted: Tensor) -> Tensor:
    """Give the mean binary cross-entropy where `counted` is 1, 0 where nothing counts; three tensors of one shape."""
    values = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return (values * counted).sum() / counted.sum().clamp(min=1)


def _over_visible(values: Tensor, visible: Tensor) -> Tensor:
    return (values * visible).sum() / visible.sum().clamp(min=1)
