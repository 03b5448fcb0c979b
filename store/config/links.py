"""The `links:` section of corpus.yaml: the addresses that Dagster's page links to."""

from typing import Annotated

from pydantic import Field

from store.config.section import Section

_Address = Annotated[str, Field(pattern=r"^https?://[^\s@]+$")]


class Links(Section):
    """Addresses for the links of each asset. They must not hold a user's name or a password.

    Attributes:
        runbook: of the page made from docs/operations.md; a link to a section adds `#SECTION`.
            Null: the page names the file and the section.
        server: of the corpus's server, `isotrope serve`. Null: no links to its explorer.
    """

    runbook: _Address | None = None
    server: _Address | None = None
