"""Arrays in files: against arrays of numpy."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.engine import array_files
from pipelines.engine.array_files import ArrayFile


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.integers(0, 40), st.integers(1, 5))
def test_rows_are_read_and_written_as_those_of_an_array(seed: int, rows: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    expected = np.zeros((rows, width), np.uint16)
    mapped, array_files._MAPPED_ROWS = array_files._MAPPED_ROWS, 7
    with TemporaryDirectory() as folder:
        file = ArrayFile(Path(folder, "rows"), expected.shape, np.uint16)
        for _ in range(4):
            start, stop = np.sort(rng.integers(0, rows + 1, 2)).tolist()
            some = rng.permutation(rows)[: rng.integers(rows + 1)]
            for where in (slice(start, stop), some):
                expected[where] = file[where] = rng.integers(0, 99, expected[where].shape)
            again = rng.integers(0, rows, rng.integers(9) if rows else 0)
            assert np.array_equal(file[again], expected[again])
            assert np.array_equal(file[start : stop + 3], expected[start : stop + 3])
        assert len(file) == rows
        assert np.array_equal(file[:], expected)
    array_files._MAPPED_ROWS = mapped


def test_blocks_are_written_one_after_the_other(tmp_path: Path) -> None:
    blocks = [np.arange(3), np.empty(0, np.int64), np.arange(5)]
    file = ArrayFile.of(tmp_path / "values", iter(blocks), np.int32)
    assert file[:].tolist() == [0, 1, 2, 0, 1, 2, 3, 4]
    assert file.dtype == np.int32
    assert len(ArrayFile.of(tmp_path / "none", [], np.int32)) == 0
