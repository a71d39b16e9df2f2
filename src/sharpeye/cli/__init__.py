"""The command line, with a module per command."""
