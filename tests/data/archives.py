"""What tests of the readers of foreign archives share."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from handloom.errors import DataError


def write_zip(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def refusal(action: Callable[[], object]) -> str:
    """Give the one line of the DataError that an action must raise: what, what was got, what to do."""
    with pytest.raises(DataError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    assert ", got '" in message or ", got no" in message
    assert "; " in message
    return message
