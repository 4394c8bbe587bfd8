"""Commands, one module each; `penchant --help` lists them by their first docstring line."""
