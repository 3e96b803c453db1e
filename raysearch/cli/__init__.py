"""The command line: one file a command, or a handful that belong together."""
