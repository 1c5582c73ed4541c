"""Measurements: each module is a command that prints ratios of alternatives from one run."""

from experiments import session

session.prepare()  # before a module imports Ray
