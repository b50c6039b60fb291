"""Where runs come from."""

import subprocess
from pathlib import Path

from fenchel.experiments.provenance import is_dirty


def test_pictures_of_the_gallery_do_not_make_a_checkout_dirty(tmp_path: Path) -> None:
    assert is_dirty(tmp_path) is None
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert is_dirty(tmp_path) is False
    gallery = tmp_path / "paper_figures" / "gallery"
    gallery.mkdir(parents=True)
    (gallery / "figure.png").write_bytes(b"")
    assert is_dirty(tmp_path) is False
    (tmp_path / "paper_figures" / "figure.py").write_text("")
    assert is_dirty(tmp_path) is True
