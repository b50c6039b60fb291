import subprocess
import sys
from typing import Any

import pytest

from fenchel.core import device


def test_torch_is_not_imported_with_the_module() -> None:
    code = "import sys, fenchel.core.device; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("function", [device.resolve, device.dtype])
def test_without_torch_one_line_says_what_to_install(
    function: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # makes `import torch` fail
    with pytest.raises(ModuleNotFoundError, match=r'^[^\n]*pip install "fenchel\[deep\]"$'):
        function()


@pytest.fixture
def cuda_devices(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: request.param)


@pytest.mark.usefixtures("cuda_devices")
class TestResolve:
    @pytest.mark.parametrize(
        ("cuda_devices", "name", "expected"),
        [
            (0, "auto", "cpu"),
            (0, "cpu", "cpu"),
            (2, "auto", "cuda"),
            (2, "cpu", "cpu"),
            (2, "cuda", "cuda"),
            (2, "cuda:1", "cuda:1"),
        ],
        indirect=["cuda_devices"],
    )
    def test_the_name_means_the_device_and_a_device_means_itself(
        self, name: str, expected: str
    ) -> None:
        torch = pytest.importorskip("torch")
        resolved = device.resolve(name)
        assert resolved == torch.device(expected)
        assert device.resolve(resolved) == resolved

    @pytest.mark.parametrize(
        ("cuda_devices", "name"),
        [(0, "cuda"), (0, "cuda:0"), (2, "cuda:2")],
        indirect=["cuda_devices"],
    )
    def test_an_absent_device_is_refused(self, name: str) -> None:
        with pytest.raises(ValueError, match=f"'{name}' with . CUDA devices.*pass"):
            device.resolve(name)

    @pytest.mark.parametrize("cuda_devices", [2], indirect=True)
    @pytest.mark.parametrize("name", ["gpu", "", "cuda:", "cuda:x", "cuda:-1", "CPU", "meta"])
    def test_an_unknown_name_is_refused(self, name: str) -> None:
        with pytest.raises(ValueError, match=f"got '{name}'; pass one"):
            device.resolve(name)


def test_dtypes_by_name_and_by_value() -> None:
    torch = pytest.importorskip("torch")
    assert device.dtype() is torch.float32
    for known in ("float32", "float64"):
        assert device.dtype(known) is getattr(torch, known)
        assert device.dtype(getattr(torch, known)) is getattr(torch, known)
    for unknown in ("float16", "torch.float32", "", torch.float16, torch.int64, float, None):
        with pytest.raises(ValueError, match="pass one of them"):
            device.dtype(unknown)


def test_the_default_dtype_of_torch_is_left_alone() -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_default_dtype()
    device.resolve("auto")
    device.dtype("float64")
    assert torch.get_default_dtype() is before
