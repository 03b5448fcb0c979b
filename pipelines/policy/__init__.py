"""What a policy decides, on columns in memory; writes nothing."""
