# `--help` and complaints about the command line. Ids: help-COMMAND, help-COMMAND-ARGUMENT, help-COMMAND-examples.
help-usage = Usage:{" "}
help-usage-options = [OPTIONS]
help-usage-command = <COMMAND>
help-usage-commands = [COMMAND]...
help-commands = Commands:
help-arguments = Arguments:
help-options = Options:
help-default = {" "}[default: { $value }]
help-values = {" "}[possible: { $values }]
help-help = This help, or that of a command

help-about = Watches a kitchen's camera, finds food-safety violations on this box, and tells the district.
help-examples =
    Examples:
    {"  "}kitchen-agent demo                 everything on this machine, with a shipped video
    {"  "}kitchen-agent config validate      check /etc/kitchen-agent/agent.toml
    {"  "}kitchen-agent status               what the running agent does
    {"  "}kitchen-agent replay kitchen.mp4   alerts in a recorded video

    Exit codes: 0 healthy or done, 1 problem found, 2 could not check, 64 wrong use.
help-option-config = Configuration file [default: /etc/kitchen-agent/agent.toml]
help-option-json = One JSON document on stdout, or one a line where the command streams
help-option-lang = Language of texts [default: from LANG, else device.language]
help-option-help = This help
help-option-version = The version

help-demo = Everything on this machine: broker, district, a shipped video as the camera, the real pipeline
help-demo-seconds = End after so many seconds; exit 1 if no alert was acknowledged
help-demo-dir = Where pictures, clips and databases go [default: a new folder for temporary files]
help-demo-examples =
    Example:
    {"  "}kitchen-agent demo --seconds 60
help-run = The agent; systemd starts it
help-status = One screen: camera, detector, rules, alerts, outbox, link, disk, versions
help-status-watch = Refresh as a full-screen view
help-status-examples =
    Example:
    {"  "}kitchen-agent status --watch
help-replay = Recorded videos through the same pipeline, as fast as it goes
help-replay-files = Videos (MP4, H.264)
help-replay-real_time = At the pace of the video
help-replay-detections = Print what each look saw
help-replay-out = Write annotated pictures of each alert (of each look with --detections)
help-replay-profile = Print what each stage cost
help-replay-start = When the recording began, for schedules [default: noon of 2026-01-01 in China]
help-replay-examples =
    Examples:
    {"  "}kitchen-agent replay kitchen.mp4 --json
    {"  "}kitchen-agent replay kitchen.mp4 --detections --out pictures/ --profile
help-detect = Detections on still pictures
help-detect-images = Pictures (JPEG or PNG)
help-detect-model = Only this model of the pack
help-detect-examples =
    Example:
    {"  "}kitchen-agent detect kitchen.jpg --json
help-model = The installed models
help-model-list = Name, version, classes, licence
help-model-verify = Hashes and golden outputs, with each engine
help-model-bench = Engines timed on this box
help-model-bench-runs = Runs of each engine
help-model-eval = Precision and recall against labelled pictures
help-model-eval-folder = Labelled pictures: images/, labels/ and classes.txt, or one folder a class
help-model-eval-model = Model of the pack
help-model-eval-examples =
    Examples:
      kitchen-agent model eval rats --model objects
      kitchen-agent model eval heads --model head_attributes --json

    For a detector DIR holds images/, labels/ in YOLO's format and classes.txt; for a classifier one folder a class.
help-alerts = Alerts on this box
help-alerts-list = Newest first
help-alerts-list-limit = At most so many
help-alerts-show = One alert
help-alerts-show-id = Its id, or the beginning of one
help-alerts-export = Pictures, clip and evidence into a folder that can be verified anywhere, with a page for any browser
help-alerts-export-id = Its id, or the beginning of one
help-alerts-export-folder = A new or empty folder
help-alerts-export-original = With the original picture too, in which nobody's face is blurred
help-alerts-export-examples =
    Example:
    {"  "}sudo kitchen-agent alerts export k7f3qa.17.42 /media/usb/k7f3qa.17.42

    The folder is signed with the box's evidence key, which only root and the agent may read.
    Check it with kitchen-agent verify.
help-config = The configuration
help-config-show = The configuration in force and where each value comes from
help-config-validate = All that is wrong with it
help-config-diff = Against the defaults
help-check = Named checks with the next step
help-check-names = One check (camera.view) or a group (camera) [default: all]
help-check-examples =
    Examples:
    {"  "}kitchen-agent check
    {"  "}kitchen-agent check camera link.dns --json
help-camera = Finds, probes and shows cameras
help-camera-discover = Cameras on this network
help-camera-probe = What a stream is and how it should be set
help-camera-probe-camera = An address, or the id of a configured camera
help-camera-probe-username = The camera's user
help-camera-probe-password_file = The file with that user's password
help-camera-probe-examples =
    Examples:
    {"  "}kitchen-agent camera probe stove
    {"  "}kitchen-agent camera probe rtsp://192.168.8.64/Streaming/Channels/102 --username admin --password-file FILE
help-camera-snapshot = One picture as JPEG
help-camera-snapshot-camera = The id of a configured camera [default: the only one]
help-camera-snapshot-out = Where to write it
help-camera-clip = A piece of the local recording as MP4
help-camera-clip-camera = The id of a camera [default: the only one]
help-camera-clip-from = First picture: 10min (ago), 08:30, "2026-11-24 08:30:05"
help-camera-clip-to = End, written in the same ways
help-camera-clip-out = Where to write it
help-camera-clip-examples =
    Examples:
    {"  "}kitchen-agent camera clip stove --from 08:30 --to 08:31 --out lunch.mp4
    {"  "}kitchen-agent camera clip --from 10min --to 9min
    {"  "}kitchen-agent camera clip --from '2026-11-24 08:30' --to '2026-11-24 08:30:20' --json

    At most nine minutes. It begins with the keyframe before; pictures are not encoded anew.
help-camera-live = A picture refreshed twice a second, in the terminal or as a page on this machine
help-camera-live-camera = The id of a configured camera [default: the only one]
help-camera-live-listen = Serve a page on this loopback address instead of drawing in the terminal
help-camera-live-examples =
    Examples:
    {"  "}sudo kitchen-agent camera live stove
    {"  "}sudo kitchen-agent camera live stove --listen 127.0.0.1:8090

    From a laptop: ssh -L 8090:127.0.0.1:8090 BOX, then http://127.0.0.1:8090/ in its browser. Ctrl-C ends it.
help-outbox = What waits to be sent
help-outbox-list = What waits, in the order in which it is sent; set-aside messages last
help-outbox-list-limit = At most so many
help-outbox-list-examples =
    Example:
    {"  "}kitchen-agent outbox list --limit 20
help-outbox-show = One message with its topic and, where it is JSON, what it says
help-outbox-show-id = Its id, or the beginning of one
help-outbox-show-examples =
    Example:
    {"  "}kitchen-agent outbox show k7f3qa.17.42 --json
help-outbox-requeue = Sends a set-aside message again
help-outbox-requeue-id = Its id, or the beginning of one
help-outbox-requeue-examples =
    Example:
    {"  "}kitchen-agent outbox requeue k7f3qa.17.42

    Its attempts are counted from zero. It is sent as soon as its turn comes.
help-outbox-drop = Gives a message up for good; the district is told
help-outbox-drop-id = Its id, or the beginning of one
help-outbox-drop-examples =
    Example:
    {"  "}kitchen-agent outbox drop k7f3qa.17.42

    The alert, its picture and its clip stay on the box. A record tells the district what it will never get.
help-budget = The month in bytes and yuan
help-budget-year = Twelve months at the present rate
help-budget-what_if = Twelve months with another load or price: alerts_per_day, clip_bytes, snapshot_bytes, yuan_per_gb, yuan_per_year
help-budget-examples =
    Examples:
    {"  "}kitchen-agent budget
    {"  "}kitchen-agent budget --year
    {"  "}kitchen-agent budget --what-if alerts_per_day=50 --what-if yuan_per_gb=290

    Money is counted exactly; a month never passes its twelfth of budget.yuan_per_year.
help-enrol = Gets this box its certificate from the district: with the claim that it came with, once
help-enrol-first_boot = As the unit kitchen-first-boot does it: looks for a claim, also on sticks, sets the clock, and tries until it is done
help-enrol-examples =
    Examples:
    {"  "}sudo kitchen-agent enrol
    {"  "}sudo kitchen-agent enrol --claim /media/usb/kitchen-claim.toml
    {"  "}sudo kitchen-agent enrol export /media/usb
    {"  "}sudo kitchen-agent enrol import /media/usb/kitchen-answer-mh07-000123.json

    Keys are made on this box and never leave it. Asked again, it says what it is enrolled as.
help-enrol-export = Without a network: writes the request for the district to a stick
help-enrol-export-folder = A folder, as a rule on a stick
help-enrol-export-examples =
    Example:
    {"  "}sudo kitchen-agent enrol export /media/usb

    At the district: kitchen-district ca sign FILE. The request holds the claim: keep it to yourself.
help-enrol-import = Without a network: takes the district's answer from a stick
help-enrol-import-file = What kitchen-district ca sign wrote
help-enrol-import-examples =
    Example:
    {"  "}sudo kitchen-agent enrol import /media/usb/kitchen-answer-mh07-000123.json
help-option-claim = The claim [default: the one that waits, else kitchen-claim.toml on the boot partition or a mounted stick]
help-accept = The acceptance test of a site
help-update = Agent and model versions
help-bundle = Support bundle
help-bundle-out = Where to write it [default: kitchen-agent-bundle-DEVICE-TIME.tar.gz in this folder]
help-bundle-examples =
    Examples:
    {"  "}sudo kitchen-agent bundle
    {"  "}kitchen-agent bundle --out /tmp/kitchen-12.tar.gz

    Prints what is in it. Passwords, keys and credentials are replaced by ***; pictures and clips stay on the box.
help-log = The journal, filtered
help-log-follow = Go on with what comes
help-log-since = From then on: 2h, 30min, 3d, today, "2026-11-24 08:00"
help-log-level = Only what is at least so grave
help-log-lines = At most so many lines, the newest [default: 200; with --since all]
help-log-directory = The journal in this folder, e.g. of another box's card
help-log-examples =
    Examples:
    {"  "}kitchen-agent log -f
    {"  "}kitchen-agent log --since 2h --level warn
    {"  "}kitchen-agent log --since 2026-11-24 --json
help-verify = Checks an exported folder: hashes, signature, chain
help-verify-folder = What alerts export wrote
help-verify-key = The public key that the box is trusted by: PEM, or its 32 bytes in base64
help-verify-ca = The authority that vouches for the box's key by the certificate in the folder
help-verify-examples =
    Examples:
    {"  "}kitchen-agent verify k7f3qa.17.42 --key evidence-key.pem
    {"  "}kitchen-agent verify k7f3qa.17.42 --ca district-ca.pem --json

    The key has to come from elsewhere than the folder: from the district (kitchen-district key DEVICE), or noted when
    the box was installed. Exit 0: proven; 1: something is wrong; 2: the folder agrees with itself, but nobody vouches
    for its key.

use-unknown-command = there is no command "{ $name }"
use-unknown-option = there is no option or argument "{ $name }" here
use-missing = { $names } is missing
use-missing-command = a command is missing
use-no-value = { $name } needs a value
use-wrong-value = { $name } can't be "{ $value }"; possible: { $valid }
use-bad-value = "{ $value }" is no valid value of { $name }
use-number-of-values = { $name } has too few or too many values
use-twice = { $name } may stand only once
use-conflict = { $name } can't stand beside { $other }
use-wrong = the command line can't be understood
use-suggestion = Did you mean { $suggested }?
use-next = see { $command } --help
