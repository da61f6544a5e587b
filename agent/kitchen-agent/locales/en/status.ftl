# The screen of `kitchen-agent status`.
status-head = { $device }  agent { $version }  up { $time }
status-row-time = time
status-row-camera = camera
status-row-detector = detector
status-row-rules-on = rules on
status-row-rules-off = off
status-row-rules-unavailable = unavailable
status-row-alerts = alerts today
status-row-outbox = outbox
status-row-link = link
status-row-disk = disk
status-row-temperature = temperature
status-row-slowed = slowed by
status-row-restarted = restarted
status-restarted = { $stage }, { $count } times

status-camera-connecting = connecting
status-camera-online = online
status-camera-offline = offline
status-camera-stream = { $codec } { $size }
status-camera-stream-rate = { $codec } { $size }, { $rate } pictures/s
status-camera-counts = { $frames } pictures, { $analysed } looked at, { $dropped } dropped
status-camera-look = , last look { $ms } ms
status-camera-lost = { $lost } packets lost, { $damaged } pictures damaged
status-detector = { $model } { $version } on { $engine }
status-outbox = { $count } messages, { $kilobytes } KB
status-outbox-oldest = , oldest { $age }
status-link-none = no broker is configured
status-link-up = { $broker } connected since { $since }
status-link-down = { $broker } not connected
status-link-receipt = last receipt { $time }
status-link-silent = the district acknowledges nothing
status-disk = { $free } of { $total } GB free
status-written = , { $megabytes } MB written since the start
status-written-daily = {" "}({ $megabytes } MB a day)
status-temperature = { $degrees } °C

status-time-ntp = from the network
status-time-modem = from the modem
status-time-rtc = from the clock's battery
status-time-floor = clock not set
status-time-none = clock not set

duration-seconds = { $s } s
duration-minutes = { $min } min
duration-hours = { $h } h { $min } min
