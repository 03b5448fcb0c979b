"""duplicates: samples that another one stands for, and those that must not be in the corpus."""
