"""Makes the table `vectors__{space}`: a vector for each part that passes the prefilter.

With `late:` of corpus.yaml, parts also get token vectors (`pipelines.vectors.tokens`), and with
`moments:` vectors of their windows or tiles (`pipelines.vectors.moments`).
"""

from itertools import chain

from embedders.encoder import Encoder
from embedders.pool.one_process import EncodingProcess
from embedders.registry import load_encoder
from pipelines.stages import run_keys
from pipelines.stages.context import StageContext
from pipelines.vectors.encode_parts import encode_parts
from pipelines.vectors.features import project
from pipelines.vectors.moments import extract_moments
from pipelines.vectors.tokens import extract_tokens
from store.errors import InvariantError
from store.tables import schema
from store.tables.names import vectors_table
from store.tables.staging import Counts, begin, publish

STAGE = "vectors"


def embed(context: StageContext) -> Counts:
    """Make the missing vectors of a drop's parts.

    Returns:
        Counts of parts, not of samples. The input is the parts that pass the prefilter, in the
        modalities of the space.

    Raises:
        NotFoundError: the drop has no signals yet.
        EncoderError: an encoder cannot be loaded, or the cluster lacks the CPUs or GPUs that the
            actors need.
        InvariantError: a vector is not of unit length, or the towers differ in dimension; nothing
            was published.
    """
    workspace, tables, space = context.workspace, context.tables, context.space
    drop, key = context.drop_name, run_keys.vectors(context)
    towers = dict(sorted(space.towers.items()))
    dim = _common_dim({m: load_encoder(spec) for m, spec in towers.items()})
    columns = schema.vectors(dim, context.config.vectors)
    name = vectors_table(space.name)
    with (
        begin(tables, context.name_of(STAGE), key, columns, drop) as run,
        EncodingProcess() as process,
    ):
        resumed = len(run.done())
        filled = [
            project(workspace, run, drop, space, m, process)
            if m in space.aligned
            else encode_parts(workspace, run, drop, name, spec, m, process)
            for m, spec in towers.items()
        ]
        unmeasured = []
        if (late := context.config.late) is not None:
            unmeasured += extract_tokens(workspace, drop, space, late, process)
        if (moments := context.config.moments) is not None:
            unmeasured += extract_moments(workspace, drop, space, moments, process)
        without = {entry.id for entry in run.entries()} if unmeasured else set()
        more = (entry for entry in unmeasured if entry.id not in without)
        counts = Counts(
            input=sum(total for total, _ in filled),
            kept=sum(kept for _, kept in filled),
            failed=run.counts().failed,
        )
        return publish(
            tables,
            run,
            counts=counts,
            entries=chain(run.entries(), more),
            write=lambda: tables.upsert(
                name, columns, run.batches(rows=4096), "part_id", other_width=True
            ),
            output=lambda: run_keys.vectors_output(context),
            resumed=resumed,
        )


def _common_dim(encoders: dict[str, Encoder]) -> int:
    dims = {e.dim for e in encoders.values()}
    if len(dims) != 1:
        by_tower = ", ".join(f"{m}: {e.dim}" for m, e in encoders.items())
        raise InvariantError(f"the towers of a space must have equal dimensions, not {by_tower}")
    return dims.pop()
