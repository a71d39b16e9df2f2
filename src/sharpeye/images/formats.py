"""The table of image formats: recognized by their first bytes, readable or not, with the remedy.

Readable are formats whose decoders are well kept and start no interpreter, as far as the installed
Pillow has them. `SUFFIXES` lists the suffixes of all image formats, `suffixes_of` those of one.
"""

import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

JPEG, PNG, GIF, WEBP, BMP, TIFF = "JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"
AVIF, JPEG2000, PNM, HEIC = "AVIF", "JPEG 2000", "PNM", "HEIC"


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """A format that is read.

    Attributes:
        pattern: matches its first 32 bytes.
        suffixes: of its files; a new file gets the first one.
        plugin: Pillow's module and the class in it.
        feature: the name of the codec in `PIL.features`, if Pillow may lack it.
        package: the module that reads it if Pillow does not.
    """

    name: str
    pattern: re.Pattern[bytes]
    suffixes: tuple[str, ...]
    plugin: tuple[str, str]
    feature: str = ""
    package: str = ""


def _format(name: str, pattern: bytes, *, suffixes: str, plugin: str, **others: str) -> ImageFormat:
    module, _, cls = plugin.rpartition(".")
    compiled = re.compile(pattern, re.DOTALL)
    return ImageFormat(name, compiled, tuple(suffixes.split()), (module, cls), **others)


_BRANDS = rb"....ftyp(?:%s|(?:mif1|msf1)....(?:....)*?(?:%s))"
FORMATS = {
    item.name: item
    for item in (
        _format(
            JPEG,
            rb"\xff\xd8\xff",
            suffixes=".jpg .jpeg .jpe .jfif .mpo",
            plugin="PIL.JpegImagePlugin.JpegImageFile",
        ),
        _format(
            PNG,
            rb"\x89PNG\r\n\x1a\n",
            suffixes=".png .apng",
            plugin="PIL.PngImagePlugin.PngImageFile",
        ),
        _format(GIF, rb"GIF8[79]a", suffixes=".gif", plugin="PIL.GifImagePlugin.GifImageFile"),
        _format(
            WEBP,
            rb"RIFF....WEBP",
            suffixes=".webp",
            plugin="PIL.WebPImagePlugin.WebPImageFile",
            feature="webp",
        ),
        # "BM" alone also begins texts: the header's size decides.
        _format(
            BMP,
            rb"BM.{12}(?:\x0c|\x10|\x28|\x34|\x38|\x40|\x6c|\x7c)\x00\x00\x00",
            suffixes=".bmp .dib",
            plugin="PIL.BmpImagePlugin.BmpImageFile",
        ),
        # Cameras' raw photos are TIFF, too: "CR" at offset 8 is Canon's mark.
        _format(
            TIFF,
            rb"(?:II[*+]\x00|MM\x00[*+])(?!....CR)",
            suffixes=".tif .tiff",
            plugin="PIL.TiffImagePlugin.TiffImageFile",
        ),
        _format(
            AVIF,
            _BRANDS % (b"avif|avis", b"avif|avis"),
            suffixes=".avif .avifs",
            plugin="PIL.AvifImagePlugin.AvifImageFile",
            feature="avif",
        ),
        _format(
            JPEG2000,
            rb"\x00\x00\x00\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
            suffixes=".jp2 .j2k .j2c .jpc .jpf .jpx",
            plugin="PIL.Jpeg2KImagePlugin.Jpeg2KImageFile",
            feature="jpg_2000",
        ),
        # Two letters alone also begin texts: a number or a comment must follow.
        _format(
            PNM,
            rb"P[1-6]\s\s*(?:#|\d+\s)",
            suffixes=".pgm .ppm .pbm .pnm",
            plugin="PIL.PpmImagePlugin.PpmImageFile",
        ),
        _format(
            HEIC,
            _BRANDS % (b"hei[cmsx]|hev[cmsx]", b"hei[cmsx]|hev[cmsx]"),
            suffixes=".heic .heif .hif",
            plugin="pillow_heif.as_plugin.HeifImageFile",
            package="pillow_heif",
        ),
    )
}

_SAVE = "; save it as JPEG or PNG"
_RAW = "a camera's raw photo%s" + "; develop it, and save it as JPEG or TIFF"

# Formats that are not read, to name them as the reason, with what to do. The pattern is matched
# with the first 512 bytes.
_OTHER_FORMATS: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), name)
    for pattern, name in (
        (
            rb"\s*(<!doctype html|<html|<head|<body)",
            "a saved web page (HTML); download the image itself",
        ),
        (
            rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*|<!doctype svg.*?>\s*)*<svg",
            f"an SVG drawing{_SAVE}",
        ),
        (rb"\s*<\?xml", "an XML file"),
        (rb"%!PS|\xc5\xd0\xd3\xc6", f"PostScript (EPS), which is never opened{_SAVE}"),
        (rb"%PDF-", "a PDF document; save its images as JPEG or PNG"),
        (rb"8BPS|8BPB", f"a Photoshop file (PSD){_SAVE}"),
        (rb"gimp xcf", f"a GIMP file (XCF){_SAVE}"),
        (rb"(II|MM)[*+\x00]{2}....CR", _RAW % " (CR2)"),
        (rb"....ftypcrx ", _RAW % " (CR3)"),
        (rb"IIU\x00|IIR[OS]|MMOR|FUJIFILMCCD-RAW|FOVb|\x00MRM", _RAW % ""),
        (rb"....ftypj(xl |2)", f"a JPEG XL image{_SAVE}"),
        (rb"....ftyp(mif1|msf1)", f"a HEIF image of an unknown kind{_SAVE}"),
        (
            rb"....ftyp|....(moov|mdat)",
            "a video (MP4 or MOV); take its frames: sharpeye collect frames",
        ),
        (rb"RIFF....AVI ", "a video (AVI); take its frames: sharpeye collect frames"),
        (rb"\x1aE\xdf\xa3", "a video (MKV or WebM); take its frames: sharpeye collect frames"),
        (rb"\x00\x00\x01[\xb0-\xbf]", "a video (MPEG); take its frames: sharpeye collect frames"),
        (rb"\xff\x0a|\x00\x00\x00\x0cJXL ", f"a JPEG XL image{_SAVE}"),
        (rb"II\xbc\x01", f"a JPEG XR image{_SAVE}"),
        (rb"P7[\r\n]", "a PAM image; save it as PNG"),
        (rb"PF[\r\n]|Pf[\r\n]", "an image of floating-point samples (PFM); save it as PNG"),
        (
            rb"#\?RADIANCE|v/1\x01",
            "an image of floating-point samples (HDR or EXR); save it as PNG",
        ),
        (rb"\x00\x00[\x01\x02]\x00[^\x00]", "an icon (ICO or CUR); save it as PNG"),
        (rb"icns", "an Apple icon file; save it as PNG"),
        (rb"DDS ", "a texture (DDS); save it as PNG"),
        (rb"qoif", "a QOI image; save it as PNG"),
        (rb"\xd7\xcd\xc6\x9a|\x01\x00\x00\x00.{36} EMF", f"a Windows metafile (WMF or EMF){_SAVE}"),
        (rb".{128}DICM", "a DICOM file; save its image as PNG"),
        (rb"SIMPLE  =", "a FITS file; save its image as PNG"),
        (rb"\x93NUMPY", "a NumPy array; save it as PNG"),
        (rb"\x89HDF", "an HDF5 file; save its images as PNG"),
        (rb"PK\x03\x04", "a ZIP archive; unpack it: sharpeye collect import"),
        (rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!", "a compressed archive; unpack it"),
        (rb"\x7fELF|MZ", "a program"),
        (rb"\x80[\x02-\x05]", "a Python pickle, which is never opened"),
        (rb"version https://git-lfs", "a pointer of Git LFS; fetch the file: git lfs pull"),
        (rb"\s*[\[{]\s*[\"\[{\]}]", "a JSON file"),
    )
)

# Suffixes of images of all kinds: such a file is either read, or its format named as the reason.
SUFFIXES = frozenset(
    (
        *(suffix for item in FORMATS.values() for suffix in item.suffixes),
        *(".jxl", ".jxr", ".psd", ".psb", ".xcf", ".svg", ".eps", ".ai", ".pdf", ".ico", ".cur"),
        *(".tga", ".dds", ".qoi", ".pcx", ".pam", ".pfm", ".hdr", ".exr", ".wmf", ".emf", ".icns"),
        *(".dcm", ".fits", ".raw", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".dng", ".orf", ".rw2"),
        *(".raf", ".pef", ".srw", ".x3f"),
    )
)


def suffixes_of(name: str) -> tuple[str, ...]:
    """The suffixes of a format that `sniff` returned; the usual one is the first."""
    return FORMATS[name].suffixes


@cache
def readable_formats() -> tuple[str, ...]:
    """The names of the formats that this installation decodes."""
    from PIL import features

    return tuple(
        item.name
        for item in FORMATS.values()
        if (not item.feature or features.check(item.feature))
        and (not item.package or find_spec(item.package))
    )


def sniff(head: bytes) -> str | None:
    """The format of a file by its first bytes (32 are enough), or None if it is not read here."""
    name = _sniff_any(head)
    return name if name in readable_formats() else None


def _sniff_any(head: bytes) -> str | None:
    return next((item.name for item in FORMATS.values() if item.pattern.match(head)), None)


def describe_unreadable(head: bytes) -> str:
    """Why a file is not read, and what to do, from its first 512 bytes."""
    if not head:
        return "the file is empty (0 bytes)"
    name = _sniff_any(head)
    if name == HEIC:
        return "a HEIC photo; to read it, run: pip install 'sharpeye[formats]'; or save it as JPEG"
    if name:
        return f"this Pillow cannot read {name}; install Pillow by pip, or save it as PNG"
    for pattern, description in _OTHER_FORMATS:
        if pattern.match(head):
            return f"not an image: it is {description}"
    if not head.strip(b"\x00"):
        return "not an image: it is filled with zero bytes"
    readable = ", ".join(readable_formats())
    return f"not an image that SharpEye reads ({readable}): it starts with {head[:12]!r}"
