"""Runs every measurement that makes its own pictures."""

from bench import features, from_scratch, retrain, serve, whole

features.main()
whole.main()
retrain.main()
from_scratch.main()
serve.main()
