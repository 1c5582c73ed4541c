"""Compiles the simulators; everything else about the package is in pyproject.toml."""

from setuptools import setup

setup(
    cffi_modules=["native/build.py:setup_builder"],
    # One wheel for every Python from 3.11 on: the module uses the stable ABI only.
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
