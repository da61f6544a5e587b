#!/usr/bin/env python3
"""Cuts the captions' font out of Noto Sans CJK: ASCII, Latin-1 and all of GB 2312, without hinting and layout tables.

usage: subset.py NotoSansCJK-Regular.ttc OUTPUT.otf      (pip install fonttools==4.68.0)"""

import sys

from fontTools import subset
from fontTools.ttLib import TTCollection

FACE = "Noto Sans CJK SC"


def gb2312():
    for first in range(0xA1, 0xF8):
        for second in range(0xA1, 0xFF):
            try:
                yield bytes([first, second]).decode("gb2312")
            except UnicodeDecodeError:
                pass


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, output = sys.argv[1:]
    font = next(font for font in TTCollection(source).fonts if font["name"].getDebugName(1) == FACE)
    wanted = {ord(character) for character in gb2312()} | set(range(0x20, 0x7F)) | set(range(0xA0, 0x100))
    options = subset.Options(hinting=False, layout_features=[], notdef_outline=True, name_IDs=[0, 1, 2, 3, 4, 5, 6, 13, 14])
    options.drop_tables += ["VORG", "vhea", "vmtx", "GSUB", "GPOS", "GDEF", "BASE"]
    font["head"].modified = font["head"].created
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=wanted)
    subsetter.subset(font)
    missing = wanted - set(font.getBestCmap())
    if missing:
        sys.exit(f"the source has no glyphs for {sorted(map(chr, missing))}")
    font.recalcTimestamp = False
    subset.save_font(font, output, options)


main()
