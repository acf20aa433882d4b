"""Nix: the modules, the package and the flake, evaluated, and what they make tried for real."""
