"""Recognize images of one moment by the names that phones and cameras give to them.

20210101_120001_001  20210101_120001(1)         Samsung: the time, the number in the burst
IMG_20210101_120001_1                           Huawei, LG
IMG_20200101_123456_BURST003                    Google Camera
00001IMG_00001_BURST20210101120100001_COVER     Nexus, Sony: the burst's time comes last
PXL_20210101_120001123.RAW-01.MP.COVER          Pixel: files of one shot, beside `.PORTRAIT`
MVIMG_20210101_120001                           a motion photo of IMG_20210101_120001
"""

import re

_DATE = r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
_TIME = r"(?:[01]\d|2[0-3])[0-5]\d[0-5]\d"
_BURST_OF_TIME = re.compile(r".*BURST(\d{12,17})(?:_\d+)?(?:_COVER)?", re.S)
_BURST_OF_NAME = re.compile(r"(.*\d{6,}.*?)_BURST\d+(?:_COVER)?", re.S)
_PIXEL = re.compile(rf"(PXL_{_DATE}_\d{{6,9}})[.~][0-9A-Z_.~-]+")
_MOTION = re.compile(rf"MV(IMG_{_DATE}_{_TIME}\d{{0,3}}.*)", re.S)
_NUMBERED_TIME = re.compile(rf"((?:[A-Z]+_)?{_DATE}_{_TIME})(?:_\d{{1,3}}| ?\(\d{{1,3}}\))")
_SECOND = 14  # digits of a time to the second


def burst_of_name(name: str) -> str:
    """The burst or shot of a file's name by marks that no person writes; else empty."""
    if match := _BURST_OF_TIME.fullmatch(name):
        return f"BURST{match[1][:_SECOND]}"
    for pattern in (_BURST_OF_NAME, _PIXEL, _MOTION):
        if match := pattern.fullmatch(name):
            return match[1]
    return ""


def moment_of_name(name: str) -> str:
    """The time before a short number, if that is the name; else empty.

    The number may count a burst, or all images of a day under the time of its first one.
    """
    match = _NUMBERED_TIME.fullmatch(name)
    return match[1] if match else ""
