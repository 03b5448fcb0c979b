"""The `tables:` section of corpus.yaml: where the tables are."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from store.config.section import Section

_SECRETS = ("secret", "token", "password", "sas")  # parts of the names of secret options


class FromEnvironment(Section):
    """The value of an environment variable."""

    env: Annotated[str, Field(min_length=1)]


class FromFile(Section):
    """The content of a file."""

    file: Annotated[str, Field(min_length=1)]


def _as_text(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool | int) else value


Option = Annotated[str | FromEnvironment | FromFile, BeforeValidator(_as_text)]


class TablesAt(Section):
    """Where the tables are. In corpus.yaml, a string is the `path`.

    Attributes:
        path: a folder, relative to the corpus's folder, or an address: s3://bucket/prefix,
            gs://bucket/prefix, az://container/prefix.
        options: of the object store, such as region, endpoint, allow_http, access_key_id,
            secret_access_key or profile. Secrets are given by reference: {env: NAME} or
            {file: PATH}. What is missing comes from the environment.
    """

    path: Annotated[str, Field(min_length=1)] = "tables"
    options: dict[str, Option] = Field(default_factory=dict)

    @field_validator("path")
    @classmethod
    def _scheme(cls, path: str) -> str:
        scheme, separator, _ = path.partition("://")
        if separator and scheme not in ("s3", "gs", "az"):
            raise ValueError(f"{path!r}: a folder, or an address with s3://, gs:// or az://")
        return path

    @field_validator("options")
    @classmethod
    def _no_secrets(cls, options: dict[str, Option]) -> dict[str, Option]:
        for name, value in options.items():
            is_secret = name.endswith("key") or any(word in name for word in _SECRETS)
            if is_secret and isinstance(value, str):
                raise ValueError(
                    f"{name} is a secret: name the environment variable or the file that has it,"
                    f" as in `{name}: {{env: NAME}}` or `{name}: {{file: PATH}}`"
                )
        return options


def as_section(value: Any) -> Any:
    """A string as the section; other values unchanged. For a BeforeValidator."""
    return {"path": value} if isinstance(value, str) else value


Tables = Annotated[TablesAt, BeforeValidator(as_section)]
