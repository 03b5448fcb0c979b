"""The command `isotrope`, one file for each group of subcommands."""
