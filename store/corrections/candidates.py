"""The candidates among which `select` chooses."""

from collections.abc import Iterable

from store.corrections.fit import Spec
from store.corrections.methods.canonical import paired_ids
from store.corrections.recipe import METHODS, Recipe, recipe
from store.corrections.trial_samples import Samples

# Never better than `csls` or `nnn` (docs/corrections.md): candidates that gain nothing make the
# choice less certain.
_DOMINATED = ("nicdm", "dis_sim_local")
LEAST_BANK_PAIRS = 50  # paired rows of the banks for a map that is learned from them

CANDIDATES: tuple[Spec, ...] = (
    *(
        name
        for name, method in METHODS.items()
        if name not in ("none", "average", *_DOMINATED) and not method.composes
    ),
    "centered",
    "invgc",
    "invgc_local",
    "invgc_local+nnn",
    "centered+sinkhorn",
    *(("centered+nnn", {"alpha": a, "k": k}) for a in (0.5, 0.75) for k in (4, 16, 64)),
    *(
        (f"canonical+{second}", {"mix": mix, **params})
        for mix in (0.1, 0.2, 0.3, 0.4, 0.5)
        for second, params in (
            ("nnn", {"alpha": 0.5, "k": 16}),
            ("nnn", {"alpha": 0.75, "k": 16}),
            ("sinkhorn", {"beta": 20.0}),
        )
    ),
)


def candidate_recipes(methods: Iterable[Spec]) -> list[Recipe]:
    """Raw, then every setting to try. A bare name gives one recipe per setting of its grid; a
    composition takes the grid of its last method."""
    recipes = [recipe("none")]
    for spec in methods:
        if not isinstance(spec, str):
            recipes.append(recipe(*spec))
            continue
        last = spec.split("+")[-1].strip()
        grid = METHODS[last].grid if last in METHODS else ({},)
        prefix = f"{last}__" if "+" in spec else ""
        recipes += [recipe(spec, {prefix + p: v for p, v in s.items()}) for s in grid]
    return recipes


def usable(candidates: list[Recipe], samples: Samples) -> list[Recipe]:
    """The candidates without maps learned from pairs, if the banks have too few pairs."""
    ids = paired_ids(samples.query_bank_ids, samples.gallery_bank_ids)
    if len(ids) >= LEAST_BANK_PAIRS:
        return candidates
    return [r for r in candidates if r.first.name != "canonical"]
