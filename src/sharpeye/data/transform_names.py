"""Recognize the names of transforms of images, as libraries and scripts write them.

    RandomBrightnessContrast  ShiftScaleRotate  GaussNoise      Albumentations, imgaug, torchvision
    center_crop  salt_pepper  rotate_left  90deg  rot-90  256x256   scripts

People use such words as well, so they mark a version only beside the original.
"""

import re

_TRANSFORMS = (
    "aug augm augmented augmentation augmentations albumentations imgaug transform transformed "
    "flip flipped fliplr flipud hflip vflip lr ud flop mirror mirrored hmirror vmirror transpose "
    "transposed rot rotate rotated rotation clockwise counterclockwise cw ccw deg degrees affine "
    "shear sheared shift shifted translate translated translation scale scaled zoom zoomed crop "
    "cropped pad padded resize resized rescaled thumb thumbnail upscaled downscaled perspective "
    "warp warped elastic distortion distorted optical piecewise brightness bright brighter "
    "brightened dark darker darkened lowlight contrast gamma hue saturation saturated saturate hsv "
    "jitter colorjitter clahe equalize equalized hist histogram normalized posterize posterized "
    "solarize solarized invert inverted negative sepia gray grey grayscale greyscale togray bw "
    "blur blurred blurry motionblur gaussian gauss noise noisy noised denoised poisson speckle "
    "salt pepper saltpepper iso sharp sharpen sharpened emboss enhanced autocontrast dropout "
    "coarsedropout cutout cutmix mixup erase erased erasing mosaic fog rain snow shadow sunflare "
    "jpeg compressed compression downscale superpixels fancypca edited original orig "
    "horizontalflip verticalflip center centre defocus defocused spatter unsharp overshoot "
    "morphological illumination sharpness augment augmix randaugment smallest longest "
    "snowflakes clouds pca"
)
# Words that are of a transform only together with one of the above: `RandomCrop`, `shear_x`.
_WITH_TRANSFORMS = (
    "random with to by x y h v r s left right up down top bottom tl tr bl br horizontal "
    "vertical horizontally vertically motion median box glass grid color colour rgb channel "
    "shuffle value multiplicative additive sized image output plus minus neg flare sun in out "
    "high low tone curve auto mean edge small large width height coarse pixel mask ringing shot "
    "thin plate spline planckian plasma safe max size trivial wide advanced adjust template "
    "fancy average bilateral lens jigsaw and"
)
_MARKS = frozenset(_TRANSFORMS.split())
_WORDS = _MARKS | frozenset(_WITH_TRANSFORMS.split())
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_TOKEN = re.compile(r"[^\W\d_]+")
_SIZE = re.compile(r"\d{2,4}x\d{2,4}")


def are_transforms(text: str) -> bool:
    """Whether all words of a text are of transforms, and one of them is by itself."""
    if _SIZE.fullmatch(text):
        return True
    words = [word.casefold() for word in _TOKEN.findall(_CAMEL.sub("_", text))]
    return any(word in _MARKS for word in words) and all(word in _WORDS for word in words)
