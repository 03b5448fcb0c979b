"""The stages: their order, scope and code versions."""

# Stages in the order in which data passes them. The first three run by drop, the others globally.
BY_DROP = ("samples", "signals", "vectors")
GLOBAL = ("pairs", "duplicates", "decisions", "banks", "gallery", "release")
EVERY_DROP = "*"  # the drop under which a global stage is recorded
VERSIONS = {
    "samples": 2,
    "signals": 2,
    "vectors": 1,
    "pairs": 1,
    "duplicates": 3,
    "decisions": 1,
    "banks": 2,
    "gallery": 2,
    "release": 2,
}
