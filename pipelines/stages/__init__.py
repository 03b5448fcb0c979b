"""Which stages exist, what each depends on, and which are out of date."""
