"""corpus.yaml: one module for each section. `corpus_yaml` reads the file."""
