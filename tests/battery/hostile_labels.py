"""Files of labels and settings made to break a parser, by the reader that they are for."""

import gzip
import io
import json
import pickle
import struct
import zipfile

import numpy as np

XML = b"""<annotation verified="yes"><folder>cat</folder><filename>1.jpg</filename>
<path>C:/photos/1.jpg</path><size><width>64</width><height>48</height><depth>3</depth></size>
<object><name>cat</name><pose>Left</pose><truncated>0</truncated><difficult>0</difficult>
<bndbox><xmin>3</xmin><ymin>4</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object></annotation>"""
PATHS = ("../../outside/secret.txt", "/etc/passwd", "C:\\Windows\\win.ini", "http://127.0.0.1:{}/")
# A call of the system's shell, in several protocols.
SHELL = (
    b"cposix\nsystem\n(S'exit'\ntR.",
    b"\x80\x02cposix\nsystem\nX\x04\0\0\0exit\x85R.",
    b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04exit\x85R.",
    b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.",
)


def xml_files(port: int) -> dict[str, bytes]:
    """Annotations; `port` is that of a listener which nobody must connect to."""
    remote = f"http://127.0.0.1:{port}/x"
    laughs = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(20))
    doctype = {
        "billion laughs": f'<!ENTITY a0 "ha">{laughs}',
        "an entity in a circle": '<!ENTITY a20 "&b;"><!ENTITY b "&a20;">',
        "an entity of 500 kB": f'<!ENTITY a20 "{"x" * 500_000}">',
        "an entity of a file": '<!ENTITY a20 SYSTEM "file:///etc/passwd">',
        "an entity of a server": f'<!ENTITY a20 SYSTEM "{remote}">',
        "a parameter entity": f'<!ENTITY % p SYSTEM "{remote}"> %p;',
        "a parameter in a text": '<!ENTITY % p "<!ENTITY a20 SYSTEM &#39;/etc/passwd&#39;>"> %p;',
    }
    files = {
        name: f"<!DOCTYPE annotation [{text}]>".encode() + XML.replace(b"Left", b"&a20;" * 50)
        for name, text in doctype.items()
    }
    for encoding in ("utf-16", "utf-16-be", "utf-32", "utf-7", "cp037"):
        files[f"billion laughs in {encoding}"] = files["billion laughs"].decode().encode(encoding)
    files["a remote DTD"] = f'<!DOCTYPE annotation SYSTEM "{remote}">'.encode() + XML
    files["a public DTD"] = f'<!DOCTYPE annotation PUBLIC "-//X" "{remote}">'.encode() + XML
    include = f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{remote}"/>'
    files["an inclusion"] = XML.replace(b"Left", include.encode())
    files["a style sheet"] = f'<?xml-stylesheet href="{remote}" type="text/xsl"?>'.encode() + XML
    files["a schema"] = XML.replace(
        b"<annotation", b'<annotation xsi:schemaLocation="x http://127.0.0.1/x"', 1
    )
    for declared in ("utf-7", "utf-16", "zlib_codec", "rot13", "idna", "../../x", "nothing"):
        head = f'<?xml version="1.0" encoding="{declared}"?>'.encode()
        files[f"declared as {declared}"] = head + XML
    files["a depth of 100,000"] = b"<annotation>" + b"<a>" * 100_000 + b"</a>" * 100_000
    files["300,000 elements"] = XML.replace(b"<object>", b"<a/>" * 200_000 + b"<object>")
    files["100,000 attributes"] = XML.replace(
        b"<annotation", b"<annotation " + b" ".join(b'a%d="1"' % n for n in range(60_000)), 1
    )
    objects = XML[XML.index(b"<object>") : XML.index(b"</object>") + 9]
    files["4,000 objects"] = XML.replace(objects, objects * 4000)
    files["more than 1 MiB"] = XML.replace(b"Left", b"x" * 2**20)
    files["200 MB"] = XML.replace(b"Left", b"x" * (200 * 10**6))
    files["a name of 900 kB"] = XML.replace(b"<name>cat", b"<name>" + b"x" * 900_000)
    files["nested brackets of comments"] = b"<annotation>" + b"<!--" * 200_000
    for path in PATHS:
        files[f"the file name {path}"] = XML.replace(b">1.jpg<", f">{path.format(port)}<".encode())
        files[f"the path {path}"] = XML.replace(b"C:/photos/1.jpg", path.format(port).encode())
    for value in ("-1", "nan", "inf", "-inf", "1e308", "1e400", "9" * 400, "1" * 5000, "", "0x10"):
        files[f"the edge {value[:12]}"] = XML.replace(b"<xmin>3<", f"<xmin>{value}<".encode())
        files[f"the width {value[:12]}"] = XML.replace(b">64<", f">{value}<".encode(), 1)
    files["two boxes in an object"] = XML.replace(b"</bndbox>", b"</bndbox><bndbox/>")
    files["no box"] = XML.replace(b"bndbox", b"other")
    files["no object"] = XML.replace(b"object", b"other")
    files["NUL"] = XML.replace(b"cat", b"c\0t")
    files["nothing"] = b""
    files["another format"] = b'{"shapes": []}'
    return files


def csv_files() -> dict[str, bytes]:
    """Tables with the columns path, label, new_label."""
    head = b"path,label,new_label\n"
    row = b"cat/1.png,cat,dog\n"
    formula = b'"=cmd|\' /C calc\'!A0","@SUM(1)","+1"\n'
    files = {
        "formulas": head + formula,
        "NUL": head + b"cat/1.png,c\0t,dog\n",
        "NUL everywhere": b"\0" * 100_000,
        "a line of 1 MB": head + b"x" * 10**6,
        "a line of 60 MB": head + b"x" * (60 * 10**6),
        "a first line of 60 MB": b"x," * (30 * 10**6),
        "a quote that is not closed": head + b'"cat/1.png,cat,dog\n' * 20_000,
        "ragged rows": head + b"cat/1.png\n,,,,,,,,\n" + b"," * 1000,
        "300,000 columns": b",".join(b"c%d" % n for n in range(100_000)) + b"\n" + head,
        "empty lines": b"\n" * 300_000 + head,
        "only a byte order mark": b"\xef\xbb\xbf",
        "half a character": head + b"cat/\xe2\x82,cat,dog\n",
        "UTF-16 of odd length": "".join(["path,label\n"] * 9).encode("utf-16") + b"x",
        "a separator of its own": b"sep=\n" * 1000 + head + row,
        "quotes in quotes": head + b'"' * 300_001,
        "carriage returns": b"\r" * 300_000,
        "a workbook": b"PK\3\4" + bytes(500),
        "a pickle": SHELL[1],
        "nothing": b"",
        "one row 100,000 times": head + row * 100_000,
    }
    for path in (*PATHS[:3], "cat/../../outside/secret.txt", "\x1b[31m", "-rf", "~/x", "$HOME"):
        files[f"the path {path!r}"] = head + f"{path},cat,dog\n".encode()
        files[f"the label {path!r}"] = head + f"cat/1.png,cat,{path}\n".encode()
        files[f"an undo of {path!r}"] = f"from,to,folder\n{path},cat/1.png,x\n".encode()
    return files


def json_files() -> dict[str, bytes]:
    depth = 100_000
    texts = {
        "depth of lists": "[" * depth,
        "depth of closed lists": "[" * depth + "]" * depth,
        "depth of objects": '{"a":' * depth,
        "a key twice": '{"test": {}, "test": {}}',
        "NaN": '{"test": {"accuracy": NaN}}',
        "infinity": '{"test": {"accuracy": -Infinity}}',
        "1e400": '{"test": {"accuracy": 1e400}}',
        "a number of 100,000 digits": '{"test": {"accuracy": ' + "9" * depth + "}}",
        "a lone surrogate": '{"test": {"\\ud800": "\\udfff"}}',
        "a text": '"' + "x" * 10**6 + '"',
        "a list for an object": "[]",
        "nothing in it": "null",
        "NUL": '{"test"\0: {}}',
        "a quote that is not closed": '{"test": "' + "\\" * depth,
        "20 MB": '{"test": "' + "x" * (20 * 10**6) + '"}',
        "nothing": "",
    }
    files = {name: text.encode() for name, text in texts.items()}
    files |= {
        "UTF-16": texts["NaN"].encode("utf-16"),
        "bytes": b"\xff\xfe\xfd",
        "gzip": BOMB[:5000],
    }
    return files


def toml_files() -> dict[str, bytes]:
    texts = {
        "keys joined by dots": ".".join(["a"] * 50_000) + " = 1",
        "quoted keys joined by dots": ".".join(['"a"'] * 20_000) + " = 1",
        "lists": "a = " + "[" * 100_000,
        "tables in tables": "a = {a=" * 50_000,
        "digits": "seed = " + "1" * 10_000,
        "an exponent": "split.test = 1e" + "9" * 10_000,
        "more than 1 MiB": "# " + "a" * 2**20,
        "texts that are not closed": '"""' + '\\"""' * 100_000,
        "20,000 tables": "".join(f"[t{n}]\n" for n in range(20_000)),
        "one table 50,000 times": "[[a]]\n" * 50_000,
        "a key twice": "seed = 1\nseed = 2",
        "a date that is none": "seed = 2024-99-99T99:99:99Z",
        "a path": 'data.folder = "/etc/passwd"',
        "infinity": "split.test = inf",
        "a format of the future": "# format: 99999999999999999999\nseed = 1",
    }
    files = {name: text.encode() for name, text in texts.items()}
    return files | {
        "UTF-16": "seed = 1".encode("utf-16"),
        "NUL": b"seed = \0",
        "bytes": b"\xff\xfe",
    }


BOMB = gzip.compress(bytes(300 * 2**20), 9)


def idx_files() -> dict[str, bytes]:
    def header(*shape: int, kind: int = 8, axes: int | None = None) -> bytes:
        axes = len(shape) if axes is None else axes
        return bytes((0, 0, kind, axes)) + struct.pack(f">{len(shape)}I", *shape)

    return {
        "300 MB of zeros in 300 kB": BOMB,
        "300 MB in 300 kB as promised": gzip.compress(header(300 * 2**10, 32, 32))[:-8] + BOMB[10:],
        "4 billion images": header(2**32 - 1, 28, 28),
        "4 billion images, packed": gzip.compress(header(2**32 - 1, 28, 28)),
        "a product that overflows": header(2**31, 2**31, 4),
        "images without pixels": header(2**32 - 1, 0, 28),
        "images of one row": header(2, 1, 2**30) + bytes(100),
        "255 axes": header(*[1] * 100, axes=255),
        "numbers of another kind": header(2, 28, 28, kind=13) + bytes(2 * 28 * 28),
        "half a header": header(2, 28, 28)[:7],
        "a gzip in a gzip": gzip.compress(gzip.compress(header(2, 28, 28) + bytes(1568))),
        "half a gzip": gzip.compress(header(2, 28, 28) + bytes(1568))[:40],
        "nothing": b"",
    }


def pickle_files() -> dict[str, bytes]:
    deep = b")" + b"\x85" * 200_000
    array = np.zeros((2, 3072), np.uint8)
    objects = np.array([print], object)
    return {
        **{f"a call of the shell, {number}": data for number, data in enumerate(SHELL)},
        "a text of 2^62 bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.",
        "a memo of 32 GiB": b"\x80\x02]r\xff\xff\xff\xff.",
        "a deep key": b"\x80\x02}" + deep + b"K\x01s.",
        "a deep list": b"\x80\x02" + b"](" * 200_000 + b".",
        "doubling": b"\x80\x02]q\0" + b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(60)),
        "an array of objects": pickle.dumps({b"data": objects, b"labels": [0]}, 2),
        "labels of another length": pickle.dumps({b"data": array, b"labels": [0] * 9}, 2),
        "labels below zero": pickle.dumps({b"data": array, b"labels": [-1, 2**70]}, 2),
        "no images": pickle.dumps({b"labels": [0, 1]}, 2),
        "an array of 2^60 images": _huge_array(),
        "a list": pickle.dumps([1, 2], 2),
        "a set": pickle.dumps({1, 2}, 4),
        "no end": b"\x80\x02}(",
        "nothing": b"",
    }


def _huge_array() -> bytes:
    data = pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 1]}, 2)
    return data.replace(b"K\x02M\x00\x0c", b"\x8a\x08" + struct.pack("<q", 2**60) + b"M\x00\x0c", 1)


def npz_files() -> dict[str, bytes]:
    """Checkpoints of a training."""
    about = json.dumps({"about": {"epoch": 1, "about": {}}, "digest": "0" * 64}).encode()
    objects = io.BytesIO()
    np.save(objects, np.array([print], object), allow_pickle=True)

    def archive(compression: int = zipfile.ZIP_STORED, **members: bytes) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", compression) as opened:
            for name, data in members.items():
                opened.writestr(f"{name}.npy", data)
        return file.getvalue()

    def npy(shape: tuple[int, ...], data: bytes = b"", kind: str = "|u1") -> bytes:
        header = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}}}".encode()
        header += b" " * (-(len(header) + 11) % 64) + b"\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data

    zeros = npy((300 * 2**20,), bytes(300 * 2**20))
    known = {"about": npy((len(about),), about)}
    return {
        "an array of objects": archive(**known, a=objects.getvalue()),
        "300 MB of zeros in 300 kB": archive(zipfile.ZIP_DEFLATED, **known, a=zeros),
        "300 MB of zeros as its description": archive(zipfile.ZIP_DEFLATED, about=zeros),
        "a shape of 2^60": archive(**known, a=npy((2**60,))),
        "a shape below zero": archive(**known, a=npy((-5,), bytes(5))),
        "a dtype of fields": archive(**known, a=npy((2,), bytes(8), "V9999999999")),
        "a header that is no text": archive(**known, a=b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535),
        "a deep header": archive(**known, a=b"\x93NUMPY\x01\x00\xff\x1f" + b"[" * 8191),
        "a wrong digest": archive(**known, a=npy((3,), b"abc")),
        "a deep description": archive(about=npy((100_000,), b"[" * 100_000)),
        "names that lead out": archive(**known) + archive(**{"../../evil": b"x"}),
        "a pickle": SHELL[1],
        "nothing": b"",
    }


def text_files() -> dict[str, bytes]:
    """Lists of URLs, and names of classes."""
    return {
        "a line of 20 MB": b"http://a/" + b"x" * (20 * 10**6),
        "300,000 lines": b"http://a/\n" * 300_000,
        "bytes": bytes(range(256)) * 100,
        "NUL": b"\0" * 100_000,
        "UTF-16": "http://a/1.jpg\n".encode("utf-16"),
        "escapes": b"\x1b]0;title\x07\n" * 10,
        "nothing": b"",
    }
