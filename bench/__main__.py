"""Runs every measurement that makes its own images."""

from bench import check, features, from_scratch, labels, retrain, serve, whole

features.main()
whole.main()
retrain.main()
from_scratch.main()
serve.main()
labels.main()
check.main()
