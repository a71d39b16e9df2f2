"""Runs every measurement that makes its own pictures."""

from bench import features, from_scratch, retrain, whole

features.main()
whole.main()
retrain.main()
from_scratch.main()
