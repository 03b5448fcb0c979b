"""The encoders of other libraries, one file for each family."""
