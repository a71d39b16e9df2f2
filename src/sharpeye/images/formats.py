"""Recognize the format of a file by its first bytes, whether supported or not."""

import re

JPEG, PNG, GIF, WEBP, BMP, TIFF = "JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"
READABLE = (JPEG, PNG, GIF, WEBP, BMP, TIFF)

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"BM", BMP),
    (b"II*\x00", TIFF),
    (b"MM\x00*", TIFF),
)

# Unsupported formats that files named .jpg may have, to name them as the reason for rejection.
_OTHER_FORMATS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"\s*(<!doctype html|<html|<head|<body)", re.I), "a saved web page (HTML)"),
    (re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<svg", re.I | re.S), "an SVG drawing"),
    (re.compile(rb"\s*<\?xml", re.I), "an XML file"),
    (re.compile(rb"%!PS|\xc5\xd0\xd3\xc6"), "PostScript (EPS), which is never opened"),
    (re.compile(rb"%PDF-"), "a PDF document"),
    (re.compile(rb"8BPS"), "a Photoshop file (PSD)"),
    (re.compile(rb"....ftyp(heic|heix|hevc|mif1|msf1)", re.S), "a HEIC photo; save it as JPEG"),
    (re.compile(rb"....ftypavi[fs]", re.S), "an AVIF image; save it as JPEG or PNG"),
    (re.compile(rb"....ftyp", re.S), "a video (MP4)"),
    (re.compile(rb"RIFF....AVI ", re.S), "a video (AVI)"),
    (re.compile(rb"\xff\x0a|\x00\x00\x00\x0cJXL "), "a JPEG XL image; save it as JPEG or PNG"),
    (re.compile(rb"\x00\x00\x00\x0cjP  "), "a JPEG 2000 image; save it as JPEG or PNG"),
    (re.compile(rb"PK\x03\x04"), "a ZIP archive"),
    (re.compile(rb"\x7fELF|MZ"), "a program"),
    (re.compile(rb"\x80[\x02-\x05]"), "a Python pickle, which is never opened"),
    (re.compile(rb"SIMPLE  ="), "a FITS file"),
    (re.compile(rb"icns"), "an Apple icon file"),
    (re.compile(rb"\s*[\[{]\s*[\"\[{\]}]"), "a JSON file"),
)


def sniff(head: bytes) -> str | None:
    """The format of a file by its first bytes (32 are enough), or None if it is not supported."""
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    return None


def describe_unreadable(head: bytes) -> str:
    """Why a file with a format unknown to `sniff` is not read, for the quarantine."""
    if not head:
        return "the file is empty (0 bytes)"
    for pattern, name in _OTHER_FORMATS:
        if pattern.match(head):
            return f"not an image: it is {name}"
    if not head.strip(b"\x00"):
        return "not an image: it is filled with zero bytes"
    return f"not an image that SharpEye reads ({', '.join(READABLE)}): it starts with {head[:12]!r}"
