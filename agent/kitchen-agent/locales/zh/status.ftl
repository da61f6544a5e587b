# `kitchen-agent status` 的画面。
status-head = { $device }  程序版本 { $version }  已运行 { $time }
status-row-time = 时间
status-row-camera = 摄像头
status-row-detector = 识别
status-row-rules-on = 启用规则
status-row-rules-off = 停用规则
status-row-rules-unavailable = 不可用规则
status-row-alerts = 今日报警
status-row-outbox = 待发送
status-row-link = 平台连接
status-row-disk = 磁盘
status-row-temperature = 温度
status-row-slowed = 已降速
status-row-restarted = 已重启部分
status-restarted = { $stage }，{ $count } 次

status-camera-connecting = 连接中
status-camera-online = 在线
status-camera-offline = 离线
status-camera-stream = { $codec } { $size }
status-camera-stream-rate = { $codec } { $size }，每秒 { $rate } 帧
status-camera-counts = 收到 { $frames } 帧，识别 { $analysed } 帧，丢弃 { $dropped } 帧
status-camera-look = ，最近一次识别 { $ms } 毫秒
status-camera-lost = 丢包 { $lost } 个，损坏画面 { $damaged } 帧
status-detector = 模型 { $model } { $version }，引擎 { $engine }
status-outbox = { $count } 条，{ $kilobytes } KB
status-outbox-oldest = ，最早一条已等待 { $age }
status-link-none = 未配置平台地址
status-link-up = { $broker } 已连接，自 { $since }
status-link-down = { $broker } 未连接
status-link-receipt = 最近回执 { $time }
status-link-silent = 监管平台没有回执
status-disk = 可用 { $free } GB，共 { $total } GB
status-written = ，启动以来写入 { $megabytes } MB
status-written-daily = （每天约 { $megabytes } MB）
status-temperature = { $degrees } °C

status-time-ntp = 网络校时
status-time-modem = 上网卡校时
status-time-rtc = 时钟电池
status-time-floor = 未校时
status-time-none = 未校时

duration-seconds = { $s } 秒
duration-minutes = { $min } 分钟
duration-hours = { $h } 小时 { $min } 分钟
