"""(prediction, target) -> scalar."""

from torch import Tensor
from torch.nn import functional


def mask_cross_entropy(logits: Tensor, mask: Tensor) -> Tensor:
    """Give the mean binary cross-entropy per pixel; (B, H, W) logits of a hand, (B, H, W) 0 or 1."""
    return functional.binary_cross_entropy_with_logits(logits, mask)


def soft_iou(logits: Tensor, mask: Tensor) -> Tensor:
    """Give 1 - IoU of the hand's probability per picture, then the mean; (B, H, W) logits, (B, H, W) 0 or 1.

    The 1 added above and below makes an empty mask count for nothing but false hands.
    """
    probability = logits.sigmoid()
    intersection = (probability * mask).sum(dim=(1, 2))
    union = probability.sum(dim=(1, 2)) + mask.sum(dim=(1, 2)) - intersection
    return 1 - ((intersection + 1) / (union + 1)).mean()


def heatmap_cross_entropy(logits: Tensor, along_x: Tensor, along_y: Tensor, visible: Tensor) -> Tensor:
    """Give the mean cross-entropy between each visible keypoint's map and its separable target distribution.

    (B, K, H, W) logits; (B, K, W) and (B, K, H) marginals, each summing to 1; (B, K) bool. Since the target sums to 1,
    -sum(target * log_softmax) is logsumexp(logits) - sum(target * logits), and the second term factors.
    """
    expected = (logits * along_x.unsqueeze(-2)).sum(dim=-1).mul(along_y).sum(dim=-1)
    per_map = logits.flatten(2).logsumexp(dim=-1) - expected
    return (per_map * visible).sum() / visible.sum().clamp(min=1)
