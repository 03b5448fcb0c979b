"""Opens the store of an address with obstore, and gives its errors our types."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from obstore import store as stores
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PreconditionError,
    UnknownConfigurationKeyError,
)

from store.errors import ConfigError, NotFoundError, StoreError, first_line
from store.tables.store_options import Options, obstore_options

_KINDS = {"s3": stores.S3Store, "gs": stores.GCSStore, "az": stores.AzureStore}


def open_store(root: str, options: Options) -> Any:
    """The store of a local path (the whole file system) or of an address (its bucket).

    Raises:
        ConfigError: the scheme or an option is unknown, or a reference cannot be resolved.
    """
    scheme, separator, rest = root.partition("://")
    if not separator:
        return stores.LocalStore()
    if scheme not in _KINDS:
        raise ConfigError(f"{root}: allowed are a folder, and addresses with {', '.join(_KINDS)}")
    try:
        return _KINDS[scheme](rest.partition("/")[0], **obstore_options(root, options))
    except UnknownConfigurationKeyError as error:
        raise ConfigError(f"tables.options: {first_line(error)}") from error


@contextmanager
def typed(path: str) -> Iterator[None]:
    """Raise the errors of obstore as ours, except those of conditional writes."""
    try:
        yield
    except FileNotFoundError as error:
        if "NoSuchBucket" in str(error):
            raise StoreError(f"{path}: its bucket does not exist") from error
        raise NotFoundError(f"no file {path}: {first_line(error)}") from error
    except (AlreadyExistsError, PreconditionError, UnknownConfigurationKeyError):
        raise
    except BaseError as error:
        raise StoreError(f"{path}: the object store failed: {first_line(error)}") from error
