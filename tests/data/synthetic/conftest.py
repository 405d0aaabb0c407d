import io
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

COUNTS = {"training": 24, "evaluation": 8}


@dataclass(frozen=True)
class Sample:
    color: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    depth_png: NDArray[np.uint8]
    annotation: dict[str, NDArray[np.float32]]

    @property
    def depth(self) -> NDArray[np.float64]:
        red, green = self.depth_png[..., 0].astype(np.float64), self.depth_png[..., 1].astype(np.float64)
        return (red * 256 + green) / 65535 * 5


@pytest.fixture(scope="session")
def samples(archive: Path) -> list[Sample]:
    found = []
    with zipfile.ZipFile(archive) as opened:
        for split, count in COUNTS.items():
            top = f"RHD_published_v2/{split}"
            annotations = pickle.loads(opened.read(f"{top}/anno_{split}.pickle"))
            for index in range(count):
                color, mask, depth = (
                    np.asarray(Image.open(io.BytesIO(opened.read(f"{top}/{kind}/{index:05d}.png"))))
                    for kind in ("color", "mask", "depth")
                )
                found.append(Sample(color, mask, depth, annotations[index]))
    return found
