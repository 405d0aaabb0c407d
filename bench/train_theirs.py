"""The peers' sides of the training test: masks by nets of other packages, keypoints the plain way.

NAME is `smp`, `monai-unet`, `monai-basic-unet` or `plain`; FOLDER holds prepared arrays. Adam at 0.001, batches of 16,
binary cross-entropy, two threads, float32 channels-last; `plain` reads a folder of PNG files through a DataLoader,
makes dense heatmaps of peak 1 and minimises their squared error with a plain U-Net.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from turns import answer

_, name, folder = sys.argv
BATCH = 16
torch.manual_seed(0)
draw = np.random.default_rng(0)


def net() -> nn.Module:
    """Give the peer's net, three channels in, one map out (`plain`: 21)."""
    if name == "smp":
        import segmentation_models_pytorch as smp

        return smp.Unet("mobilenet_v2", encoder_weights=None)
    from monai.networks.nets import BasicUNet, UNet

    if name == "monai-unet":
        return UNet(2, 3, 1, channels=(16, 32, 64, 128, 256), strides=(2, 2, 2, 2), num_res_units=2)
    return BasicUNet(2, 3, 21 if name == "plain" else 1)


def load(array: str) -> np.ndarray:
    """Open a prepared array."""
    return np.load(Path(folder, "pose" if name == "plain" else "segment", f"{array}.npy"), mmap_mode="r")


def to_net(pictures: np.ndarray) -> Tensor:
    """Give pictures (B, S, S, 3) as the nets take them."""
    values = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    return values.contiguous(memory_format=torch.channels_last)


model = net().to(memory_format=torch.channels_last)
optimizer = torch.optim.Adam(model.parameters(), 0.001)


def step(pictures: Tensor, target: Tensor) -> int:
    """Make one step."""
    said = model.train()(pictures)
    loss = nn.functional.mse_loss if name == "plain" else nn.functional.binary_cross_entropy_with_logits
    optimizer.zero_grad()
    loss(said, target).backward()
    optimizer.step()
    return len(pictures)


def masks() -> None:
    """Train on pictures and masks."""
    images, truth = load("train_images"), load("train_masks")

    def work() -> int:
        rows = np.sort(draw.choice(len(images), BATCH, replace=False))
        return step(to_net(images[rows]), torch.from_numpy(truth[rows] > 0).float().unsqueeze(1))

    @torch.inference_mode()
    def score() -> float:
        images, truth, ious = load("val_images"), load("val_masks") > 0, []
        for start in range(0, len(images), BATCH):
            said = model.eval()(to_net(images[start : start + BATCH])).numpy()[:, 0] > 0
            true = truth[start : start + BATCH]
            both, either = (said & true).sum((1, 2)), (said | true).sum((1, 2))
            ious += list(both / np.maximum(either, 1))
        return float(np.mean(ious))

    answer(work, score)


def keypoints() -> None:
    """Train on crops the plain way: a PNG each, a dense map per keypoint."""
    from PIL import Image

    images, points = load("train_images"), load("train_keypoints")
    margin, size = (images.shape[1] - 128) // 2, 128
    held = tempfile.TemporaryDirectory()
    scratch = Path(held.name)
    count = min(2000, len(images))
    for row in range(count):
        Image.fromarray(images[row, margin : margin + size, margin : margin + size]).save(scratch / f"{row}.png")
    y, x = np.mgrid[:size, :size].astype(np.float32)

    class Crops(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return count

        def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
            picture = np.asarray(Image.open(scratch / f"{row}.png"))
            away = (x - points[row, :, 0, None, None]) ** 2 + (y - points[row, :, 1, None, None]) ** 2
            return torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 255, torch.from_numpy(np.exp(away / -18))

    def batches():
        while True:
            yield from torch.utils.data.DataLoader(Crops(), BATCH, shuffle=True, num_workers=0)

    source = batches()
    answer(lambda: step(*next(source)))


torch.set_num_threads(2)
keypoints() if name == "plain" else masks()
