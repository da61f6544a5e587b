# 各命令的输出（status 和错误除外）。
list-comma = 、

alerts-none = 没有报警
alerts-open = 进行中
alerts-received = 平台已收到
alerts-waiting = 等待发送

config-origin-enrolment = 登记
config-origin-built-in = 默认
config-origin-file = 文件
config-origin-environment = 环境变量
config-is-valid = { $path }：有效
config-is-wrong = { $path }：有误
config-without-effect = { $key }：可以填写，本版本尚未生效
config-file-missing = { $key }：文件 { $path } 不存在

model-differs-little = ✓ 最大偏差 { $difference }
model-differs = ✗ 偏差 { $difference }，允许 { $tolerance }
model-timed = 中位 { $median } 毫秒，最快 { $least } 毫秒
model-golden-right = 标准结果一致 ✓
model-golden-wrong = 标准结果不一致 ✗

detect-found = { $path } { $size }：识别到 { $count } 个目标
detect-box = { $label } { $score }  位置 { $at }，大小 { $size }

replay-line = { $at } 秒  { $record } { $rule }（{ $id }）{ $zone }，始于 { $since } 秒，持续 { $duration } 秒{ $score }{ $reason }{ $detail }
replay-score = ，得分 { $score }
replay-zone = ，区域 { $zone }
replay-reason = ，{ $reason }
replay-detail = ：{ $detail }
replay-whole = 视频 { $video } 秒，用时 { $elapsed } 秒
record-opened = 开始
record-updated = 更新
record-clip = 视频
record-closed = 结束
reason-cleared = 违规已消失
reason-lost = 画面中断
reason-restart = 程序重启
profile-stage = 阶段
profile-runs = 次数
profile-cpu = 每次 CPU 毫秒
profile-share = 实时占单核 %

demo-broker = 消息服务 { $broker }，设备 { $device }，数据保存在 { $folder }
demo-video = 用一段街道行人视频代替摄像头；演示中每个行人都算闯入
demo-picture = 报警 { $id } 的图片  { $path }
demo-clip = 报警 { $id } 的视频  { $path }
demo-alert = { $time }  { $record } { $rule }，报警 { $id }，持续 { $duration } 秒{ $score }，视频{ $clip }
demo-box-online = { $time }  设备 { $device } 上线
demo-box-offline = { $time }  设备 { $device } 离线
demo-alarm = { $time }  设备 { $device } 的证据有问题：{ $reason }
demo-other = { $time }  收到设备 { $device } 的消息
demo-none = 没有收到任何报警回执
demo-none-next = 多运行一会儿：kitchen-agent demo --seconds 120
demo-agent-ended = 程序意外退出
demo-part-ended = 演示的某部分意外退出
clip-none = 无
clip-recording = 录制中
clip-waiting = 等待发送
clip-on-request = 按需上传
clip-attached = 已附上
clip-failed = 失败
model-threads = { $count } 线程
model-chosen = {"  "}← engine = "auto"

eval-head = { $model }：{ $pictures } 张图片
eval-class = 标注 { $count } 个，阈值 { $threshold }：误报 { $wrong } 个
eval-rates = 查准率 { $precision } 查全率 { $recall }
eval-ap = 平均精度 { $ap30 }（AP30）、{ $ap50 }（AP50）
eval-foot = 重叠（IoU）达到 { $iou } 即算检出；AP50 以 { $strict } 为准。括号内为 95% 区间。
eval-foot-classes = 每张图片归入得分最高的类别。括号内为 95% 区间。
