#!/usr/bin/env bash
# Installs by apt what the build and the tests need and this machine lacks; asks for nothing when all is there.
# Nothing depends on the services that these packages may start: every test starts its own.
set -euo pipefail

source "$(dirname "$0")/../cross/platform.sh"

# The system's Python, not one that comes first in the search path: GStreamer's bindings belong to it.
has_rtsp_server() {
    /usr/bin/python3 - >/dev/null 2>&1 <<'PYTHON'
import gi
for module in ("Gst", "GstRtsp", "GstRtspServer"):
    gi.require_version(module, "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
for element in ("appsrc", "parsebin", "qtdemux", "h264parse", "h265parse", "rtph264pay", "rtph265pay"):
    assert Gst.ElementFactory.find(element), element
PYTHON
}

has_venv() {
    python3 -c 'import ensurepip, venv' >/dev/null 2>&1
}

missing_packages() {
    has systemd-analyze || echo systemd
    has mosquitto || echo mosquitto
    has mosquitto_sub || echo mosquitto-clients
    has ip && has tc || echo iproute2
    has chromium || echo chromium
    has pdftoppm && has pdftotext || echo poppler-utils
    [ -e /usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc ] || echo fonts-noto-cjk
    has ffmpeg && has ffprobe || echo ffmpeg
    has systemd-cat && [ -x /lib/systemd/systemd-journald ] || echo systemd
    has c++ || echo g++
    has strip || echo binutils
    has qemu-system-x86_64 || echo qemu-system-x86
    has mke2fs && has e2fsck && has debugfs || echo e2fsprogs
    has cpio || echo cpio
    # Without it openh264 is built from C++ alone on x86 and decodes a quarter slower.
    [ "$(uname -m)" != x86_64 ] || has nasm || echo nasm
    has_venv || echo python3-venv
    has_rtsp_server || echo python3-gi gir1.2-gst-rtsp-server-1.0 \
        gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
}

mapfile -t packages < <(missing_packages | tr ' ' '\n')
install_packages "${packages[@]}"
mapfile -t packages < <(missing_packages | tr ' ' '\n')
[ "${#packages[@]}" = 0 ] || give_up "installed, but still not usable" "look at ${packages[*]}" 2
