"""Runs every measurement that makes its own pictures."""

from bench import features, whole

features.main()
whole.main()
