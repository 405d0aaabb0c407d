import torch

from handloom import warp

BELOW = torch.tensor([[10.0, 20.0], [30.0, 30.0], [5.0, 5.0]])
ABOVE = torch.tensor([[10.0, 5.0], [40.0, 30.0], [5.0, 25.0]])


def test_upright_shows_one_point_straight_above_the_other() -> None:
    turns = warp.upright(BELOW, ABOVE)
    moved = warp.warp_points(torch.stack([BELOW, ABOVE], dim=1), turns, 48)
    way = moved[:, 1] - moved[:, 0]
    assert torch.allclose(way, torch.tensor([[0.0, -15.0], [0.0, -10.0], [0.0, -20.0]]), atol=1e-4)


def test_points_in_one_place_turn_nothing() -> None:
    assert torch.equal(warp.upright(BELOW, BELOW), torch.eye(2, 3).repeat(3, 1, 1))


def test_back_undoes_a_turn() -> None:
    turns = warp.upright(BELOW, ABOVE)
    there = warp.warp_points(BELOW[:, None], turns, 48)
    assert torch.allclose(warp.warp_points(there, warp.back(turns), 48), BELOW[:, None], atol=1e-4)


def test_a_quarter_turn_moves_pixels_as_it_moves_points() -> None:
    picture = torch.zeros(1, 1, 8, 8)
    picture[0, 0, 2, 6] = 1.0
    turns = warp.upright(torch.tensor([[1.0, 4.0]]), torch.tensor([[6.0, 4.0]]))  # what points right will point up
    assert torch.allclose(warp.warp_images(picture, turns, 8)[0, 0], picture[0, 0].rot90(), atol=1e-5)
    (x, y) = warp.warp_points(torch.tensor([[[6.0, 2.0]]]), turns, 8)[0, 0].tolist()
    assert picture[0, 0].rot90()[round(y), round(x)] == 1


def test_turns_drawn_on_the_processor_warp_what_a_device_holds() -> None:
    pictures = torch.zeros(3, 8, 8, 3, dtype=torch.uint8, device="meta")  # holds nothing, and is no processor
    warped = warp.warp_pictures(pictures, warp.upright(BELOW, ABOVE), 6)
    assert (warped.device.type, warped.shape) == ("meta", (3, 6, 6, 3))


def test_beyond_the_border_are_zeros_where_asked() -> None:
    turns = warp.upright(torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, -1.0]]))
    assert warp.warp_images(torch.ones(1, 1, 8, 8), turns, 8, padding="zeros")[0, 0, 0, 0] == 0
    assert torch.allclose(warp.warp_images(torch.ones(1, 1, 8, 8), turns, 8), torch.ones(1, 1, 8, 8))
