"""The versions of the scorers that a corpus uses."""

from store import identity
from store.tables.signals import SCORERS
from store.workspace import Workspace


def scorer_versions(workspace: Workspace) -> dict[str, str]:
    """The versions of the scorers that corpus.yaml turns on, by name.

    The version of a classifier, or of a model by path, includes a digest of its weights and
    settings.

    Raises:
        NotFoundError: the file of a model is missing.
    """
    config, needed = workspace.config.signals, workspace.config.fingerprint_scorers()
    versions = {
        name: str(scorer.version)
        for name, scorer in SCORERS.items()
        if name in needed or not (scorer.optional or scorer.is_fingerprint)
    }
    for name in config.switched_on():
        if name in SCORERS:
            versions[name] = str(SCORERS[name].version)
    if (model := config.nsfw_model(workspace.root)) is not None:
        content = identity.file_digest(workspace.file("signals.nsfw", str(model))).hex()
        versions["image_nsfw"] += f"-{identity.run_key('image_nsfw', content)[:12]}"
    for name, classifier in config.classifiers().items():
        path = workspace.file(f"signals.{name}.model", str(classifier.path(workspace.root)))
        settings = classifier.model_dump(), identity.file_digest(path).hex()
        version = SCORERS["image_classifier"].version
        versions[name] = f"{version}-{identity.run_key(name, *settings)[:12]}"
    return versions
