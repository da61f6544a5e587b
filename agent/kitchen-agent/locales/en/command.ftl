# What the commands print, but for `status` and errors.
list-comma = ;{" "}

alerts-none = no alerts
alerts-open = open
alerts-received = at the district
alerts-waiting = waits to be sent

config-origin-enrolment = enrolment
config-origin-built-in = built-in
config-origin-file = file
config-origin-environment = environment
config-is-valid = { $path }: valid
config-is-wrong = { $path }: wrong
config-without-effect = { $key }: accepted, without effect in this version
config-file-missing = { $key }: there is no file { $path }

model-differs-little = ✓ differs by at most { $difference }
model-differs = ✗ differs by { $difference }, allowed { $tolerance }
model-timed = median { $median } ms, least { $least } ms
model-golden-right = golden outputs ✓
model-golden-wrong = golden outputs ✗

detect-found = { $path } { $size }: { $count } found
detect-box = { $label } { $score }  at { $at }, size { $size }

replay-line = { $at } s  { $record } { $rule } ({ $id }){ $zone }, since { $since } s, for { $duration } s{ $score }{ $reason }{ $detail }
replay-score = , score { $score }
replay-zone = , zone { $zone }
replay-reason = , { $reason }
replay-detail = : { $detail }
replay-whole = { $video } s of video in { $elapsed } s
record-opened = opened
record-updated = updated
record-clip = clip
record-closed = closed
reason-cleared = it is over
reason-lost = nothing could be seen any more
reason-restart = the agent was started anew
profile-stage = stage
profile-runs = runs
profile-cpu = CPU ms a run
profile-share = % of a core, live

demo-broker = broker on { $broker }, box { $device }, everything is kept in { $folder }
demo-video = a video of people in a street plays as the camera; every person in it is an intruder here
demo-picture = picture of { $id }  { $path }
demo-clip = clip of { $id }     { $path }
demo-alert = { $time }  { $record } { $rule }, alert { $id }, for { $duration } s{ $score }, clip { $clip }
demo-box-online = { $time }  the box { $device } is online
demo-box-offline = { $time }  the box { $device } is offline
demo-alarm = { $time }  the evidence of the box { $device } does not fit: { $reason }
demo-other = { $time }  message of the box { $device }
demo-none = no alert was acknowledged
demo-none-next = let it run for longer: kitchen-agent demo --seconds 120
demo-agent-ended = the agent ended by itself
demo-part-ended = a part of the demonstration ended by itself
clip-none = none
clip-recording = recording
clip-waiting = waits
clip-on-request = on request
clip-attached = attached
clip-failed = failed
model-threads = { $count } threads
model-chosen = {"  "}← engine = "auto"

eval-head = { $model } on { $pictures } pictures
eval-class = { $count } labelled, at threshold { $threshold }: { $wrong } false
eval-rates = precision { $precision } recall { $recall }
eval-ap = average precision { $ap30 } (AP30), { $ap50 } (AP50)
eval-foot = A box counts from an overlap (IoU) of { $iou } on; AP50 from { $strict } on. In brackets: 95 % interval.
eval-foot-classes = A picture counts as the class that scores highest. In brackets: 95 % interval.
