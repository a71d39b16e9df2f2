"""The names of the files in a run directory. Other programs rely on them."""

CONFIG = "config.toml"
LABELS = "labels.txt"
SPLIT = "split.csv"
QUARANTINE = "quarantine.csv"
HISTORY = "history.csv"
TENSORBOARD = "tensorboard"
METRICS = "metrics.json"
PREDICTIONS = "predictions.csv"
MISCLASSIFIED = "misclassified.csv"
CHANGES = "changes.csv"  # only if images were added to an earlier run
CONFUSION_IMAGE = "confusion_matrix.png"
REPORT = "report.html"
MODEL = "model.onnx"
KERAS_MODEL = "model.keras"
LAST_KERAS_MODEL = "last.keras"  # after the last epoch; with train.keep_checkpoints
CHECKPOINTS = "checkpoints"  # deleted at the end, without train.keep_checkpoints
UNPROVEN = "unproven.txt"  # instead of bundle.json: how the model file differs from training
BUNDLE = "bundle.json"  # written last: a run directory that has it is complete
CARD = "README.md"
LOCK = ".lock"
