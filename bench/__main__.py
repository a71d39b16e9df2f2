"""Runs every measurement that makes its own pictures."""

from bench import features, retrain, whole

features.main()
whole.main()
retrain.main()
