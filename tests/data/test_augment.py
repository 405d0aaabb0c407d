import math

import numpy as np
import pytest
import torch
from torch import Generator

from handloom import warp
from handloom.data import augment
from handloom.params import AugmentParams

STILL = AugmentParams(rotation_deg=0.0, scale=0.0, shift=0.0, flip=0.0, color=0.0, saturation=0.0, sharpness=0.0)
WILD = AugmentParams(rotation_deg=180.0, scale=0.3, shift=0.2, flip=0.5, color=0.3, saturation=1.0, sharpness=0.6)


def seeded() -> Generator:
    return Generator().manual_seed(5)


def test_ranges_of_zero_change_nothing() -> None:
    affines = augment.draw_affines(STILL, 3, 16, seeded())
    assert torch.equal(affines, torch.eye(2, 3).repeat(3, 1, 1))
    images = torch.rand(3, 3, 16, 16) * 255
    assert torch.allclose(warp.warp_images(images, affines, 16), images, atol=1e-3)
    pictures = images.permute(0, 2, 3, 1).to(torch.uint8)
    assert torch.equal(augment.change_look(pictures, STILL, seeded()), pictures)
    assert np.array_equal(augment.change_look(pictures.numpy(), STILL, seeded()), pictures)
    assert np.array_equal(warp.warp_pictures(pictures.numpy(), affines, 16), pictures)


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
    pictures = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None], (2, 256, 1, 3))
    changed = augment.change_color(pictures, 0.5, seeded()).astype(int)
    assert (np.diff(changed, axis=1) >= 0).all()  # what is too bright stays bright
    assert not np.array_equal(changed[0], changed[1])


def test_greys_stay_what_they_are_whatever_the_saturation() -> None:
    greys = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None], (8, 256, 4, 3))
    assert np.array_equal(augment.change_saturation(greys, 1.0, seeded()), greys)
    reds = np.full((200, 2, 2, 3), (160, 80, 80), np.uint8)
    apart = np.ptp(augment.change_saturation(reds, 1.0, seeded()), axis=-1)[:, 0, 0]
    assert apart.min() < 4  # from grey
    assert apart.max() > 155  # to twice as colorful


def test_sharpness_changes_detail_alone() -> None:
    flat = np.full((8, 32, 32, 3), 77, np.uint8)
    assert np.array_equal(augment.change_sharpness(flat, 0.6, seeded()), flat)
    board = np.where(np.indices((32, 32)).sum(axis=0) % 2, 138, 118).astype(np.uint8)
    changed = augment.change_sharpness(np.repeat(board[None, ..., None], 3, axis=-1).repeat(200, axis=0), 0.5, seeded())
    contrasts = np.ptp(changed[:, 8:24, 8:24], axis=(1, 2, 3)) / 20
    assert contrasts.min() == pytest.approx(0.5, abs=0.06)
    assert contrasts.max() == pytest.approx(2, abs=0.06)
    assert abs(changed.mean() - board.mean()) < 0.3


@pytest.mark.parametrize(("stored", "size", "channels"), [(160, 128, 3), (128, 128, 3), (160, 128, 1)])
def test_arrays_and_tensors_are_changed_alike(stored: int, size: int, channels: int) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (6, stored, stored, channels), np.uint8)
    affines = augment.draw_affines(WILD, 6, size, seeded())
    here = warp.warp_pictures(pictures, affines, size)
    there = warp.warp_pictures(torch.from_numpy(pictures), affines, size)
    assert np.abs(here.astype(int) - there.numpy()).max() <= 1
    if channels == 3:
        for change, most in ((augment.change_color, 2), (augment.change_saturation, 1), (augment.change_sharpness, 2)):
            changed, same = change(here, 0.5, seeded()), change(torch.from_numpy(here), 0.5, seeded())
            assert np.abs(changed.astype(int) - same.numpy()).max() <= most


def test_zoom_is_log_uniform_about_one() -> None:
    affines = augment.draw_affines(STILL.model_copy(update={"scale": 0.5}), 4000, 8, seeded())
    zoom = 1 / affines[:, 0, 0]
    assert zoom.min() >= 0.5 - 1e-6
    assert zoom.max() <= 2 + 1e-6
    assert math.isclose(zoom.log().mean().item(), 0, abs_tol=0.03)
