"""The Ray actor pool that runs encoders."""
