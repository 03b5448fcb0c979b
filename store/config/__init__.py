"""corpus.yaml: one file a section; `corpus_yaml` reads the whole."""
