import math

import torch

from handloom import losses


def test_heatmap_cross_entropy_is_that_of_the_dense_target() -> None:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 5, 4, generator=draw)
    x = torch.softmax(torch.randn(2, 3, 4, generator=draw), -1)
    y = torch.softmax(torch.randn(2, 3, 5, generator=draw), -1)
    visible = torch.tensor([[True, False, True], [False, False, True]])
    dense = -(y.unsqueeze(-1) * x.unsqueeze(-2) * torch.log_softmax(logits.flatten(2), -1).view_as(logits)).sum(
        (-1, -2)
    )
    assert torch.isclose(losses.heatmap_cross_entropy(logits, x, y, visible), dense[visible].mean(), atol=1e-5)


def test_a_flat_map_costs_the_log_of_its_pixels() -> None:
    uniform = torch.full((1, 1, 4), 0.25)
    seen = torch.ones(1, 1, dtype=torch.bool)
    loss = losses.heatmap_cross_entropy(torch.zeros(1, 1, 4, 4), uniform, uniform, seen)
    assert math.isclose(loss.item(), math.log(16), rel_tol=1e-6)


def test_its_gradient_is_prediction_minus_target() -> None:
    logits = torch.zeros(1, 1, 1, 2, requires_grad=True)
    one, x = torch.ones(1, 1, 1), torch.tensor([[[1.0, 0.0]]])
    losses.heatmap_cross_entropy(logits, x, one, torch.ones(1, 1, dtype=torch.bool)).backward()
    assert logits.grad is not None
    assert torch.allclose(logits.grad.flatten(), torch.tensor([-0.5, 0.5]))


def test_no_visible_keypoint_costs_nothing() -> None:
    x = torch.full((1, 1, 2), 0.5)
    assert losses.heatmap_cross_entropy(torch.ones(1, 1, 2, 2), x, x, torch.zeros(1, 1, dtype=torch.bool)) == 0


def test_soft_iou_of_sure_predictions_is_the_iou() -> None:
    mask = torch.tensor([[[1, 1], [0, 0]], [[0, 0], [0, 0]]]).float()
    sure = torch.tensor([[[1, 0], [1, 0]], [[0, 0], [0, 0]]]).float() * 200 - 100
    # first picture: 1 pixel of 3, with the added ones 2 of 4; second: nothing against nothing, 1 of 1
    assert torch.isclose(losses.soft_iou(sure, mask), torch.tensor(1 - (2 / 4 + 1) / 2), atol=1e-5)


def test_mask_cross_entropy_by_hand() -> None:
    logits, mask = torch.tensor([[[0.0, math.log(3.0)]]]), torch.tensor([[[1.0, 0.0]]])
    # half sure of a hand that is there, three quarters of one that is not
    expected = -(math.log(0.5) + math.log(0.25)) / 2
    assert math.isclose(losses.mask_cross_entropy(logits, mask).item(), expected, rel_tol=1e-6)


ONE = torch.ones(1, 1, dtype=torch.bool)


def test_losses_of_maps_by_hand() -> None:
    target, maps = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]]), torch.tensor([[[[0.5, 0.0], [0.0, 0.2]]]])
    assert math.isclose(losses.map_l2(maps, target, ONE).item(), (0.25 + 0.04) / 4, rel_tol=1e-6)
    assert math.isclose(losses.map_l1(maps, target, ONE).item(), (0.5 + 0.2) / 4, rel_tol=1e-6)
    # the target's mean is a quarter, so its pixel weighs 1 / 0.25 + 1 = 5 and the others 1
    assert math.isclose(losses.map_weighted_l2(maps, target, ONE).item(), (5 * 0.25 + 0.04) / 4 / 2, rel_tol=1e-6)


def test_losses_of_logit_maps_by_hand() -> None:
    target, flat = torch.tensor([[[[1.0, 0.0]]]]), torch.zeros(1, 1, 1, 2)
    assert math.isclose(losses.map_cross_entropy(flat, target, ONE).item(), math.log(2), rel_tol=1e-6)
    # half of the target of 1; union 1 + 0.5
    assert math.isclose(losses.map_soft_iou(flat, target, ONE).item(), 1 - 0.5 / 1.5, rel_tol=1e-6)
    nobody = torch.zeros(1, 1, dtype=torch.bool)
    assert losses.map_soft_iou(flat, target, nobody) == losses.map_cross_entropy(flat, target, nobody) == 0


def test_soft_argmax_distance_by_hand() -> None:
    logits = torch.zeros(1, 1, 3, 3)  # the mean of a flat map is its middle, (1, 1)
    distance = losses.soft_argmax_distance(logits, torch.tensor([[[1.0, 4.0]]]), ONE)
    assert math.isclose(distance.item(), 3.0, rel_tol=1e-5)


def test_binary_cross_entropy_counts_what_it_is_told_to() -> None:
    logits, truth = torch.tensor([0.0, 50.0]), torch.tensor([1.0, 0.0])
    first = losses.binary_cross_entropy(logits, truth, torch.tensor([1.0, 0.0]))
    assert math.isclose(first.item(), math.log(2), rel_tol=1e-6)
    assert losses.binary_cross_entropy(logits, truth, torch.zeros(2)) == 0


def test_centres_are_the_means_of_each_hands_pixels() -> None:
    left, right = torch.zeros(1, 8, 8), torch.zeros(1, 8, 8)
    left[0, 2:4, 0:4] = 1
    right[0, 6:8, 4:8] = 1
    along = (torch.arange(8) + 0.5) / 8
    places = torch.stack(torch.meshgrid(along, along, indexing="xy"))
    true = torch.where(left > 0, torch.tensor([2 / 8, 3 / 8]).view(2, 1, 1), torch.tensor([6 / 8, 7 / 8]).view(2, 1, 1))
    ways, hands = (true - places).unsqueeze(0), torch.stack([left, right], dim=1)
    assert losses.centre_distance(ways, hands) < 1e-3
    assert torch.isclose(losses.centre_distance(ways + 0.1, hands), torch.tensor(0.1 * 2**0.5), atol=1e-3)
    assert losses.centre_distance(ways, hands * 0) == 0
