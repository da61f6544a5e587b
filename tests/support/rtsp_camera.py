#!/usr/bin/python3
"""An RTSP camera on loopback: digest authentication, TCP interleaved and UDP, in real time, looped.

    rtsp_camera.py PORT NAME=FILE.mp4 [NAME=FILE.mp4 ...]

Port 0 takes a free one. Prints "ready PORT" once it listens. SIGTERM takes the camera away, SIGSTOP hangs it.
Environment: RTSP_USER and RTSP_PASSWORD. Nothing is encoded: the access units of each file are read once and
pushed with growing timestamps. Needs the system's Python (see tests/run.sh for the packages).
"""

import os
import signal
import sys

import gi

for module in ("Gst", "GstRtsp", "GstRtspServer"):
    gi.require_version(module, "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

ROLE = "viewer"
SESSION_CLEANUP_S = 2


def access_units(path):
    """Caps and access units (bytes, pts, dts, is keyframe) of the first video track of an MP4 file."""
    pipeline = Gst.parse_launch("filesrc name=file ! qtdemux ! parsebin ! appsink name=units sync=false max-buffers=0")
    pipeline.get_by_name("file").set_property("location", path)
    pipeline.set_state(Gst.State.PLAYING)
    sink, caps, units = pipeline.get_by_name("units"), None, []
    while (sample := sink.emit("pull-sample")) is not None:
        buffer, caps = sample.get_buffer(), sample.get_caps()
        is_keyframe = not buffer.has_flags(Gst.BufferFlags.DELTA_UNIT)
        units.append((buffer.extract_dup(0, buffer.get_size()), buffer.pts, buffer.dts, is_keyframe))
    pipeline.set_state(Gst.State.NULL)
    if not units:
        sys.exit(f"{path}: no video that can be served")
    return caps, units


class Video(GstRtspServer.RTSPMediaFactory):
    """One file as an endless live stream, shared by all viewers."""

    def __init__(self, path):
        super().__init__()
        self.caps, self.units = access_units(path)
        self.codec = "h265" if "h265" in self.caps.to_string() else "h264"
        times = sorted(pts for _, pts, _, _ in self.units)
        # With B-frames decoding begins before the first picture is shown, and no time may be negative.
        self.start = min(times[0], *(dts for _, _, dts, _ in self.units))
        self.step = (times[-1] - times[0]) // max(1, len(times) - 1)
        self.length = len(times) * self.step
        self.set_shared(True)
        self.set_protocols(GstRtsp.RTSPLowerTrans.TCP | GstRtsp.RTSPLowerTrans.UDP)
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role(ROLE, "media.factory.access", True)
        permissions.add_permission_for_role(ROLE, "media.factory.construct", True)
        self.set_permissions(permissions)

    def do_create_element(self, _url):
        return Gst.parse_launch(
            f"( appsrc name=source is-live=true format=time max-bytes=1 ! {self.codec}parse ! identity sync=true ! "
            f"rtp{self.codec}pay name=pay0 pt=96 config-interval=-1 )"
        )

    def do_configure(self, media):
        source = media.get_element().get_by_name_recurse_up("source")
        source.set_property("caps", self.caps)
        pushed = 0

        def push(source, _wanted):
            nonlocal pushed
            lap, index = divmod(pushed, len(self.units))
            pushed += 1
            data, pts, dts, is_keyframe = self.units[index]
            offset = lap * self.length - self.start
            buffer = Gst.Buffer.new_wrapped(data)
            buffer.pts, buffer.duration = pts + offset, self.step
            if dts != Gst.CLOCK_TIME_NONE:
                buffer.dts = max(0, dts + offset)
            if not is_keyframe:
                buffer.set_flags(Gst.BufferFlags.DELTA_UNIT)
            source.emit("push-buffer", buffer)

        source.connect("need-data", push)


def digest(user, password):
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    auth.set_realm("camera")
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", ROLE)
    auth.add_digest(user, password, token)
    return auth


def main(port, videos):
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    server.set_auth(digest(os.environ["RTSP_USER"], os.environ["RTSP_PASSWORD"]))
    for video in videos:
        name, path = video.split("=", 1)
        server.get_mount_points().add_factory("/" + name, Video(path))
    if server.attach(None) == 0:
        sys.exit(f"can't listen on port {port}")
    loop = GLib.MainLoop()
    for number in (signal.SIGTERM, signal.SIGINT):
        GLib.unix_signal_add(GLib.PRIORITY_HIGH, number, loop.quit)
    GLib.timeout_add_seconds(SESSION_CLEANUP_S, lambda: server.get_session_pool().cleanup() or True)
    print("ready", server.get_bound_port(), flush=True)
    loop.run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
