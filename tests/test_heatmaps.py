import math

import torch

from handloom import heatmaps


def test_a_target_is_the_discrete_gaussian_written_out() -> None:
    row = heatmaps.encode(torch.tensor([1.0]), 3, sigma=1.0)[0]
    side = math.exp(-0.5)
    assert torch.allclose(row, torch.tensor([side, 1.0, side]) / (1 + 2 * side))


def test_a_centre_beyond_the_border_is_still_a_distribution() -> None:
    row = heatmaps.encode(torch.tensor([-40.0]), 8, sigma=0.5)[0]
    assert torch.isfinite(row).all()
    assert row.argmax() == 0
    assert torch.isclose(row.sum(), torch.tensor(1.0))


def test_map_coordinates_keep_pixel_centres() -> None:
    # the first map pixel of stride 2 covers input pixels 0 and 1: their middle is 0.5
    assert heatmaps.from_map(torch.tensor(0.0), 2) == 0.5
    assert heatmaps.to_map(torch.tensor(0.5), 2) == 0.0


def test_decode_undoes_encode_below_a_pixel() -> None:
    points = torch.tensor([[[20.3, 31.8], [5.0, 60.0], [40.49, 12.51]]])
    x, y = (heatmaps.encode(points[..., axis], 64, sigma=1.5) for axis in (0, 1))
    found, peaks = heatmaps.decode(heatmaps.dense(x, y), 4)
    assert (found - points).norm(dim=-1).max() < 0.05
    assert torch.allclose(peaks, (x.amax(-1) * y.amax(-1)), atol=1e-4)


def test_decode_without_a_window_gives_the_pixel_of_the_maximum() -> None:
    x, y = (
        heatmaps.encode(torch.tensor([[20.3]]), 64, sigma=1.5),
        heatmaps.encode(torch.tensor([[31.8]]), 64, sigma=1.5),
    )
    found, _ = heatmaps.decode(heatmaps.dense(x, y), 0)
    assert found.tolist() == [[[20.0, 32.0]]]


def test_decode_keeps_to_the_highest_mode_and_to_the_map() -> None:
    logits = torch.zeros(1, 2, 8, 8)
    logits[0, 0, 0, 0], logits[0, 0, 7, 7] = 30.0, 25.0  # one corner against the other
    logits[0, 1, 7, 0] = 40.0
    found, _ = heatmaps.decode(heatmaps.softmax(logits), 4)
    assert torch.allclose(found[0], torch.tensor([[0.0, 0.0], [0.0, 7.0]]), atol=1e-3)


def test_an_empty_map_is_read_as_its_first_pixel_and_says_nothing() -> None:
    found, peak = heatmaps.decode(torch.zeros(1, 1, 16, 16), 4)
    assert torch.isfinite(found).all()
    assert peak.item() == 0
    assert math.isclose(heatmaps.entropy(torch.zeros(1, 1, 16, 16)).item(), 1, abs_tol=1e-5)


def test_entropy_runs_from_one_pixel_to_all() -> None:
    maps = torch.zeros(1, 3, 4, 4)
    maps[0, 0, 1, 2] = 5.0
    maps[0, 1, 0, :2] = 3.0  # two of sixteen pixels: log 2 / log 16
    maps[0, 2] = 0.1
    assert torch.allclose(heatmaps.entropy(maps), torch.tensor([[0.0, 0.25, 1.0]]), atol=1e-5)


def test_the_response_box_holds_all_that_reaches_half_a_peak() -> None:
    maps = torch.zeros(2, 2, 5, 6)
    maps[0, 0, 1, 2], maps[0, 0, 4, 5] = 1.0, 0.4  # the second stays below half
    maps[0, 1, 3, 4] = 0.01  # its own peak, however low
    maps[1] = 0.2
    assert heatmaps.response_box(maps).tolist() == [[2, 1, 5, 4], [0, 0, 6, 5]]
