"""The knobs of networks that are trained by gradient descent: sections of the configuration."""

from dataclasses import dataclass

from sharpeye.core.knobs import knob


@dataclass(frozen=True)
class NetConfig:
    """The architecture of networks trained from scratch; a knob that one lacks is an error."""

    conv_layers: int = knob(3, "cnn: convolutions, each followed by pooling", (1, 8))
    layer_size: int = knob(
        64, "cnn: channels of each convolution, units of each dense layer", (1, 4096)
    )
    dense_layers: int = knob(0, "cnn: dense layers before the last", (0, 8))
    width: int = knob(64, "resnet_cifar: channels of the first layer", (4, 1024))
    dropout: float = knob(0.0, "dropout rate before dense layers", (0, 0.95))
    color: str = knob("rgb", "channels of the input", choices=("rgb", "grey"))
    scaling: str = knob(
        "data",
        "how pixels are scaled; data: mean 0 and deviation 1 over the training images, unit: 0..1, "
        "signed: -1..1, imagenet: by ImageNet's mean and deviation, none: 0..255",
        choices=("data", "unit", "signed", "imagenet", "none"),
    )
    init_stddev: float = knob(
        0.0,
        "deviation of the truncated normal that kernels begin with; 0: the layer's default",
        (0, 1.0),
    )
    flip_tta: bool = knob(
        False,
        "test-time augmentation: the features of an image and of its mirror image are averaged; a "
        "prediction takes twice the time",
    )
    batch_norm_momentum: float = knob(
        0.9, "share of the moving mean and variance that a step keeps", (0, 0.99999)
    )


@dataclass(frozen=True)
class TrainConfig:
    """The loop that trains a network from scratch."""

    epochs: int = knob(30, "passes over the training images", (1, 100_000))
    batch_size: int = knob(64, "images a step", (1, 65_536))
    optimizer: str = knob(
        "adamw",
        "sgd has Nesterov momentum, see train.momentum",
        choices=("adamw", "adam", "sgd", "lion"),
    )
    learning_rate: float = knob(
        0.0,
        "the peak; 0: the model's default for adam and adamw, 50 times that for sgd, a fifth for "
        "lion",
        (0, 100.0),
    )
    momentum: float = knob(0.9, "of sgd", (0, 0.9999))
    epsilon: float = knob(1e-7, "of adam and adamw", (1e-12, 1.0))
    weight_decay: float = knob(
        0.01, "decoupled weight decay of kernels, times the learning rate (not adam)", (0, 10.0)
    )
    accumulate: int = knob(1, "steps whose gradients are averaged before weights move", (1, 1000))
    ema: float = knob(
        0.0,
        "momentum of the moving average of the weights, which predicts; 0: no average",
        (0, 0.99999),
    )
    focal_gamma: float = knob(0.0, "gamma of the focal loss; 0: cross-entropy", (0, 10.0))
    clip_norm: float = knob(0.0, "norm to which longer gradients are clipped; 0: none", (0, 1e6))
    schedule: str = knob(
        "onecycle",
        "onecycle: linear warmup, then linear decay to 0, cosine: linear warmup, then cosine "
        "decay, exponential: times train.decay every train.decay_steps steps, constant",
        choices=("onecycle", "cosine", "exponential", "constant"),
    )
    warmup: float = knob(0.2, "share of the steps with a rising learning rate", (0, 0.9))
    decay: float = knob(0.95, "factor of the exponential schedule", (0.01, 1.0))
    decay_steps: int = knob(1000, "steps between two factors", (1, 10**7))
    label_smoothing: float = knob(
        0.1, "share of the target probability that is spread over all classes", (0, 0.9)
    )
    patience: int = knob(
        0, "epochs without improvement before training stops; 0: never", (0, 10**6)
    )
    time_limit: float = knob(
        0.0, "seconds of the whole run, which decide how many epochs fit; 0: no limit", (0, 1e9)
    )
    initial_weights: str = knob(
        "", "a run or a model.keras, whose weights the network begins with; empty: random ones"
    )
    keep_checkpoints: int = knob(
        0, "checkpoints that stay after the training, with the last epoch's last.keras", (0, 1000)
    )
    precision: str = knob(
        "auto",
        "mixed: computes in 16 bits; auto: mixed where it is faster, on a GPU and on a processor "
        "that multiplies bfloat16",
        choices=("auto", "float32", "mixed"),
    )


@dataclass(frozen=True)
class AugmentConfig:
    """Random augmentation of the training images, drawn anew in each epoch."""

    flip: bool = knob(True, "mirror half of the images")
    shift: int = knob(10, "largest shift up, down and sideways, percent of the side", (0, 50))
    rotate: int = knob(0, "largest rotation, degrees", (0, 180))
    zoom: int = knob(0, "largest enlargement or reduction, percent", (0, 90))
    brightness: int = knob(0, "largest change of brightness, percent", (0, 100))
    contrast: int = knob(0, "largest change of contrast, percent", (0, 100))
    saturation: int = knob(0, "largest change of saturation, percent", (0, 100))
    hue: int = knob(0, "largest turn of the hue, degrees", (0, 180))
    noise: float = knob(0.0, "standard deviation of added noise, grey levels 0..255", (0, 255.0))
    policy: str = knob(
        "none",
        "trivial: TrivialAugment, one random change of any strength; rand: RandAugment, "
        "policy_operations changes of the strength policy_magnitude",
        choices=("none", "trivial", "rand"),
    )
    policy_operations: int = knob(2, "changes of an image by RandAugment", (1, 10))
    policy_magnitude: int = knob(9, "strength of RandAugment", (0, 30))
    cutout: int = knob(0, "side of a blanked square, percent of the image's side", (0, 100))
    erase: float = knob(0.0, "probability of a blanked rectangle (random erasing)", (0, 1.0))
    mixup: float = knob(0.0, "alpha of the beta distribution of mixup", (0, 10.0))
    function: str = knob(
        "", "own code, FILE.py:FUNCTION or MODULE:FUNCTION, that changes batches first"
    )
    function_sha256: str = knob("", "SHA-256 of the file of that code; SharpEye writes it")
    cutmix: float = knob(
        0.0,
        "alpha of the beta distribution of CutMix; with mixup, each has half of the images",
        (0, 10.0),
    )


@dataclass(frozen=True)
class DistillConfig:
    """A finished run whose answers a network learns that is trained from scratch."""

    teacher: str = knob("", "the run; empty: none")
    weight: float = knob(
        0.9, "weight of its answers in the loss; the labels have the rest", (0, 1.0)
    )
    temperature: float = knob(2.0, "softens the answers of both", (0.1, 100.0))
    views: int = knob(8, "views of each training image that it answers for", (1, 1000))


@dataclass(frozen=True)
class FineTuneConfig:
    """Training of the whole pretrained network after its head was fitted."""

    epochs: int = knob(0, "passes over the training images; 0: the network stays frozen", (0, 1000))
    learning_rate: float = knob(1e-4, "the peak, AdamW", (1e-9, 1.0))
    batch_size: int = knob(16, "images a step", (1, 4096))


@dataclass(frozen=True)
class LocalizeConfig:
    """The loss and the head of boxes (task = localize)."""

    class_weight: float = knob(1.0, "weight of the class loss", (0, 1e4))
    box_weight: float = knob(2.0, "weight of the box loss", (0, 1e4))
    box_loss: str = knob(
        "giou",
        "giou: 1 minus the generalized IoU, l1: mean absolute error of the edges as shares of the "
        "image, mse_pixels: mean squared error of the edges in pixels of the input",
        choices=("giou", "l1", "mse_pixels"),
    )
    box_views: int = knob(
        4, "views of each training image for the box head on a frozen network", (1, 32)
    )
    epochs: int = knob(30, "passes of the box head over these views", (1, 100_000))
    batch_size: int = knob(32, "views a step of the box head", (1, 4096))
    learning_rate: float = knob(2e-3, "the peak of the box head, AdamW", (1e-9, 1.0))
    channels: int = knob(64, "channels of the box head", (4, 1024))
