"""What each column of a corpus costs on disk.

    python benchmarks/bytes.py CORPUS

Bytes are those of the newest version, compressed, without manifests and indexes.
"""

import argparse

from rich.console import Console
from rich.table import Table

from store.workspace import Workspace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("corpus", help="the folder of a corpus.yaml")
    tables = Workspace.open(parser.parse_args().corpus).tables
    shown = Table("table", "column", "bytes", "bytes a row", "share")
    sizes = []
    for name in tables.names():
        dataset = tables.open(name)
        rows, names = dataset.count_rows(), dict(_columns(dataset.lance_schema.fields()))
        by_column: dict[str, int] = {}
        for field in dataset.stats.data_stats().fields:
            column = names[field.id]
            by_column[column] = by_column.get(column, 0) + field.bytes_on_disk
        sizes += [(size, name, column, rows) for column, size in by_column.items()]
    total = sum(size for size, *_ in sizes)
    for size, name, column, rows in sorted(s for s in sizes if s[0])[::-1]:
        shown.add_row(
            name, column, f"{size:,}", f"{size / max(rows, 1):,.1f}", f"{size / total:.1%}"
        )
    Console().print(shown)


def _columns(fields):
    """(id of a field or of a nested one, name of its column)."""
    for field in fields:
        stack = [field]
        while stack:
            nested = stack.pop()
            yield nested.id(), field.name()
            stack += nested.children()


if __name__ == "__main__":
    main()
