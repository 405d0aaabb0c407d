import math

import torch
from torch import Generator

from handloom import warp
from handloom.data import augment
from handloom.params import AugmentParams

STILL = AugmentParams(rotation_deg=0.0, scale=0.0, shift=0.0, flip=0.0, color=0.0)
WILD = AugmentParams(rotation_deg=180.0, scale=0.3, shift=0.2, flip=0.5, color=0.3)


def seeded() -> Generator:
    return Generator().manual_seed(5)


def test_ranges_of_zero_change_nothing() -> None:
    affines = augment.draw_affines(STILL, 3, 16, seeded())
    assert torch.equal(affines, torch.eye(2, 3).repeat(3, 1, 1))
    images = torch.rand(3, 3, 16, 16) * 255
    assert torch.allclose(warp.warp_images(images, affines, 16), images, atol=1e-3)
    assert torch.allclose(augment.change_color(images, 0.0, seeded()), images, atol=1e-4)


def test_a_smaller_output_is_the_middle_of_the_picture() -> None:
    images = torch.rand(1, 3, 20, 20)
    warped = warp.warp_images(images, torch.eye(2, 3)[None], 16)
    assert torch.allclose(warped, images[..., 2:18, 2:18], atol=1e-5)


def test_a_mirror_moves_x_to_w_minus_1_minus_x() -> None:
    mirror = STILL.model_copy(update={"flip": 1.0})
    affines = augment.draw_affines(mirror, 1, 8, seeded())
    image = torch.arange(64.0).view(1, 1, 8, 8)
    assert torch.allclose(warp.warp_images(image, affines, 8), image.flip(-1), atol=1e-3)
    moved = warp.warp_points(torch.tensor([[[1.0, 6.0]]]), affines, 8)
    assert torch.allclose(moved, torch.tensor([[[6.0, 6.0]]]), atol=1e-5)


def test_points_go_where_the_picture_goes() -> None:
    """A white blob on a stored crop with a margin is found at its warped point: rotation, zoom, shift and mirror."""
    stored, size, count = 80, 64, 40
    margin = (stored - size) // 2
    points = torch.rand(count, 1, 2, generator=seeded()) * 20 + 22
    y, x = torch.meshgrid(torch.arange(stored), torch.arange(stored), indexing="ij")
    at = points[:, 0] + margin
    images = torch.exp(-((x - at[:, 0, None, None]) ** 2 + (y - at[:, 1, None, None]) ** 2) / (2 * 2.0**2))
    affines = augment.draw_affines(WILD, count, size, seeded())
    warped = warp.warp_images(images[:, None], affines, size)[:, 0]
    moved = warp.warp_points(points, affines, size)[:, 0]
    inside = ((moved > 8) & (moved < size - 9)).all(dim=1)
    assert inside.sum() > 15
    v, u = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    mass = warped.sum(dim=(1, 2))
    found = torch.stack([(warped * u).sum(dim=(1, 2)) / mass, (warped * v).sum(dim=(1, 2)) / mass], dim=1)
    assert (found - moved)[inside].abs().max() < 0.15


def test_colors_stay_in_range_and_differ_between_samples() -> None:
    images = torch.full((2, 3, 4, 4), 100.0)
    changed = augment.change_color(images, 0.5, seeded())
    assert changed.min() >= 0
    assert changed.max() <= 255
    assert not torch.equal(changed[0], changed[1])


def test_zoom_is_log_uniform_about_one() -> None:
    affines = augment.draw_affines(STILL.model_copy(update={"scale": 0.5}), 4000, 8, seeded())
    zoom = 1 / affines[:, 0, 0]
    assert zoom.min() >= 0.5 - 1e-6
    assert zoom.max() <= 2 + 1e-6
    assert math.isclose(zoom.log().mean().item(), 0, abs_tol=0.03)
